"""A stand-in for a model server, named so: an OpenAI-compatible chat endpoint with one canned answer.

Run as a process, so that it can be killed: ``python -m tests.reliability.model_stand_in PORT DELAY_S``. It prints
"ready" when it listens. ``MODE`` in the request's model name makes it misbehave.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = json.dumps(
    {
        "text": "The brows were drawn together.",
        "action_units": [{"au": 4, "side": "both", "score": 0.9}],
        "emotion": {"negative": 0.8, "positive": 0.1, "surprise": 0.1},
        "abstain": False,
    }
)
DRIP_S = 1.0


def server(port: int, delay_s: float) -> ThreadingHTTPServer:
    """Listening, not yet serving."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            mode = asked["model"]
            if mode == "hang":
                time.sleep(3600)
            time.sleep(delay_s)
            if mode.isdigit():
                self._send(int(mode), b'{"error": {"message": "as asked"}}')
            elif mode == "cut-json":
                self._send(200, b'{"choices": [{"message": {"content": "')
            elif mode == "drip":
                self._drip()
            else:
                content = "" if mode == "empty" else ANSWER
                choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
                self._send(200, json.dumps({"choices": [choice]}).encode())

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _drip(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            for _ in range(3600):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(DRIP_S)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, request: object, address: object) -> None:
            pass  # clients that hang up are what is tested

    return Server(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    serving = server(int(sys.argv[1]), float(sys.argv[2]))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    serving.serve_forever(poll_interval=0.05)

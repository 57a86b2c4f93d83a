"""A stand-in for an OpenAI-compatible endpoint, named so: real HTTP on loopback, answers and failures as told.

It is no model. :class:`StandIn` plays a list of steps, one for each request, and the last one for ever; without steps
it answers with its prompt. What it was sent is kept.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Handler = BaseHTTPRequestHandler
Step = Callable[[Handler, dict[str, Any]], None]


class StandIn:
    """A server for the length of a ``with``. :ivar most: most requests that were under way at once"""

    def __init__(self, *steps: Step, delay_s: float = 0.0) -> None:
        self.steps = list(steps)
        self.delay_s = delay_s
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.arrived: list[float] = []
        self.most = 0
        self._running = 0
        self._lock = threading.Lock()
        stand_in = self

        class Request(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                step = stand_in._arrive(body, dict(self.headers))
                try:
                    time.sleep(stand_in.delay_s)
                    step(self, body)
                finally:
                    stand_in._leave()

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: object, address: object) -> None:
                pass  # clients that hang up are part of what is tested

        self._server = Server(("127.0.0.1", 0), Request)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        """Base URL, up to ``/v1``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def prompts(self) -> list[str]:
        """The last text of every request."""
        return [prompt_of(body) for body in self.requests]

    def _arrive(self, body: dict[str, Any], headers: dict[str, str]) -> Step:
        with self._lock:
            self.requests.append(body)
            self.headers.append(headers)
            self.arrived.append(time.monotonic())
            self._running += 1
            self.most = max(self.most, self._running)
            if not self.steps:
                return echo
            return self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]

    def _leave(self) -> None:
        with self._lock:
            self._running -= 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def prompt_of(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else next(p["text"] for p in content if p["type"] == "text")


def completion(text: str | None, finish: str = "stop", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": text, **message}
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": said, "finish_reason": finish}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
    }


def send(handler: Handler, status: int, body: object, headers: dict[str, str] | None = None) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in {**(headers or {}), "Content-Length": str(len(raw))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(raw)


# -- steps ----------------------------------------------------------------------------------------------


def echo(handler: Handler, body: dict[str, Any]) -> None:
    send(handler, 200, completion(f"You asked: {prompt_of(body)}"))


def says(text: str | None, finish: str = "stop", **message: Any) -> Step:
    return lambda handler, body: send(handler, 200, completion(text, finish, **message))


def status(code: int, error: object = None, **headers: str) -> Step:
    """An error answer. Header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    said = {"error": error or {"message": "as injected"}}
    return lambda handler, body: send(handler, code, said, named)


def with_headers(**headers: str) -> Step:
    """An answer with headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, body: send(handler, 200, completion("ok"), named)


def truncated_json(handler: Handler, body: dict[str, Any]) -> None:
    """A whole HTTP answer whose JSON stops in the middle."""
    send(handler, 200, json.dumps(completion("never seen")).encode()[:-30])


def cut_connection(handler: Handler, body: dict[str, Any]) -> None:
    """Fewer bytes than the header promised."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.wfile.flush()
    handler.close_connection = True


def reset(handler: Handler, body: dict[str, Any]) -> None:
    """A TCP reset instead of an answer."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.shutdown(socket.SHUT_RD)
    handler.connection.close()
    handler.close_connection = True
    handler.wfile = handler.rfile = open("/dev/null", "r+b", buffering=0)  # noqa: SIM115


def hang(handler: Handler, body: dict[str, Any]) -> None:
    """Nothing, for longer than anybody waits."""
    time.sleep(1.5)


def drip(handler: Handler, body: dict[str, Any]) -> None:
    """A byte now and then: no read ever times out."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(30):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)

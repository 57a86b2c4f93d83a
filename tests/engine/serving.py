"""Model folders, interpreters and servers that only look like the true ones."""

import json
import random
import socket
import stat
import time
from pathlib import Path

QWEN = {
    "model_type": "qwen2_5_vl",
    "vision_config": {},
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 128000,
}
NANO = {
    "model_type": "idefics3",
    "vision_config": {},
    "text_config": {
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "max_position_embeddings": 1024,
    },
}


def folder(root: Path, config: object, name: str = "model", weights: str = "model.safetensors") -> Path:
    made = root / name
    made.mkdir()
    (made / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    (made / weights).touch()
    return made


def interpreter(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


SERVER = """
import http.server, json, os, signal, subprocess, sys, time
port, helper = int(sys.argv[1]), sys.argv[2]
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(helper, "w").write(str(child.pid))
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        key = os.environ.get("VLLM_API_KEY")
        allowed = key is None or self.headers["Authorization"] == "Bearer " + key
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write(json.dumps({"data": [{"id": "small"}]}).encode())
    def log_message(self, *arguments):
        pass
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.HTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""


def free_port() -> int:
    """A port that nobody listens on, outside the range that the kernel gives to whoever connects or asks for any."""
    for _ in range(1000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.SystemRandom().randrange(15_000, 32_000)))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port between 15000 and 32000")


def ended(pid: int, within_s: float = 5.0) -> bool:
    """Whether a process of that number has ended (a zombie that nobody reaps counts)."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False

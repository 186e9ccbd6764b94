"""A real vLLM server with SmolLM2, started with the command that docs/running.md gives, in an emptied environment.

`python -m tests.vllm_server` starts it, has it write one text and stops it (`make vllm-cpu`).
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.servers import free_port

ROOT = Path(__file__).parents[1]
VENV = os.environ.get("SUPERNOTES_VLLM", ".venv-vllm")
"""The environment with vLLM, relative to the repository: the CPU build's, or the official one's (make test-gpu)."""
PYTHON = ROOT / VENV / "bin" / "python"
QUIET = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}


def documented(which: str = "cpu") -> tuple[dict[str, str], list[str]]:
    """Variables and command of docs/running.md: the CPU build's, or (`which` = 'gpu') the official server's."""
    text = (ROOT / "docs" / "running.md").read_text(encoding="utf-8").replace("\\\n", " ")
    start = r"vllm serve" if which == "gpu" else r"\S+/python -m vllm\.entrypoints"
    line = re.search(rf"^    ((?:\w+=\S+ +)*{start}.*)$", text, flags=re.MULTILINE)
    assert line, f"docs/running.md gives no command for the {which} server"
    words = shlex.split(line[1])
    split = next(i for i, word in enumerate(words) if "=" not in word)
    return dict(word.split("=", 1) for word in words[:split]), words[split:]


def command(port: int, *more: str) -> tuple[dict[str, str], list[str]]:
    """The documented command for SmolLM2 on `port`."""
    gpu = VENV != ".venv-vllm"
    variables, words = documented("gpu" if gpu else "cpu")
    if gpu:  # our model, under the name the tests use, in that environment
        model = str(ROOT / ".models" / "smollm2-135m-instruct")
        at = words.index("serve") + 1
        words = [str(PYTHON.with_name("vllm")), "serve", model, *words[at + 1 :], "--served-model-name", "smollm2", "--host", "127.0.0.1"]  # fmt: skip
    words[words.index("--port") + 1] = str(port)
    return variables, [*words, *more]


class RealServer:
    """While the `with` block lasts; `kill()` ends it as a crash would, `start()` brings it back on the same port."""

    def __init__(self, log: Path, *more: str) -> None:
        self.port = free_port()
        self.log = log
        self.more = more
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> RealServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill(signal.SIGTERM)

    def start(self, seconds: float = 400) -> None:
        variables, words = command(self.port, *self.more)
        kept = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ}
        kept |= {k: v for k, v in os.environ.items() if k.startswith(("CUDA", "NVIDIA"))}
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                words, stdout=out, stderr=subprocess.STDOUT, env=kept | QUIET | variables, cwd=ROOT, start_new_session=True
            )  # fmt: skip
        end = time.monotonic() + seconds
        while True:
            told = self.log.read_text(errors="replace")[-3000:]
            assert self.process.poll() is None, f"vLLM ended: {told}"
            assert time.monotonic() < end, f"vLLM did not start within {seconds:g} s: {told}"
            try:
                httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=5, trust_env=False).raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(1)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        os.killpg(self.process.pid, how)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        print("starting the documented command:", shlex.join(command(8000)[1]), flush=True)
        began = time.monotonic()
        with RealServer(Path(name) / "server.log") as server:
            print(f"it answers after {time.monotonic() - began:.0f} s", flush=True)
            body = {"model": "smollm2", "messages": [{"role": "user", "content": "What is a community note? One sentence."}], "max_tokens": 40, "n": 2, "seed": 1}  # fmt: skip
            answer = httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=120, trust_env=False)
            answer.raise_for_status()
            for choice in answer.json()["choices"]:
                print("  ", " ".join(choice["message"]["content"].split())[:160])
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Servers for tests: an OpenAI-compatible one that misbehaves to order, over real HTTP.

Also as a process of its own, for benchmarks: `python -m tests.servers --port 8123 --delay 0.02 [--trouble 0.1]`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse


@dataclass(frozen=True)
class Do:
    """How to answer one call. All defaults: well, at once."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0  # seconds before the answer
    choices: int | None = None  # give so many whatever was asked
    drop: bool = False  # break the connection off in the middle of the answer
    body: str | None = None  # this text instead of an answer
    content: Callable[[dict[str, Any], int], Any] | None = None  # content of choice i


Plan = Callable[[dict[str, Any], int], Do]


@dataclass
class Seen:
    """One call as the server saw it."""

    body: dict[str, Any]
    headers: dict[str, str]
    at: float
    path: str = ""


class ChaosServer:
    """A server on a free port of this machine, in a thread, while the `with` block lasts.

    `plan(body, number)` decides call `number` (from 0) to /v1/chat/completions. Draw i of a call with seed s says
    'draw <s+i>', so a repeated draw shows.
    """

    def __init__(
        self, plan: Plan | None = None, models: tuple[str, ...] = ("tiny",), about: dict[str, Any] | None = None
    ) -> None:
        """`about`: what /v1/models says of each model besides its name."""
        self.plan: Plan = plan or (lambda body, number: Do())
        self.models = models
        self.about = about or {}
        self.seen: list[Seen] = []
        self.adapters: dict[str, str] = {}
        self.in_flight = 0
        self.most_in_flight = 0
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self.port = free_port()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> ChaosServer:
        config = uvicorn.Config(self.app(), host="127.0.0.1", port=self.port, log_level="critical", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        end = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < end, "the test's server did not start"
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/v1/models")
        async def models() -> dict[str, Any]:
            return {
                "object": "list",
                "data": [{"id": name, "object": "model"} | self.about for name in [*self.models, *self.adapters]],
            }

        @app.post("/v1/chat/completions")
        async def chat(request: Request) -> Response:
            body = await request.json()
            number = len(self.seen)
            self.seen.append(Seen(body, dict(request.headers), time.monotonic(), request.url.path))
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            try:
                do = self.plan(body, number)
                if do.delay:
                    await asyncio.sleep(do.delay)
                return answer(body, do)
            finally:
                self.in_flight -= 1

        @app.post("/v1/load_lora_adapter")
        async def load(request: Request) -> Response:
            body = await request.json()
            self.adapters[body["lora_name"]] = body["lora_path"]
            return PlainTextResponse("Success")

        return app


def answer(body: dict[str, Any], do: Do) -> Response:
    """The response that `do` orders for a call."""
    if do.status != 200:
        told = do.body if do.body is not None else json.dumps({"error": {"message": f"told to say {do.status}"}})
        return Response(told, do.status, do.headers, "application/json")
    if do.body is not None:
        return Response(do.body, 200, do.headers, "application/json")
    n = body.get("n", 1) if do.choices is None else do.choices
    seed = body.get("seed", 0)
    say = do.content or (lambda asked, i: f"draw {seed + i}")
    choices = [
        {"index": i, "message": {"role": "assistant", "content": say(body, i)}, "finish_reason": "stop"}
        for i in range(n)
    ]
    usage = {"prompt_tokens": 10, "completion_tokens": 3 * n, "total_tokens": 10 + 3 * n}
    told = json.dumps({"id": "x", "object": "chat.completion", "model": "tiny", "choices": choices, "usage": usage})
    if not do.drop:
        return Response(told, 200, do.headers, "application/json")

    async def half() -> Any:
        yield told[: len(told) // 2].encode()
        await asyncio.sleep(0.01)
        raise ConnectionAbortedError("as ordered")

    return StreamingResponse(half(), 200, {"content-length": str(len(told))}, "application/json")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def troubled(delay: float, trouble: float, seed: int = 0) -> Plan:
    """Answers after about `delay` seconds; a share `trouble` of the calls meets one of five faults."""
    rng = random.Random(seed)
    faults: Iterator[Do] = iter(())

    def plan(body: dict[str, Any], number: int) -> Do:
        nonlocal faults
        if rng.random() >= trouble:
            return Do(delay=delay * rng.uniform(0.5, 1.5))
        fault = next(faults, None)
        if fault is None:
            faults = iter(
                [Do(429, {"retry-after": "0.2"}), Do(500), Do(drop=True), Do(body='{"choices": [{"mess'), Do(choices=1)]
            )
            fault = next(faults)
        return fault

    return plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--delay", type=float, default=0.02, help="seconds an answer takes")
    parser.add_argument("--trouble", type=float, default=0.0, help="share of the calls that meet a fault")
    args = parser.parse_args()
    server = ChaosServer(troubled(args.delay, args.trouble))
    uvicorn.run(server.app(), host="127.0.0.1", port=args.port, log_level="critical", lifespan="off")


if __name__ == "__main__":
    main()

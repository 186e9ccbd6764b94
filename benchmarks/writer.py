"""How fast our client drives a writing-model server, against a plain asyncio client on the same prompts.

    python -m benchmarks.writer --base-url http://127.0.0.1:8000/v1 --model NAME     a real server (vLLM)
    python -m benchmarks.writer --chaos                                              a stand-in that answers after 50 ms
    python -m benchmarks.writer --chaos --trouble 0.2                                and fails one call in five

The plain client is what one would write in an afternoon: `httpx.AsyncClient`, as many workers as we have requests in flight, one
POST per prompt, no retries, no record. Both clients take turns, so that what else the machine does hits both alike; the ratio is
the median over the turns of (texts per second of ours) / (texts per second of the plain one). Ours is measured as a stage uses it,
with the record of calls and the store of answers, and without. JSON lines on standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from nouns.post import MISLEADING, Completion, Note, Post, Request
from storage.calls import Calls
from storage.store import Store
from synthesis.draft.prompts import draft_request
from synthesis.generation.openai_server import OpenAIServer
from synthesis.generation.recording import Recording
from synthesis.settings import DraftCandidatesSettings
from tests.servers import free_port


def make_requests(count: int, settings: DraftCandidatesSettings, turn: int) -> list[Request]:
    """`count` drafts of invented posts; each turn other ones, so that no prefix cache helps the second client."""
    requests = []
    for i in range(count):
        post = Post(i + 1, f"Post {turn}-{i}: the number of visitors doubled last year, officials say.", "en")
        notes = tuple(
            Note(10 * i + k, post.post_id, f"Office {k} counted {1000 + i + k} visitors. https://count.example/{turn}/{i}/{k}", MISLEADING)
            for k in range(3)
        )  # fmt: skip
        seed = (turn * 1_000_003 + i) << 12
        requests.append(draft_request(post, "c", notes, settings, language="en", n=settings.samples, seed=seed))
    return requests


def plain_client(requests: Sequence[Request], settings: DraftCandidatesSettings) -> list[int]:
    """Texts that came back per request; a call that failed gives none."""

    async def run() -> list[int]:
        found = [0] * len(requests)
        queue = iter(enumerate(requests))
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=settings.concurrency)
        async with httpx.AsyncClient(timeout=settings.timeout, limits=limits, trust_env=False) as client:

            async def work() -> None:
                for row, request in queue:
                    body: dict[str, Any] = {
                        "model": settings.model,
                        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
                        "temperature": request.temperature,
                        "top_p": request.top_p,
                        "max_tokens": request.max_tokens,
                        "n": request.n,
                    }
                    if settings.seeds:
                        body["seed"] = request.seed
                    try:
                        response = await client.post(f"{settings.base_url}/chat/completions", json=body)
                        found[row] = len(response.json()["choices"]) if response.status_code == 200 else 0
                    except (httpx.HTTPError, ValueError, KeyError):
                        found[row] = 0

            await asyncio.gather(*(work() for _ in range(settings.concurrency)))
        return found

    return asyncio.run(run())


def measure(what: Callable[[], list[int]], n: int) -> dict[str, Any]:
    began, busy = time.perf_counter(), time.process_time()
    found = what()
    seconds = time.perf_counter() - began
    return {
        "seconds": round(seconds, 3),
        "cpu_seconds": round(time.process_time() - busy, 3),
        "texts": sum(found),
        "incomplete": sum(count < n for count in found),
        "texts_per_second": round(sum(found) / seconds, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--base-url", help="an OpenAI-compatible server, with /v1")
    where.add_argument("--chaos", action="store_true", help="start a stand-in server on this machine")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--samples", type=int, default=4, help="texts per prompt")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--delay", type=float, default=0.05, help="with --chaos: seconds an answer takes")
    parser.add_argument("--trouble", type=float, default=0.0, help="with --chaos: share of calls that fail")
    parser.add_argument("--no-seeds", action="store_true", help="leave seeds out (vLLM on a CPU)")
    args = parser.parse_args()
    server = None
    base_url = args.base_url
    if args.chaos:
        port = free_port()
        base_url = f"http://127.0.0.1:{port}/v1"
        options = ["--port", str(port), "--delay", str(args.delay), "--trouble", str(args.trouble)]
        server = subprocess.Popen([sys.executable, "-m", "tests.servers", *options])
    try:
        _wait_for(base_url)
        compare(args, base_url)
    finally:
        if server is not None:
            server.terminate()
            server.wait(10)


def compare(args: argparse.Namespace, base_url: str) -> None:
    settings = DraftCandidatesSettings(
        backend="openai", base_url=base_url, model=args.model, samples=args.samples, concurrency=args.concurrency,
        max_tokens=args.max_tokens, structured=False, seeds=not args.no_seeds,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:

        def ours(requests: Sequence[Request], turn: int, recorded: bool) -> list[int]:
            generator: Any = OpenAIServer(settings)
            if recorded:
                calls = Path(scratch) / f"{turn}.jsonl.zst"
                generator = Recording(generator, calls=calls, store=Calls(Store(Path(scratch) / f"{turn}")))
            completions: list[Completion] = generator.generate(requests)
            return [len(completion.texts) for completion in completions]

        plain_client(make_requests(8, settings, 10_000), settings)  # the first calls of a server compile and allocate
        ours(make_requests(8, settings, 10_001), -1, False)
        results: dict[str, list[dict[str, Any]]] = {"plain": [], "ours": [], "ours_recorded": []}
        for turn in range(args.turns):
            clients: dict[str, Callable[[list[Request]], list[int]]] = {
                "plain": lambda requests: plain_client(requests, settings),
                "ours": lambda requests, turn=turn: ours(requests, turn, False),  # type: ignore[misc]
                "ours_recorded": lambda requests, turn=turn: ours(requests, turn, True),  # type: ignore[misc]
            }
            names = list(clients)
            for place, name in enumerate(names[turn % 3 :] + names[: turn % 3]):
                requests = make_requests(args.requests, settings, 3 * turn + place)
                results[name].append(measure(lambda c=clients[name], r=requests: c(r), args.samples))  # type: ignore[misc]
    facts = {
        "benchmark": "writer",
        "server": "stand-in" if args.chaos else "given",
        "requests": args.requests,
        "samples": args.samples,
        "concurrency": args.concurrency,
        "max_tokens": args.max_tokens,
        "turns": args.turns,
        "delay": args.delay if args.chaos else None,
        "trouble": args.trouble if args.chaos else None,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": {"python": platform.python_version(), "httpx": version("httpx")},
    }
    for name, turns in results.items():
        ratios = [
            mine["texts_per_second"] / max(plain["texts_per_second"], 1e-9)
            for mine, plain in zip(turns, results["plain"], strict=True)
        ]
        line = {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
        extra = {"ratio": round(statistics.median(ratios), 3), "ratios": [round(ratio, 3) for ratio in ratios]}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(facts | {"client": name} | line | extra | {"peak_bytes": peak}), flush=True)


def _wait_for(base_url: str) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"{base_url}/models", timeout=5, trust_env=False).raise_for_status()
            return
        except httpx.HTTPError:
            if time.monotonic() > end:
                raise SystemExit(f"No server answers at {base_url}; start one, or mend --base-url.") from None
            time.sleep(0.2)


if __name__ == "__main__":
    main()

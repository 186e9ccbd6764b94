"""How fast the inspector answers with 100,000 posts and 5 million candidates: `python -m benchmarks.inspector`.

    python -m benchmarks.inspector [--posts 100000] [--candidates 56] [--workspace DIR] [--workers 2] [--seconds 30]
                                   [--think 1] [--decisions 10000]

Makes an invented workspace (kept and reused with --workspace), builds the index, starts the server as a process of its
own on loopback, lets 20 readers and 5 writers work, then writes until there are 10,000 decisions and looks for every one.
Readers open the queue (random filter, order and page) and posts in turn; writers decide through the API. `--think` is the
pause of a person between two pages in seconds: 0 is a closed loop in which 25 requests are always under way.
The target is p95 100 ms with --think 1.

One JSON line per measurement. `wait_ms` is what a reader waits, from the request sent to the last byte read: it holds all
waiting in the server's queues and the client's own time too. `server_ms` is the server's clock (Server-Timing), which starts
when a request's turn comes, so it says what a page costs and not what a reader waits. The load generator runs on the same
cores: `client_cpu` and `server_cpu` say how many cores each kept busy, `client_cpu_ms` and `server_cpu_ms` the time per request.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from inspector.decide import accounts, database, decisions
from inspector.read.reading import SORTS
from inspector.read.runs import Workspace
from inspector.settings import InspectorSettings
from inspector.site import COOKIE

READERS, WRITERS = 20, 5


def say(**facts: Any) -> None:
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    print(
        json.dumps({"benchmark": "inspector", **facts, **machine, "load_average": round(os.getloadavg()[0], 1)}),
        flush=True,
    )


class Connection:
    """One keep-alive HTTP/1.1 connection that costs the client little: the server should be the one measured."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self.port = port
        self.head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.used = 0.0
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, float, float, int, bytes]:
        """(status, server milliseconds, client milliseconds, bytes on the wire, body)."""
        started = time.perf_counter()
        if self.writer is not None and started - self.used > 3:  # the server hangs up after five idle seconds
            self.close()
            self.writer = None
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        assert self.reader is not None
        kind = "Content-Type: application/json\r\n" if body else ""
        asked = "Accept-Encoding: gzip, deflate, br, zstd\r\n"  # as Chromium and Firefox do; the answer is left compressed unless it is JSON
        if body:
            asked = ""
        request = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{self.head}{asked}{kind}Content-Length: {len(body)}\r\n\r\n"
        self.writer.write(request.encode() + body)
        await self.writer.drain()
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        found = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
        if found:
            content = await self.reader.readexactly(int(found.group(1)))
        else:
            content = b""
            while (size := int(await self.reader.readline(), 16)) > 0:
                content += await self.reader.readexactly(size)
                await self.reader.readline()
            await self.reader.readline()
        spent = re.search(r"server-timing: app;dur=([\d.]+)", head, re.IGNORECASE)
        server = float(spent.group(1)) if spent else float("nan")
        self.used = time.perf_counter()
        return int(head.split()[1]), server, (time.perf_counter() - started) * 1000, len(content), content

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


def random_queue(rng: random.Random) -> str:
    """A queue as somebody might ask for it: mostly plain, sometimes filtered or searched."""
    query = {"sort": rng.choice(list(SORTS))}
    if rng.random() < 0.5:
        query["outcome"] = rng.choice(["winner", "abstained"])
    if rng.random() < 0.3:
        query["decided"] = rng.choice(["none", "unseen", "any", "against"])
    if rng.random() < 0.2:
        query["story"] = rng.choice(["bread", "vote", "river"])
    if rng.random() < 0.1:
        query["q"] = rng.choice(["sourdough", "lighthouse budget", "ballots counted"])
    if rng.random() < 0.4:
        query["after"] = f"{rng.uniform(-0.2, 0.4)}~{rng.randrange(2**62)}"
    return "&".join(f"{key}={value}" for key, value in query.items()).replace(" ", "+")


def processor_seconds(pid: int) -> float:
    """User and system time of a process and its living descendants."""
    parent = psutil.Process(pid)
    times = [process.cpu_times() for process in [parent, *parent.children(recursive=True)]]
    return sum(spent.user + spent.system for spent in times)


async def read(
    port: int, cookie: str, run: str, posts: list[int], until: float, think: float, seed: int, found: dict
) -> None:
    rng = random.Random(seed)
    connection = Connection(port, {"Cookie": f"{COOKIE}={cookie}"})
    await asyncio.sleep(rng.random() * max(think, 0.2))
    while time.monotonic() < until:
        kind = "queue" if rng.random() < 0.3 else "post"
        path = f"/runs/{run}/posts?{random_queue(rng)}" if kind == "queue" else f"/runs/{run}/posts/{rng.choice(posts)}"
        status, server, client, size, _ = await connection.ask("GET", path)
        found[kind].append((status, server, client, size))
        if think:
            await asyncio.sleep(rng.expovariate(1 / think))
    connection.close()


async def write(
    port: int,
    token: str,
    run: str,
    posts: list[int],
    until: float,
    quota: list[int],
    think: float,
    seed: int,
    found: dict,
) -> None:
    """Decide on random posts; whatever the server confirmed is remembered."""
    rng = random.Random(seed)
    connection = Connection(port, {"Authorization": f"Bearer {token}"})
    while time.monotonic() < until and quota[0] > 0:
        quota[0] -= 1
        key = f"bench-{seed}-{rng.randrange(2**60):x}"
        body = json.dumps({"kind": rng.choice(["not_needed", "flag"]), "client_key": key}).encode()
        status, server, client, size, content = await connection.ask(
            "POST", f"/api/v1/runs/{run}/posts/{rng.choice(posts)}/decisions", body
        )
        found["write"].append((status, server, client, size))
        if status == 201:
            found["confirmed"].append(json.loads(content)["decision_id"])
        if think:
            await asyncio.sleep(rng.expovariate(1 / think))
    connection.close()


def summary(rows: list[tuple[int, float, float, int]]) -> dict[str, Any]:
    server, client = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    quantiles = {f"p{q}": q for q in (50, 95, 99)}
    return {
        "n": len(rows),
        "errors": sum(row[0] >= 400 for row in rows),
        "server_ms": {name: round(float(np.nanpercentile(server, q)), 1) for name, q in quantiles.items()},
        "wait_ms": {name: round(float(np.percentile(client, q)), 1) for name, q in quantiles.items()},
        "max_bytes": max(row[3] for row in rows),
    }


def start_server(workspace: Path, port: int, workers: int) -> tuple[subprocess.Popen[bytes], float]:
    """The server as users start it, and the seconds until it answered."""
    started = time.perf_counter()
    asked = f"--workspace {workspace} --port {port} --workers {workers}".split()
    process = subprocess.Popen([sys.executable, "-m", "pipeline", "inspect", *asked], stderr=subprocess.DEVNULL)

    async def answers() -> bool:
        try:
            connection = Connection(port, {})
            status, *_ = await connection.ask("GET", "/healthz")
            connection.close()
            return status == 200
        except OSError:
            return False

    while not asyncio.run(answers()):
        if process.poll() is not None:
            raise SystemExit("the server ended at once; start it by hand to see why")
        time.sleep(0.02)
    return process, time.perf_counter() - started


async def load(
    port: int,
    cookies: list[str],
    tokens: list[str],
    run: str,
    posts: list[int],
    seconds: float,
    think: float,
) -> dict:
    found: dict[str, list] = defaultdict(list)
    until = time.monotonic() + seconds
    quota = [10**9]
    await asyncio.gather(
        *(read(port, cookie, run, posts, until, think, k, found) for k, cookie in enumerate(cookies)),
        *(
            write(port, token, run, posts, until, quota, think, time.time_ns() + k, found)
            for k, token in enumerate(tokens)
        ),
    )
    return found


async def write_many(port: int, tokens: list[str], run: str, posts: list[int], n: int, seed: int) -> dict:
    found: dict[str, list] = defaultdict(list)
    quota = [n]
    await asyncio.gather(
        *(
            write(port, token, run, posts, time.monotonic() + 3600, quota, 0, seed + k, found)
            for k, token in enumerate(tokens)
        )
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, default=100_000)
    parser.add_argument(
        "--candidates", type=int, default=56, help="per post that is worth a supernote; 56 gives 5.1 million"
    )
    parser.add_argument("--workspace", type=Path, default=None)
    parser.add_argument("--workers", type=int, nargs="+", default=[2])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--think", type=float, nargs="+", default=[1])
    parser.add_argument("--decisions", type=int, default=10_000)
    parser.add_argument("--port", type=int, default=8799)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measure(given, given.workspace or Path(scratch))


def measure(given: argparse.Namespace, workspace: Path) -> None:
    if not (workspace / "runs").is_dir():
        from tests.inspector.worlds import write_world

        started = time.perf_counter()
        write_world(workspace, n_posts=given.posts, candidates_per_post=given.candidates)
        say(what="make_world", posts=given.posts, seconds=round(time.perf_counter() - started, 1))
    listed = Workspace(str(workspace))
    run = listed.runs()[0]
    started = time.perf_counter()
    built = subprocess.run(
        [sys.executable, "-c", _BUILD, str(workspace), run], check=True, capture_output=True, text=True
    ).stdout.split()
    size = sum(path.stat().st_size for path in Path(built[0]).iterdir())
    say(
        what="build_index", seconds=round(time.perf_counter() - started, 1), bytes=size, peak_bytes=int(built[1]) * 1024
    )

    engine = database.open_database(InspectorSettings(workspace=str(workspace)).database)
    now = time.time_ns() // 1_000_000
    cookies, tokens = [], []
    for k in range(READERS + WRITERS):
        user = accounts.find_user(engine, f"bench{k}") or accounts.add_user(
            engine, f"bench{k}", "analyst", "a bench password", now
        )
        if k < READERS:
            cookies.append(accounts.open_session(engine, user, now, 12))
        else:
            tokens.append(accounts.make_api_token(engine, user, "bench", now))
    database_file = sqlite3.connect(Path(built[0]) / "index.sqlite")
    posts = [row[0] for row in database_file.execute("SELECT post_id FROM posts")]
    n_candidates = database_file.execute("SELECT SUM(n_candidates) FROM posts").fetchone()[0]
    database_file.close()
    for workers in given.workers:
        process, seconds = start_server(workspace, given.port, workers)
        try:
            say(what="start", workers=workers, seconds=round(seconds, 2))
            for think in given.think:
                asyncio.run(load(given.port, cookies, tokens, run, posts, 2, 0.2))  # files mapped
                before = processor_seconds(process.pid), time.process_time()
                found = asyncio.run(load(given.port, cookies, tokens, run, posts, given.seconds, think))
                server = processor_seconds(process.pid) - before[0]
                client = time.process_time() - before[1]
                n = sum(len(found[kind]) for kind in ("queue", "post", "write"))
                for kind in ("queue", "post", "write"):
                    say(
                        what=kind,
                        workers=workers,
                        think=think,
                        posts=len(posts),
                        candidates=n_candidates,
                        requests_a_second=round(n / given.seconds, 1),
                        server_cpu=round(server / given.seconds, 2),
                        client_cpu=round(client / given.seconds, 2),
                        server_cpu_ms=round(1000 * server / n, 2),
                        client_cpu_ms=round(1000 * client / n, 2),
                        **summary(found[kind]),
                    )
            already = len(decisions.history(engine))
            started = time.perf_counter()
            written = asyncio.run(write_many(given.port, tokens, run, posts, given.decisions, time.time_ns()))
            there = {row.decision_id for row in decisions.history(engine)}
            say(
                what="decisions",
                workers=workers,
                sent=given.decisions,
                confirmed=len(written["confirmed"]),
                lost=len(set(written["confirmed"]) - there),
                unconfirmed_in_store=len(there) - already - len(set(written["confirmed"])),
                seconds=round(time.perf_counter() - started, 1),
                **{key: value for key, value in summary(written["write"]).items() if key != "n"},
            )
        finally:
            process.terminate()
            process.wait(timeout=20)


_BUILD = """
import resource, runpy, sys
sys.argv = ["index", *sys.argv[1:]]
runpy.run_module("inspector.read.index", run_name="__main__")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

if __name__ == "__main__":
    main()

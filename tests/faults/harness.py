"""Faults as data: a run under a schedule of faults must end with the bytes of a run that met none.

A schedule is a list of faults drawn from a seed. Each is done to a process of its own that works on the same workspace; then the run is
carried to its end in peace and compared. `python -m tests.faults --seed 17` replays one schedule, `--seeds 100` tries a hundred; one that fails
is made smaller, fault by fault, as long as it still fails.
"""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nouns.stages import RUN_STAGES
from pipeline.console import sample_directory
from pipeline.plan import Plan, RunRequest, create_run
from pipeline.settings import load_settings
from storage.store import Store
from storage.verify import verify
from tests.pipeline.fast import FAST
from tests.servers import ChaosServer, Do
from tests.storage.damage import injure

POSTS = 12
STAGES = RUN_STAGES[: RUN_STAGES.index("build_pairs") + 1]
SAY = json.dumps({"note": "The bridge was closed on 4 March. https://example.org/a"})
Fault = dict[str, Any]
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.faults.harness", "polars", "pyarrow.parquet", "synthesis.draft.stage"])


def schedule(seed: int) -> list[Fault]:
    """One to three faults. Events are openings, renames and removals of files in the workspace; bytes are those of any one file."""
    rng = random.Random(seed)
    kinds = [
        lambda: {"kind": "killed at an event", "at": int(10 ** rng.uniform(0, 3))},
        lambda: {"kind": "killed at a byte", "at": int(10 ** rng.uniform(1.5, 5))},
        lambda: {"kind": "disk full at an event", "at": int(10 ** rng.uniform(0, 3))},
        lambda: {"kind": "disk full at a byte", "at": int(10 ** rng.uniform(1.5, 5))},
        lambda: {"kind": "server gone", "at": rng.randrange(12)},
        lambda: {"kind": "two at once", "until": rng.choice(STAGES)},
        lambda: {"kind": "clock moved", "by": rng.choice([-400, -1, 1, 400]) * 86_400, "until": rng.choice(STAGES)},
        lambda: {"kind": "damaged", "seed": rng.randrange(10**6), "until": rng.choice(STAGES)},
    ]
    return [rng.choice(kinds)() for _ in range(rng.randint(1, 3))]


def cut_sample(target: Path) -> Path:
    """The sample with the notes of a dozen posts, and what belongs to them."""
    shutil.copytree(sample_directory(), target)
    notes = target / "notes-00000.tsv"
    head, *lines = notes.read_text(encoding="utf-8").splitlines()
    post = head.split("\t").index("tweetId")
    posts = sorted({line.split("\t")[post] for line in lines})[:POSTS]
    kept = [line for line in lines if line.split("\t")[post] in posts]
    notes.write_text("\n".join([head, *kept]) + "\n", encoding="utf-8")
    ids = {line.split("\t")[0] for line in kept}
    for path in (target / "noteStatusHistory-00000.tsv", target / "ratings-00000.tsv.gz"):
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text(encoding="utf-8")
        head, *lines = text.splitlines()
        text = "\n".join([head, *(line for line in lines if line.split("\t")[0] in ids)]) + "\n"
        path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())
    return target


@dataclass
class Bench:
    """What all schedules share: the cut sample, a trained jury, a server, and what a run in peace comes to."""

    folder: Path
    jury: str
    server: ChaosServer
    peace: dict[str, str] | None = None
    calls: int = 0
    refused: int = 0

    def paid(self) -> int:
        """Calls the server has answered."""
        return len(self.server.seen) - self.refused

    def answer(self, body: dict[str, Any], number: int, gone_from: float = float("inf")) -> Do:
        self.refused += number >= gone_from
        return Do(status=503) if number >= gone_from else Do(content=lambda *_: SAY)

    def of(self, workspace: Path) -> tuple[str, str, str, str, str]:
        return (str(workspace), str(self.folder / "source"), self.jury, self.server.base_url, STAGES[-1])


def carry_to(workspace: str, source: str, jury: str, address: str, until: str, fault: Fault | None = None) -> None:
    """The run as far as a stage, in this process, with a fault on its way."""
    fault = fault or {}
    kind, at, left = fault.get("kind", ""), fault.get("at", 0), [fault.get("at", 0)]
    if kind.endswith("at an event"):

        def event(name: str, arguments: tuple[Any, ...]) -> None:
            if name in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir") and workspace in str(arguments[0]):
                left[0] -= 1
                if left[0] == 0 and kind.startswith("killed"):
                    os._exit(137)
                if left[0] <= 0 and name != "os.remove":
                    raise OSError(28, "No space left on device", str(arguments[0]))

        sys.addaudithook(event)
    elif kind.endswith("at a byte"):
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if kind.startswith("killed") else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (at, at))
    elif kind == "clock moved":
        real = time.time
        time.time = lambda: real() + fault["by"]
    store = Store(workspace)
    flags = [*FAST, "draft_candidates.backend=openai", f"draft_candidates.base_url={address}", "draft_candidates.model=tiny",
             "draft_candidates.concurrency=1", "draft_candidates.attempts=2", "draft_candidates.circuit_seconds=0", "draft_candidates.circuit_failures=3", "revise_candidates.rounds=1"]  # fmt: skip
    request = RunRequest(source, posts=str(Path(source) / "posts.jsonl"), jury=jury)
    plan = Plan(store, create_run(store, request, load_settings(environment={}, flags=flags)))
    for stage in STAGES[: STAGES.index(until) + 1]:
        plan.run(stage)


def start(bench: Bench, workspace: Path, fault: Fault | None = None, until: str = "") -> Any:
    of = bench.of(workspace)
    process = _CONTEXT.Process(target=_quietly, args=(*of[:4], until or of[4], fault))
    process.start()
    return process


def _quietly(*arguments: Any) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    carry_to(*arguments)


def meet(bench: Bench, workspace: Path, fault: Fault) -> None:
    """Let the run meet one fault."""
    kind, until = fault["kind"], fault.get("until", "")
    if kind == "server gone":
        broken = len(bench.server.seen) + fault["at"]
        bench.server.plan = lambda body, number: bench.answer(body, number, broken)
    processes = [start(bench, workspace, fault, until) for _ in range(2 if kind == "two at once" else 1)]
    for process in processes:
        process.join(300)
        assert process.exitcode is not None, f"{fault}: no end after five minutes"
        assert process.exitcode == 0 or until == "", f"{fault}: ended with {process.exitcode}"
    bench.server.plan = bench.answer
    if kind == "damaged":
        injure(workspace, fault["seed"])


def came_to(workspace: Path) -> dict[str, str]:
    """The digest of every stage's bytes."""
    store = Store(workspace)
    (run,) = store.list("runs")
    found = {stage: store.require_whole(f"runs/{run}/{stage}") for stage in STAGES}
    return {stage: manifest.digest for stage, manifest in found.items() if manifest is not None}


def trouble(bench: Bench, faults: list[Fault]) -> str:
    """What is wrong after these faults and a run in peace; '' where nothing is."""
    workspace = bench.folder / f"w{time.monotonic_ns()}"
    before = bench.paid()
    try:
        for fault in faults:
            meet(bench, workspace, fault)
        last = start(bench, workspace)
        last.join(300)
        if last.exitcode != 0:
            return f"the run in peace ended with {last.exitcode}"
        if damaged := verify(Store(workspace)).damaged:
            return f"still damaged: {damaged}"
        if (found := came_to(workspace)) != bench.peace:
            return f"other bytes: {[stage for stage in STAGES if found.get(stage) != (bench.peace or {}).get(stage)]}"
        # A call under way when its process is killed cannot have been kept; of answers that were, none may be paid again.
        kinds = [fault["kind"] for fault in faults]
        lost = bench.calls if "damaged" in kinds else sum(kind.startswith(("killed", "disk")) for kind in kinds)
        if (paid := bench.paid() - before) > bench.calls + lost:
            return f"{paid} calls paid instead of {bench.calls}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    return ""


def open_bench(folder: Path, jury: str) -> Bench:
    """The bench, its server answering; the run in peace is done."""
    cut_sample(folder / "source")
    bench = Bench(folder, jury, ChaosServer().__enter__())
    bench.server.plan = bench.answer
    process = start(bench, folder / "peace")
    process.join(600)
    assert process.exitcode == 0, "the run in peace did not end well"
    bench.peace, bench.calls = came_to(folder / "peace"), bench.paid()
    return bench


def shrink(bench: Bench, faults: list[Fault]) -> list[Fault]:
    """A smaller schedule that fails, too."""
    for number in range(len(faults)):
        fewer = faults[:number] + faults[number + 1 :]
        if fewer and trouble(bench, fewer):
            return shrink(bench, fewer)
    return faults

"""The stage `cluster_notes` at size: `python -m benchmarks.clusters [--notes N ...]`.

Notes are invented around planted claims (three a claim, on two posts); their vectors are planted, too, so that everything but the embedding itself is measured
(MiniLM: about 76 notes a second and core). One JSON line a size: seconds, processor seconds, peak resident bytes of the stage's own process.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

WIDTH = 384
NAMES = ["Orla", "Halden", "Lindow", "Marsh", "Teviot", "Brenne", "Costa", "Dunmore", "Elva", "Farrow"]


class Planted:
    """Vectors around the centre of the claim that a text names by number: cosine about 0.9 within a claim, 0 between."""

    name = "planted"
    width = WIDTH

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.zeros((len(texts), WIDTH), dtype=np.float32)
        for i, text in enumerate(texts):
            claim, version = (int(part) for part in text.split()[1:3])
            centre = np.random.default_rng(claim).normal(size=WIDTH)
            rows[i] = centre + 0.33 * np.random.default_rng([claim, version]).normal(size=WIDTH)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)


def make_snapshot(root: Path, notes: int, per_day: float) -> None:
    from nouns.post import MISLEADING, Note
    from tests.synthesis.world import write_parameters, write_snapshot

    made = []
    for i in range(notes):
        claim = i // 3
        post = 2 * claim + (i % 3 == 2)  # two notes on one post, the third on a sister post
        place = NAMES[claim % 10]
        text = f"Claim {claim} {i % 3} is about {place}: it was counted in {1950 + claim % 70}. https://records.example/{i}"
        written = 1_700_000_000_000 + int(claim * 3 / per_day * 86_400_000) if per_day else None
        made.append(Note(10 * i + 1, 10 * post, text, MISLEADING, written, intercept=0.1, factor=0.0, n_ratings=5))
    write_snapshot(root / "snapshot", made)
    write_parameters(root / "fit", made)


def stage(root: str, answer: Any) -> None:
    from synthesis.settings import ClusterNotesSettings
    from tests.calling import cluster_notes
    from texts import embedding

    embedding.EMBEDDERS["planted"] = Planted
    out = Path(root) / "out"
    out.mkdir()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, busy = time.perf_counter(), time.process_time()
    settings = ClusterNotesSettings(embedder="planted")
    counts = cluster_notes(out, settings, snapshot=Path(root) / "snapshot", parameters=Path(root) / "fit")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = time.perf_counter() - began, time.process_time() - busy
    answer.put(
        (seconds, peak * 1024, before * 1024, {key: counts[key] for key in ("notes", "stories", "clusters", "out")})
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--notes", type=int, nargs="*", default=[40_000, 100_000, 250_000])
    context = multiprocessing.get_context("spawn")
    parser.add_argument(
        "--per-day",
        type=float,
        default=1200.0,
        help="notes a day (X: 2.5 M in 5.8 years); 0: undated, all compared with all",
    )
    args = parser.parse_args()
    for notes in args.notes:
        with tempfile.TemporaryDirectory() as folder:
            making = context.Process(target=make_snapshot, args=(Path(folder), notes, args.per_day))
            making.start()
            making.join()
            answer = context.Queue()
            process = context.Process(target=stage, args=(folder, answer))
            process.start()
            (seconds, cpu), peak, before, counts = answer.get()
            process.join()
        line = {"benchmark": "clusters", "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "peak_bytes": peak}
        print(
            json.dumps(line | {"bytes_at_start": before, "bytes_a_note": round((peak - before) / notes)} | counts),
            flush=True,
        )


if __name__ == "__main__":
    main()

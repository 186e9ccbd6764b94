"""How fast, and in how much memory, pairs become a dataset folder: `python -m benchmarks.export [--pairs N ...]`.

Makes a run of N pairs (16 a post, prompts of about 1,200 characters, notes of about 230, none like another), exports it with the default
settings and prints one JSON line for each size: seconds, peak resident bytes of the export alone (a process of its own), bytes written.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

SYLLABLES = ("ka", "lo", "mi", "ne", "pu", "ra", "so", "ti", "ve", "zu", "ber", "dan", "fil", "gor")
WORDS = [a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES]
PAIRS_PER_POST = 16


def make_run(root: Path, n_pairs: int) -> dict[str, Path]:
    """Directories with the tables an export reads; texts are words drawn at random."""
    from feedback.pairs.stage import LABELS, PAIRS
    from jury.tables import SCHEMAS, write_rows
    from nouns import snapshot as snapshots
    from tests.jury.world import CANDIDATES, CHECKS, FAILURES, PROMPTS

    names = ("snapshot", "jury", "clusters", "candidates", "checks", "verdicts", "selections", "pairs")
    inputs = {name: root / name for name in names}
    for path in inputs.values():
        path.mkdir(parents=True)
    rng = np.random.default_rng(0)
    n_posts = -(-n_pairs // PAIRS_PER_POST)
    posts = np.arange(1_800_000_000_000_000_000, 1_800_000_000_000_000_000 + n_posts)
    snapshots.write(
        inputs["snapshot"],
        "notes",
        pl.DataFrame(
            {
                "noteId": posts + 1,
                "tweetId": posts,
                "createdAtMillis": 1,
                "classification": "NOT_MISLEADING",
                "summary": "x",
            }
        ),
    )
    snapshots.write(inputs["snapshot"], "posts", pl.DataFrame(schema={"tweetId": pl.Int64}))
    pl.DataFrame(
        {
            "post_id": posts,
            "language": "en",
            "n_notes": 2,
            "n_clusters": 1,
            "n_ratings": 9,
            "eligible": True,
            "reason_code": None,
            "reason": None,
            "story_id": None,
        },
        schema_overrides={"story_id": pl.String},
    ).write_parquet(inputs["clusters"] / "posts.parquet")
    pl.DataFrame({"post_id": posts, "note_id": posts + 1}).write_parquet(inputs["clusters"] / "clusters.parquet")
    vocabulary = np.array(WORDS)

    def text(words: int) -> str:
        return " ".join(rng.choice(vocabulary, words)) + ". https://news.example.org/a"

    def notes(n: int) -> list[str]:
        return [" ".join(words) + ". https://news.example.org/a" for words in rng.choice(vocabulary, (n, 30)).tolist()]

    prompts = [[{"role": "system", "content": text(60)}, {"role": "user", "content": text(110)}] for _ in range(2000)]
    for schema, name in ((PAIRS, "pairs"), (LABELS, "labels")):
        with pq.ParquetWriter(
            inputs["pairs"] / f"{name}.parquet", schema, compression="zstd", compression_level=1
        ) as writer:
            for start in range(0, n_pairs, 50_000):
                n = min(50_000, n_pairs - start)
                row = np.arange(start, start + n)
                post = posts[row // PAIRS_PER_POST]
                chosen, rejected = notes(n), notes(n)
                columns = {
                    "pair_id": [f"{i:016x}" for i in row], "candidate_id": [f"{i:016x}" for i in row], "post_id": post, "cluster_id": [f"c{p}" for p in post],
                    "request_id": [f"q{p}" for p in post], "prompt_sha256": ["0" * 64] * n, "prompt_version": ["draft-1"] * n,
                    "prompt": [prompts[p % len(prompts)] for p in post], "chosen_id": [f"a{i}" for i in row], "rejected_id": [f"b{i}" for i in row],
                    "chosen": chosen, "rejected": rejected, "text": chosen,
                    "label": rng.random(n) < 0.5, "reason": ["bar"] * n, "label_source": ["jury"] * n, "pair_rule": ["matched"] * n, "model_id": ["writer"] * n, "language": ["en"] * n,
                } | {name: rng.random(n) for name in ("score_chosen", "score_rejected", "score_gap", "gap_ci_low", "gap_ci_high", "p_flip", "score", "lower", "upper")}  # fmt: skip
                arrays = [
                    pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(n, field.type)
                    for field in schema
                ]
                writer.write_table(pa.table(arrays, schema=schema))
    pl.DataFrame(schema=CANDIDATES).write_parquet(inputs["candidates"] / "candidates.parquet")
    pl.DataFrame(schema=PROMPTS).write_parquet(inputs["candidates"] / "prompts.parquet")
    pl.DataFrame(schema=FAILURES).write_parquet(inputs["candidates"] / "failures.parquet")
    pl.DataFrame(schema=CHECKS).write_parquet(inputs["checks"] / "checks.parquet")
    for stage, name in (("verdicts", "verdicts"), ("verdicts", "existing"), ("selections", "losers")):
        write_rows(inputs[stage] / f"{name}.parquet", SCHEMAS[name], [])
    (inputs["selections"] / "selections.jsonl").write_text("")
    return inputs


def _export(inputs: dict[str, Path], out: Path, formats: tuple[str, ...], jsonl: bool, answer) -> None:  # type: ignore[no-untyped-def]
    from feedback.settings import ExportSettings
    from tests.calling import export

    settings = ExportSettings(formats=formats or ExportSettings().formats, jsonl=jsonl)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    counts = export(out, settings, **inputs)
    seconds = time.perf_counter() - started, time.process_time()
    answer.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, before * 1024, counts["out"]))


def measure(n_pairs: int, formats: tuple[str, ...] = (), jsonl: bool = True) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        making = multiprocessing.get_context("spawn").Process(target=make_run, args=(Path(folder) / "run", n_pairs))
        making.start()
        making.join()
        names = ("snapshot", "jury", "clusters", "candidates", "checks", "verdicts", "selections", "pairs")
        inputs = {name: Path(folder) / "run" / name for name in names}
        out = Path(folder) / "out"
        out.mkdir()
        context = multiprocessing.get_context("spawn")
        answer = context.Queue()
        process = context.Process(target=_export, args=(inputs, out, formats, jsonl, answer))
        process.start()
        (seconds, cpu), peak, before, written = answer.get()
        process.join()
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {
        "benchmark": "export", "machine": platform.machine(), "python": platform.python_version(), "polars": pl.__version__,
        "pairs": written, "formats": list(formats) or "default", "jsonl": jsonl, "seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2),
        "pairs_per_second": round(written / seconds), "peak_bytes": peak, "bytes_at_start": before, "bytes_written": size,
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--formats", nargs="*", default=[])
    parser.add_argument("--no-jsonl", action="store_true")
    given = parser.parse_args()
    for n in given.pairs:
        print(json.dumps(measure(n, tuple(given.formats), not given.no_jsonl)), flush=True)

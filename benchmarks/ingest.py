"""How fast ratings are read: `python -m benchmarks.ingest --rows 20000000 [--peer duckdb polars pandas]`.

Generates a ratings file of X's shape (32 columns, 64-character rater ids, every tag; some 184 bytes a row) and a small
notes file, runs `ingest` in a process of its own, then plain scans of the same file by other readers, each in a
process of its own. One JSON line per measurement: machine, versions, rows, bytes, seconds, rows a second, peak bytes
(of the process, by the kernel) the seconds of processor time (the
figure to compare when other programs share the machine) and the ratio of seconds to each peer. A peer reads the same columns into memory or
Parquet without checking, sorting, duplicates or line numbers: it is a yardstick, not an equal.

    --rows N ...       sizes (default 1000000); a size that is already generated in --dir is used again
    --peer NAME ...    duckdb, duckdb-sorted (to Parquet, ORDER BY the same keys), polars, polars-parquet
    --dir DIR          where files go (default: a temporary folder, removed at the end)
    --shards K         the ratings in K files
    --compression C    '', gz or zst
    --dense            also measure dense_ratings on the snapshot
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nouns.x import RATING_TAGS

_HEADER = [
    "noteId",
    "raterParticipantId",
    "createdAtMillis",
    "version",
    "agree",
    "disagree",
    "helpful",
    "notHelpful",
    "helpfulnessLevel",
    *RATING_TAGS,
    "ratedOnTweetId",
    "ratingSourceBucketed",
]
_EPOCH = 1_288_834_974_657


def generate(folder: Path, rows: int, shards: int, compression: str, seed: int = 20261121) -> None:
    """Ratings and notes of X's shape: 40 ratings a note and a rater on average, both with long tails; random order."""
    import polars as pl
    import zstandard

    folder.mkdir(parents=True)
    n_raters, n_notes = max(50, rows // 40), max(20, rows // 20)
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 2**63, size=(n_raters, 4), dtype=np.int64)
    raters = pl.DataFrame({str(k): [f"{word:016X}" for word in words[:, k].tolist()] for k in range(4)}).select(
        pl.concat_str(pl.all())
    )
    raters = raters.to_series()
    created = rng.integers(1_650_000_000_000, 1_760_000_000_000, size=n_notes)
    notes = ((created - _EPOCH) << 22) + rng.integers(0, 1 << 22, size=n_notes)
    tweets = notes - (rng.integers(1_000, 100_000_000, size=n_notes) << 22)
    levels = pl.Series(["HELPFUL", "SOMEWHAT_HELPFUL", "NOT_HELPFUL"])
    sources = pl.Series(["DEFAULT", "POPULATION_SAMPLED"])
    flags = _HEADER[9:31]
    for shard in range(shards):
        n = rows // shards + (shard < rows % shards)
        path = folder / f"ratings-{shard:05d}.tsv"
        with path.open("wb") as sink:
            sink.write(("\t".join(_HEADER) + "\n").encode())
            for start in range(0, n, 1_000_000):
                m = min(1_000_000, n - start)
                note = np.minimum((n_notes * rng.random(m) ** 3).astype(np.int64), n_notes - 1)
                rater = np.minimum((n_raters * rng.random(m) ** 3).astype(np.int64), n_raters - 1)
                bits = rng.integers(0, 1 << 22, size=m) & rng.integers(0, 1 << 22, size=m)
                zero = pl.repeat(0, m, eager=True)
                frame = pl.DataFrame(
                    {
                        "noteId": notes[note],
                        "raterParticipantId": raters.gather(rater),
                        "createdAtMillis": created[note] + rng.integers(1_000, 5_000_000_000, size=m),
                        "version": zero + 2,
                        "agree": zero,
                        "disagree": zero,
                        "helpful": zero,
                        "notHelpful": zero,
                        "helpfulnessLevel": levels.gather(rng.integers(0, 3, size=m)),
                        **{name: (bits >> k) & 1 for k, name in enumerate(flags)},
                        "ratedOnTweetId": tweets[note],
                        "ratingSourceBucketed": sources.gather((rng.random(m) < 0.05).astype(np.int64)),
                    }
                )
                frame.write_csv(sink, separator="\t", include_header=False, quote_style="never")
        if compression == "gz":
            subprocess.run(["gzip", "-1", str(path)], check=True)
        elif compression == "zst":
            with path.open("rb") as source, Path(f"{path}.zst").open("wb") as target:
                zstandard.ZstdCompressor(level=3).copy_stream(source, target)
            path.unlink()
    pl.DataFrame(
        {
            "noteId": notes,
            "noteAuthorParticipantId": raters.gather(rng.integers(0, n_raters, size=n_notes)),
            "createdAtMillis": created,
            "tweetId": tweets,
            "classification": pl.repeat("MISINFORMED_OR_POTENTIALLY_MISLEADING", n_notes, eager=True),
            "summary": pl.repeat("Generated note. https://example.org/source", n_notes, eager=True),
        }
    ).write_csv(folder / "notes-00000.tsv", separator="\t", quote_style="never")


def _ingest(folder: Path, work: Path) -> dict:
    from ingest.settings import IngestSettings
    from tests.calling import ingest

    out = work / "snapshot"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    phases: dict[str, float] = {}
    start = time.perf_counter()

    def progress(message: str, done: int | None = None, total: int | None = None) -> None:
        phases["sorting" if "sorting" in message else "reading"] = round(time.perf_counter() - start, 2)

    counts = ingest(out, IngestSettings(), source=folder, progress=progress)
    return {
        "out_rows": counts["tables"]["ratings"]["out"],
        "until": phases,
        "parquet_bytes": (out / "ratings.parquet").stat().st_size,
    }


def _warm_up() -> None:
    """Compile (or load) the kernels on a few rows, so that the time is that of the work."""
    with tempfile.TemporaryDirectory() as name:
        generate(Path(name) / "data", 1000, 1, "")
        _ingest(Path(name) / "data", Path(name))


def _dense(folder: Path, work: Path) -> dict:
    from nouns.snapshot import dense_ratings

    dense = dense_ratings(work / "snapshot")
    return {"notes": len(dense.note_ids), "raters": len(dense.rater_ids)}


def _duckdb(folder: Path, work: Path, sort: bool) -> dict:
    import duckdb

    connection = duckdb.connect(config={"memory_limit": "4GB", "temp_directory": str(work / "duckdb")})
    path = str(folder / "ratings-*.tsv*")
    read = (
        f"read_csv('{path}', delim='\\t', quote='', escape='', header=true, types={{'raterParticipantId': 'VARCHAR'}})"
    )
    if sort:
        target = work / "duckdb.parquet"
        connection.execute(
            f"COPY (SELECT * FROM {read} ORDER BY noteId, createdAtMillis, raterParticipantId) TO '{target}' "
            "(FORMAT parquet, COMPRESSION zstd)"
        ).fetchall()
        return {"parquet_bytes": target.stat().st_size}
    # Every column is touched, so that none is skipped.
    names = ", ".join(f"count({name})" for name in _HEADER)
    return {"out_rows": connection.execute(f"SELECT {names} FROM {read}").fetchall()[0][0]}


def _polars(folder: Path, work: Path, parquet: bool) -> dict:
    import polars as pl

    schema = dict.fromkeys(_HEADER, pl.Int8)
    schema |= dict.fromkeys(("noteId", "createdAtMillis", "ratedOnTweetId"), pl.Int64)
    schema |= dict.fromkeys(("raterParticipantId", "helpfulnessLevel", "ratingSourceBucketed"), pl.String)
    frame = pl.scan_csv(str(folder / "ratings-*.tsv*"), separator="\t", quote_char=None, schema=schema)
    if parquet:
        frame.sink_parquet(work / "polars.parquet", compression="zstd")
        return {"parquet_bytes": (work / "polars.parquet").stat().st_size}
    return {"out_rows": int(frame.select(pl.all().count()).collect(engine="streaming").row(0)[0])}


_MEASURES: dict[str, Callable[[Path, Path], dict]] = {
    "ingest": _ingest,
    "dense": _dense,
    "duckdb": lambda folder, work: _duckdb(folder, work, False),
    "duckdb-sorted": lambda folder, work: _duckdb(folder, work, True),
    "polars": lambda folder, work: _polars(folder, work, False),
    "polars-parquet": lambda folder, work: _polars(folder, work, True),
}


def _measure(name: str, folder: Path, work: Path) -> dict:
    """One measurement in a fresh process: its seconds without start and imports, and its peak memory."""
    command = [sys.executable, "-m", "benchmarks.ingest", "--worker", name, "--dir", str(folder), "--work", str(work)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _peak_bytes() -> int:
    """The largest resident size of this process. (getrusage's would be the parent's, if that was larger.)"""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def _machine() -> dict:
    import duckdb
    import polars
    import pyarrow

    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "duckdb": duckdb.__version__,
        "polars": polars.__version__,
        "pyarrow": pyarrow.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--peer", nargs="*", default=["polars", "duckdb"], choices=sorted(set(_MEASURES) - {"ingest"}))
    parser.add_argument("--dir", type=Path)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--compression", default="", choices=["", "gz", "zst"])
    parser.add_argument("--dense", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        if args.worker in ("ingest", "dense"):
            _warm_up()
        start, start_cpu = time.perf_counter(), time.process_time()
        facts = _MEASURES[args.worker](args.dir, args.work)
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        print(
            json.dumps(
                {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "peak_bytes": _peak_bytes(), **facts}
            )
        )
        return
    with tempfile.TemporaryDirectory() as temporary:
        base = args.dir or Path(temporary)
        for rows in args.rows:
            folder = base / f"{rows}-{args.shards}{args.compression}"
            if not folder.exists():
                generate(folder, rows, args.shards, args.compression)
            work = base / "work"
            work.mkdir(parents=True, exist_ok=True)
            size = sum(path.stat().st_size for path in folder.glob("ratings-*"))
            seconds: dict[str, float] = {}
            for name in ["ingest", *(["dense"] if args.dense else []), *args.peer]:
                facts = _measure(name, folder, work)
                seconds[name] = facts["seconds"]
                line = {
                    "benchmark": "ingest",
                    "reader": name,
                    "rows": rows,
                    "bytes": size,
                    "shards": args.shards,
                    "compression": args.compression,
                    **facts,
                    "rows_per_second": round(rows / max(facts["seconds"], 1e-9)),
                    "ratio": round(seconds["ingest"] / max(facts["seconds"], 1e-9), 3),
                    **_machine(),
                }
                print(json.dumps(line), flush=True)
            shutil.rmtree(work)


if __name__ == "__main__":
    main()

"""How fast and how exact the bridging factorisation is, on generated worlds, beside X's own code if a checkout is given.

    python -m benchmarks.factorization [--ratings N ...] [--kind mix] [--peer CHECKOUT] [--work DIR] [--repeat 5]
    python -m benchmarks.factorization --ratings 3e5 --kind mix easy two hard tough islands --basins 20
    python -m benchmarks.factorization --cold 1e8 [--work DIR]

One JSON line per world and size. Every measurement in it has `seconds` (the least of `--repeat` runs, all warm), `cpu_seconds`, `bytes_a_rating`
(highest resident size above that before); `compile` gives the seconds that compiling (or loading from the cache) took once. With `--peer`, X's
`run_mf` fits the same ratings in its own process (`factorization_peer.py`), and `ratio` is X's seconds over ours. X's seconds are those of a quiet
machine: preparation + epochs x the 10th percentile of its epochs. With `--work`, X's results are kept in DIR and used again, since they take minutes.
`limits`: nanoseconds a rating and sweep (both directions, all threads) that reading the packed ratings, and looking up 8 bytes for each, take
without any arithmetic. The speed figures are of one descent from the deterministic start; `communities` is what looking for turned communities adds
(the default does; see `turning.py`). `--basins K`: the default fit beside K random starts, and the statuses its stopping rule changes. `--cold`: from Parquet (dense raters, see `snapshot.dense_ratings`) to parameter tables on disk, in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numba import njit

from benchmarks.worlds import WORLDS, make_world
from matrix_factorization.foldin import fold_in_notes
from matrix_factorization.kernels.threads import Workers
from matrix_factorization.model.objective import NoteParameters, Parameters, RaterParameters, objective
from matrix_factorization.model.ratings import VALUE_OF_CODE, RatingTable, rating_table
from matrix_factorization.score.flow import peel
from matrix_factorization.score.inputs import table_of_snapshot
from matrix_factorization.solve.exact import ExactSolver, Factorization, random_start
from matrix_factorization.solve.turning import turned
from nouns import snapshot
from nouns.snapshot import RATER_IDS_FILE, RATER_INDEX_FILE

PEER = Path(__file__).with_name("factorization_peer.py")
IDS = ["noteId", "raterParticipantId"]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=float, nargs="+", default=[1e6, 5e6])
    parser.add_argument("--kind", choices=sorted(WORLDS), nargs="+", default=["mix"])
    parser.add_argument("--peer", type=Path, help="checkout of twitter/communitynotes")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with pandas and torch for the peer")
    parser.add_argument("--work", type=Path, help="folder for the ratings and X's results (default: a temporary one)")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--basins", type=int, default=0, help="random starts to compare the deterministic start with")
    parser.add_argument("--cold", type=float, nargs="+", help="measure only: Parquet in, parameter tables out")
    parser.add_argument("--cold-worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.cold_worker:
        print(json.dumps(_cold_worker(options.cold_worker, options.threads)))
        return 0
    with tempfile.TemporaryDirectory(prefix="factorization-") as temporary:
        work = options.work or Path(temporary)
        for kind in options.kind:
            for size in options.cold or options.ratings:
                folder = work / f"{kind}-{int(size)}-{options.seed}"
                folder.mkdir(parents=True, exist_ok=True)
                facts = (_cold if options.cold else _measure)(int(size), kind, folder, options)
                print(json.dumps(_rounded({"world": kind, "seed": options.seed, **facts, **_machine()})), flush=True)
    return 0


def _measure(size: int, kind: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    frame = _public_table(size, kind, options.seed)
    kept = rating_table(frame)
    solver = ExactSolver(random_starts=0, turn_communities=False, tolerance=1e-7, threads=options.threads)
    facts: dict[str, Any] = {"ratings": kept.n_ratings, "notes": kept.n_notes, "raters": kept.n_raters}
    began = time.perf_counter()
    solver.fit(kept)
    facts["compile"] = time.perf_counter() - began
    best = ExactSolver(
        random_starts=0, turn_communities=False, tolerance=1e-13, max_sweeps=1000, threads=options.threads
    ).fit(kept)
    facts["loss"] = best.loss
    peer = _peer(frame, folder, options) if options.peer else None
    goal, quiet = best.loss * (1 + 1e-6), np.nan
    if peer is not None:
        parameters = _peer_parameters(folder, peer["mu"], kept)
        loss = objective(kept, parameters, solver.regularisation)
        goal = max(loss, goal)
        quiet = peer["preparation_seconds"] + peer["epochs"] * peer["epoch_seconds"]
        facts["peer"] = {
            **peer, "quiet_seconds": quiet, "excess": loss / best.loss - 1, "bytes_a_rating": peer["peak_bytes"] / kept.n_ratings,
            **_differences(parameters, best.parameters),
        }  # fmt: skip

    def measured(run: dict[str, Any], of: float = quiet, **more: Any) -> dict[str, Any]:
        found = {
            "seconds": run["seconds"],
            "cpu_seconds": run["cpu_seconds"],
            "bytes_a_rating": run["peak_bytes"] / kept.n_ratings,
            **more,
        }
        return found if np.isnan(of) else {**found, "ratio": of / run["seconds"]}

    sweeps = max(int(np.argmax(best.losses <= goal)), 1)
    to_goal = ExactSolver(
        random_starts=0, turn_communities=False, tolerance=0.0, max_sweeps=sweeps, threads=options.threads
    )
    run = _time(lambda: to_goal.fit(kept), options.repeat)
    excess = run["value"].loss / best.loss - 1
    facts["fit to the peer's loss" if peer else "fit to 1e-6"] = measured(
        run, sweeps=sweeps, excess=excess, nanoseconds_a_rating_and_sweep=run["seconds"] * 1e9 / kept.n_ratings / sweeps
    )
    facts["limits"] = _limits(kept, options)
    run = _time(lambda: solver.fit(kept), options.repeat)
    facts["fit to 1e-7"] = measured(
        run,
        sweeps=run["value"].sweeps,
        excess=run["value"].loss / best.loss - 1,
        **_differences(run["value"].parameters, best.parameters),
    )
    enough = ExactSolver(random_starts=0, turn_communities=False, tolerance=1e-6, threads=options.threads)
    run = _time(lambda: turned(kept, best.parameters), 1)
    facts["communities"] = measured(run, of=np.nan, turned=run["value"] is not None)
    cold = _time(lambda: _tables_in_tables_out(frame, enough), options.repeat)
    facts["public ids in, parameter tables out"] = measured(cold, excess=enough.fit(kept).loss / best.loss - 1)
    frozen = ExactSolver(random_starts=0, turn_communities=False, freeze_raters=True, threads=options.threads)
    run = _time(lambda: frozen.fit(kept, start=best.parameters), options.repeat)
    facts["final stage, raters frozen"] = measured(run, of=_quiet_final(peer))
    value, rater = VALUE_OF_CODE[kept.by_note & 3], kept.by_note >> 2
    run = _time(
        lambda: fold_in_notes(
            kept.note_start, rater, value, best.parameters.raters, best.parameters.global_intercept,
            ratings_per_note=kept.n_ratings / kept.n_notes,
        ),
        options.repeat,
    )  # fmt: skip
    facts["fold-in of every note, with intervals"] = measured(
        run, of=np.nan, nanoseconds_a_note=run["seconds"] * 1e9 / kept.n_notes
    )
    if options.basins:
        rng = np.random.default_rng(2)
        default = ExactSolver(threads=options.threads).fit(kept)
        losses = np.array([solver.fit(kept, start=random_start(kept, rng)).loss for _ in range(options.basins)])
        lowest = min(losses.min(), default.loss)
        facts["basins"] = {
            "default_excess": default.loss / lowest - 1, "seeded_excess": best.loss / lowest - 1, "random_starts": options.basins,
            "random_worst_excess": losses.max() / lowest - 1, "random_starts_higher_by_1e-4": int(np.count_nonzero(losses > lowest * (1 + 1e-4))),
            "default_message": default.message, **_differences(default.parameters, _polished(kept, default, options)),
        }  # fmt: skip
    return facts


def _polished(kept: RatingTable, found: Factorization, options: argparse.Namespace) -> Parameters:
    """The optimum of the basin that `found` is in, as exactly as float32 allows."""
    exact = ExactSolver(tolerance=1e-13, max_sweeps=1000, turn_communities=False, threads=options.threads)
    return exact.fit(kept, start=found.parameters).parameters


def _read(stream):  # pragma: no cover - compiled
    total = np.uint32(0)
    for packed in stream:
        total ^= packed
    return total


@njit(nogil=True, cache=True)
def _look_up(stream, table):  # pragma: no cover - compiled
    one = 0.0
    two = 0.0
    for k in range(0, len(stream) - 1, 2):
        one += table[stream[k] >> np.uint32(2)]
        two += table[stream[k + 1] >> np.uint32(2)]
    return one + two


def _limits(table: RatingTable, options: argparse.Namespace) -> dict[str, float]:
    """Nanoseconds a rating and sweep of a pass that only reads, and of one that only looks up."""
    sides = [(table.by_note, np.zeros(table.n_raters)), (table.by_rater, np.zeros(table.n_notes))]
    cuts = np.linspace(0, table.n_ratings, 9).astype(np.int64)
    with Workers(options.threads) as workers:

        def read() -> None:
            for stream, _ in sides:
                workers.run(8, lambda lo, hi, stream=stream: _read(stream[cuts[lo] : cuts[hi]]))

        def look_up() -> None:
            for stream, pairs in sides:
                workers.run(8, lambda lo, hi, stream=stream, pairs=pairs: _look_up(stream[cuts[lo] : cuts[hi]], pairs))

        read(), look_up()
        return {
            name: _time(work, options.repeat)["seconds"] * 1e9 / table.n_ratings
            for name, work in (("read", read), ("look_up", look_up))
        }


def _cold(size: int, kind: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Writes a snapshot's rating files (only the columns a fit reads), then measures a fresh process on them."""
    if not (folder / "ratings.parquet").exists():
        world = make_world(size, kind, options.seed)
        raters = np.flatnonzero(np.bincount(world.rater_index, minlength=len(world.rater_factor)))
        place = np.zeros(len(world.rater_factor), np.int32)
        place[raters] = np.random.default_rng(3).permutation(len(raters))  # see `_public_table`
        rows = pa.table(
            {
                "noteId": world.note_index.astype(np.int64) * 7_919 + 10**18,
                "helpfulness": world.value.astype(np.float32),
            }
        )
        _as_ingest(folder / "ratings.parquet", rows)
        _as_ingest(folder / RATER_INDEX_FILE, pa.table({"index": place[world.rater_index]}))
        del rows, world
        ids = np.sort(np.random.default_rng(4).integers(0, 2**62, len(raters)))
        pl.DataFrame({"raterParticipantId": [f"{k:064X}" for k in ids.tolist()]}).write_parquet(folder / RATER_IDS_FILE)
    command = [sys.executable, "-m", "benchmarks.factorization", "--cold-worker", str(folder)]
    command += ["--threads", str(options.threads)] if options.threads else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _as_ingest(path: Path, table: pa.Table) -> None:
    """Written with the encodings and row groups of `supernotes ingest`."""
    with snapshot.writer(path, table.schema) as sink:
        sink.write_table(table, row_group_size=snapshot.ROW_GROUP_ROWS)


def _cold_worker(folder: Path, threads: int | None) -> dict[str, Any]:
    warm = ExactSolver(random_starts=0, turn_communities=False, threads=threads)
    warm.fit(rating_table(_public_table(20_000, "mix", 0)))  # loads the compiled kernels
    _reset_peak()
    began, cpu = time.perf_counter(), time.process_time()
    table = table_of_snapshot(folder)
    read = time.perf_counter() - began
    found = ExactSolver(random_starts=0, turn_communities=False, tolerance=1e-6, threads=threads).fit(table)
    fitted = time.perf_counter() - began
    for name, part in zip(("notes", "raters"), _parameter_tables(table, found.parameters), strict=True):
        part.write_parquet(folder / f"fitted_{name}.parquet")
    return {
        "ratings": table.n_ratings, "notes": table.n_notes, "raters": table.n_raters, "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu, "read_and_sort_seconds": read, "fit_seconds": fitted - read, "sweeps": found.sweeps,
        "loss": found.loss, "message": found.message, "peak_bytes": _status("VmHWM"),
    }  # fmt: skip


def _public_table(size: int, kind: str, seed: int) -> pl.DataFrame:
    """Ratings under snowflake-like note ids and arbitrary 63-bit rater ids, as X's production tables have them, filtered as X does."""
    world = make_world(size, kind, seed)
    note_ids = np.arange(int(world.note_index.max()) + 1, dtype=np.int64) * 7_919 + 10**18
    # Shuffled: the generator numbers raters by community, which would help the cache.
    rater_ids = np.random.default_rng(0).permutation(len(world.rater_factor)).astype(np.int64) * 104_729 + 10**17
    frame = pl.DataFrame(
        {
            "noteId": note_ids[world.note_index],
            "raterParticipantId": rater_ids[world.rater_index],
            "helpfulness": world.value,
        }
    )
    del world
    table = rating_table(frame)
    notes, raters = peel(table, 5, 10)
    kept = [
        pl.DataFrame({"noteId": table.note_ids[notes]}),
        pl.DataFrame({"raterParticipantId": table.rater_ids.filter(pl.Series(raters))}),
    ]
    for name, ids in zip(IDS, kept, strict=True):
        frame = frame.join(ids, on=name, how="semi", maintain_order="left")
    return frame.rechunk()


def _tables_in_tables_out(frame: pl.DataFrame, solver: ExactSolver) -> tuple[pl.DataFrame, pl.DataFrame]:
    table = rating_table(frame)
    return _parameter_tables(table, solver.fit(table).parameters)


def _parameter_tables(table: RatingTable, p: Parameters) -> tuple[pl.DataFrame, pl.DataFrame]:
    return (
        pl.DataFrame({"noteId": table.note_ids, "intercept": p.notes.intercept, "factor1": p.notes.factor}),
        pl.DataFrame(
            {"raterParticipantId": table.rater_ids, "intercept": p.raters.intercept, "factor1": p.raters.factor}
        ),
    )


def _time(work: Callable[[], Any], repeat: int) -> dict[str, Any]:
    """Least wall and processor time of `repeat` runs, and the highest resident size above the one before."""
    best: dict[str, Any] = {"seconds": np.inf, "cpu_seconds": np.inf, "peak_bytes": 0}
    for _ in range(max(repeat, 1)):
        base = _reset_peak()
        began, cpu = time.perf_counter(), time.process_time()
        value = work()
        best["cpu_seconds"] = min(best["cpu_seconds"], time.process_time() - cpu)
        best["seconds"] = min(best["seconds"], time.perf_counter() - began)
        best["peak_bytes"] = max(best["peak_bytes"], _status("VmHWM") - base)
        best["value"] = value
    return best


def _reset_peak() -> int:
    """Make the kernel forget the highest resident size (Linux); returns the present one in bytes, 0 elsewhere."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return _status("VmRSS")


def _status(field: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


def _peer(frame: pl.DataFrame, folder: Path, options: argparse.Namespace) -> dict[str, Any] | None:
    """X's `run_mf` on the ratings, in a process of its own, or its kept result; `None` with a message if it fails."""
    if not (folder / "peer.json").exists():
        frame.rename({"helpfulness": "helpfulNum"}).write_parquet(folder / "ratings.parquet")
        command = [options.peer_python, "-W", "ignore", str(PEER), str(options.peer), str(folder)]
        done = subprocess.run(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, check=False)
        if done.returncode:
            print(f"the peer failed: {done.stderr.strip()[-800:]}", file=sys.stderr)
            return None
    return json.loads((folder / "peer.json").read_text())


def _quiet_final(peer: dict[str, Any] | None) -> float:
    """Seconds of X's final stage on a quiet machine, without its preparation; NaN if it was not run."""
    if peer is None or "final_stage" not in peer:
        return np.nan
    return peer["final_stage"]["epochs"] * peer["final_stage"]["epoch_seconds"]


def _peer_parameters(folder: Path, mu: float, table: RatingTable) -> Parameters:
    """X's result in the rows of our table, in our sign (which is X's)."""
    notes, raters = pl.read_parquet(folder / "notes.parquet"), pl.read_parquet(folder / "raters.parquet")
    notes = pl.DataFrame({"noteId": table.note_ids}).join(notes, on="noteId", how="left", maintain_order="left")
    raters = pl.DataFrame({"raterParticipantId": table.rater_ids}).join(
        raters, on="raterParticipantId", how="left", maintain_order="left"
    )
    side = [
        frame[name].cast(pl.Float64).to_numpy()
        for frame, name in (
            (raters, "internalRaterIntercept"), (raters, "internalRaterFactor1"), (notes, "internalNoteIntercept"), (notes, "internalNoteFactor1"),
        )
    ]  # fmt: skip
    return Parameters(RaterParameters(*side[:2]), NoteParameters(*side[2:]), mu)


def _differences(ours: Parameters, best: Parameters) -> dict[str, float]:
    """Note parameters against the best known ones (sign aligned), and the share of notes another rough status falls to."""
    if float(ours.raters.factor @ best.raters.factor) < 0:
        ours = ours.flipped()

    def status(p: Parameters) -> np.ndarray:
        helpful = (p.notes.intercept >= 0.40) & (np.abs(p.notes.factor) < 0.5)
        return helpful.astype(int) - (p.notes.intercept < -0.05 - 0.8 * np.abs(p.notes.factor))

    gap = ours.notes.intercept - best.notes.intercept
    return {
        "intercept_rms": float(np.sqrt(np.mean(gap**2))),
        "intercept_largest": float(np.abs(gap).max()),
        "status_changed": float(np.mean(status(ours) != status(best))),
    }


def _machine() -> dict[str, Any]:
    import numba

    return {
        "machine": platform.machine(), "processors": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0], "python": platform.python_version(),
        "numpy": np.__version__, "numba": numba.__version__, "polars": pl.__version__,
    }  # fmt: skip


def _rounded(value: Any) -> Any:
    """Five digits are enough to read."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return float(f"{value:.5g}") if isinstance(value, (float, np.floating)) else value


if __name__ == "__main__":
    sys.exit(main())

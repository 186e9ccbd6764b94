"""How fast and how exact the bridging factorisation is, on generated worlds, beside X's own code if a checkout is given.

    python -m benchmarks.factorization [--ratings N ...] [--kind mix] [--peer CHECKOUT] [--device cuda] [--repeat 5]

One JSON line per measurement: `what`, `world`, `ratings`, `seconds` (the least of `--repeat` runs, all warm), `cpu_seconds`, `peak_bytes`
(highest resident size above that before), and what belongs to the measurement. `compile` gives the seconds that compiling (or loading from the
cache) took once. With `--peer`, X's `run_mf` fits the same ratings in its own process and every later line carries `ratio`, X's seconds over ours.
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

from benchmarks.worlds import WORLDS, make_world
from matrix_factorization.flow import peel
from matrix_factorization.foldin import fold_in_notes
from matrix_factorization.objective import Parameters, objective
from matrix_factorization.ratings import VALUE_OF_CODE, RatingTable, rating_table
from matrix_factorization.solver import ExactSolver, random_start, warm_start

# X's side, run by another process: reads a Parquet file of ratings, fits, prints one JSON line. Nothing of X's is changed; `wandb`,
# its optional reporting service, is replaced by an object that does nothing.
_PEER = """
import json, sys, time, resource
checkout, path, frozen = sys.argv[1], sys.argv[2], sys.argv[3]
class Nothing:
    def __getattr__(self, name): return Nothing()
    def __call__(self, *a, **k): return Nothing()
    def __setattr__(self, name, value): pass
    _enabled = False
sys.modules['wandb'] = Nothing()
sys.path.insert(0, checkout + '/scoring/src')
import logging; logging.disable(logging.CRITICAL)
import pandas as pd, torch
import scoring.matrix_factorization.wandb_utils as utils
import scoring.matrix_factorization.matrix_factorization as mf
class Off(Nothing):
    _enabled = False
    def reinitialize(self, *a, **k): pass
    def log(self, *a, **k): pass
    def finish(self, *a, **k): pass
mf.wandb = Off()
ratings = pd.read_parquet(path)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
began, cpu = time.perf_counter(), time.process_time()
ranker = mf.MatrixFactorization(log=False, seed=1)
notes, raters, mu = ranker.run_mf(ratings)
seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
notes.to_parquet(path + '.notes'); raters.to_parquet(path + '.raters')
print(json.dumps({'seconds': seconds, 'cpu_seconds': cpu, 'peak_bytes': peak, 'mu': mu, 'torch': torch.__version__, 'pandas': pd.__version__}))
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=float, nargs="+", default=[1e6, 5e6])
    parser.add_argument("--kind", choices=sorted(WORLDS), nargs="+", default=["mix"])
    parser.add_argument("--peer", type=Path, help="checkout of twitter/communitynotes")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with pandas and torch for the peer")
    parser.add_argument("--device", help="torch device for the torch solver, such as cuda")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--basins", type=int, default=0, help="random starts to compare the deterministic start with")
    options = parser.parse_args(arguments)
    for kind in options.kind:
        for size in options.ratings:
            _measure(int(size), kind, options)
    return 0


def _measure(size: int, kind: str, options: argparse.Namespace) -> None:
    world = make_world(size, kind, options.seed)
    frame = _public_table(world)
    table = rating_table(frame)
    notes, raters = peel(table, 5, 10)
    kept = table.keep(notes, raters)
    frame = frame.join(pl.DataFrame({"noteId": kept.note_ids}), on="noteId", how="semi", maintain_order="left").join(
        pl.DataFrame({"raterParticipantId": kept.rater_ids}), on="raterParticipantId", how="semi", maintain_order="left"
    )
    del world, table
    solver = ExactSolver(random_starts=0, tolerance=1e-7, threads=options.threads)
    about = {
        "world": kind, "ratings": kept.n_ratings, "notes": kept.n_notes, "raters": kept.n_raters, "machine": platform.processor() or
        platform.machine(), "processors": len(os.sched_getaffinity(0)), "load": round(os.getloadavg()[0], 1), "versions": _versions(),
    }  # fmt: skip

    def say(what: str, **facts: Any) -> None:
        print(json.dumps({"what": what, **about, **facts}), flush=True)

    began = time.perf_counter()
    solver.fit(kept)
    say("compile", seconds=time.perf_counter() - began, note="first fit of this process, loading or compiling included")
    best = ExactSolver(random_starts=0, tolerance=1e-13, max_sweeps=1000, threads=options.threads).fit(kept)
    peer = _peer(frame, options) if options.peer else None
    goal = best.loss * (1 + 1e-6)
    if peer is not None:
        parameters = _peer_parameters(peer, kept)
        loss = objective(kept, parameters, solver.regularisation)
        goal = max(loss, goal)
        say(
            "peer run_mf",
            **{k: v for k, v in peer.items() if k != "path"},
            loss=loss,
            excess=loss / best.loss - 1,
            **_differences(parameters, best.parameters),
        )

    def ratio(seconds: float) -> dict[str, float]:
        return {} if peer is None else {"ratio": peer["seconds"] / seconds}

    sweeps = int(np.argmax(best.losses <= goal))
    to_goal = ExactSolver(random_starts=0, tolerance=0.0, max_sweeps=max(sweeps, 1), threads=options.threads)
    run = _time(lambda: to_goal.fit(kept), options.repeat)
    say("fit to the peer's loss" if peer else "fit to 1e-6", sweeps=sweeps, excess=run["value"].loss / best.loss - 1, **_plain(run), **ratio(run["seconds"]),
        nanoseconds_a_rating_and_sweep=run["seconds"] * 1e9 / kept.n_ratings / max(sweeps, 1))  # fmt: skip
    run = _time(lambda: solver.fit(kept), options.repeat)
    say("fit to 1e-7", sweeps=run["value"].sweeps, excess=run["value"].loss / best.loss - 1, **_plain(run), **ratio(run["seconds"]),
        **_differences(run["value"].parameters, best.parameters))  # fmt: skip
    run = _time(lambda: _tables_in_tables_out(frame, solver), options.repeat)
    say(
        "public ids in, parameter tables out",
        **_plain(run),
        **ratio(run["seconds"]),
        bytes_a_rating=run["peak_bytes"] / kept.n_ratings,
    )
    frozen = ExactSolver(random_starts=0, freeze_raters=True, threads=options.threads)
    run = _time(lambda: frozen.fit(kept, start=best.parameters), options.repeat)
    say("final stage, raters frozen", **_plain(run))
    value, rater = VALUE_OF_CODE[kept.by_note & 3], kept.by_note >> 2
    run = _time(
        lambda: fold_in_notes(
            kept.note_start, rater, value, best.parameters.raters, best.parameters.global_intercept,
            ratings_per_note=kept.n_ratings / kept.n_notes,
        ),
        options.repeat,
    )  # fmt: skip
    say("fold-in of every note, with intervals", **_plain(run), nanoseconds_a_note=run["seconds"] * 1e9 / kept.n_notes)
    yesterday = kept.keep(
        np.ones(kept.n_notes, bool),
        np.ones(kept.n_raters, bool),
        np.random.default_rng(1).random(kept.n_ratings) < 0.99,
    )
    old = ExactSolver(random_starts=0, tolerance=1e-10, threads=options.threads).fit(yesterday).parameters
    start = warm_start(kept, (yesterday.rater_ids, old.raters), (yesterday.note_ids, old.notes), old.global_intercept)
    refit = ExactSolver(random_starts=0, tolerance=1e-6, threads=options.threads)
    run = _time(lambda: refit.fit(kept, start=start), options.repeat)
    say(
        "refit after 1 % new ratings",
        sweeps=run["value"].sweeps,
        excess=run["value"].loss / best.loss - 1,
        **_plain(run),
    )
    if options.basins:
        rng = np.random.default_rng(2)
        losses = [solver.fit(kept, start=random_start(kept, rng)).loss for _ in range(options.basins)]
        say(
            "basins",
            seeded_excess=best.loss / min(*losses, best.loss) - 1,
            random_excess=[x / min(*losses, best.loss) - 1 for x in losses],
        )
    if options.device:
        _torch(kept, options, best.loss, say)


def _torch(kept: RatingTable, options: argparse.Namespace, best: float, say: Callable[..., None]) -> None:
    import torch

    from matrix_factorization.torch_solver import TorchSolver

    kind = "float64" if options.device == "cpu" else "float32"
    solver = TorchSolver(device=options.device, dtype=kind, tolerance=1e-6)
    run = _time(lambda: solver.fit(kept), max(options.repeat // 2, 1))
    say("torch solver, upload included", device=options.device, dtype=kind, torch=torch.__version__, sweeps=run["value"].sweeps,
        excess=run["value"].loss / best - 1, **_plain(run))  # fmt: skip


def _public_table(world: Any) -> pl.DataFrame:
    """The ratings under snowflake-like note ids and arbitrary 63-bit rater ids, as X's production tables have them."""
    note_ids = np.arange(int(world.note_index.max()) + 1, dtype=np.int64) * 7_919 + 10**18
    rater_ids = np.random.default_rng(0).permutation(len(world.rater_factor)).astype(np.int64) * 104_729 + 10**17
    # Ids of raters ascend with their index, so that rows of the generated truth and of the table agree.
    rater_ids = np.sort(rater_ids)
    return pl.DataFrame(
        {
            "noteId": note_ids[world.note_index],
            "raterParticipantId": rater_ids[world.rater_index],
            "helpfulness": world.value,
        }
    )


def _tables_in_tables_out(frame: pl.DataFrame, solver: ExactSolver) -> tuple[pl.DataFrame, pl.DataFrame]:
    table = rating_table(frame)
    p = solver.fit(table).parameters
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


def _plain(run: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in run.items() if key != "value"}


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


def _peer(frame: pl.DataFrame, options: argparse.Namespace) -> dict[str, Any] | None:
    """X's `run_mf` on the ratings, in a process of its own; `None` with a message if it fails."""
    folder = tempfile.mkdtemp(prefix="peer-")
    path = Path(folder) / "ratings.parquet"
    frame.rename({"helpfulness": "helpfulNum"}).write_parquet(path)
    done = subprocess.run(
        [options.peer_python, "-W", "ignore", "-c", _PEER, str(options.peer), str(path), ""],
        capture_output=True, text=True, env=os.environ | {"KMP_DUPLICATE_LIB_OK": "TRUE"}, check=False,
    )  # fmt: skip
    if done.returncode:
        print(f"the peer failed: {done.stderr.strip()[-800:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1]) | {"path": str(path)}


def _peer_parameters(peer: dict[str, Any], table: RatingTable) -> Parameters:
    """X's result in the rows of our table, in our sign (which is X's)."""
    from matrix_factorization.objective import NoteParameters, RaterParameters

    notes = pl.read_parquet(peer["path"] + ".notes")
    raters = pl.read_parquet(peer["path"] + ".raters")
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
    return Parameters(RaterParameters(*side[:2]), NoteParameters(*side[2:]), float(peer["mu"]))


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


def _versions() -> dict[str, str]:
    import numba

    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "polars": pl.__version__,
    }


if __name__ == "__main__":
    sys.exit(main())

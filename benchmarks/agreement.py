"""X's own scorers beside ours on the same planted world, note by note: parameters, who counts, statuses, every difference by name.

    python -m benchmarks.agreement CHECKOUT [--ratings 40000] [--seeds 2] [--site FOLDER] [--gaussian] [--converged] [--topics]

CHECKOUT: a checkout of twitter/communitynotes; nothing of it is copied or changed. It wants pandas 2: `--site` is a folder put before the other
packages in X's process (`pip install --target FOLDER --no-deps pandas==2.2.3 pytz`). X's MFCoreScorer (`--gaussian`: its GaussianScorer) runs in a
process of its own as its runner calls it, with pseudo-raters and the stable start from group 13. X's topics and its search for correlated raters are
given as planted: no correlated raters. Its FIRM_REJECT and NEEDS_YOUR_HELP count as NEEDS_MORE_RATINGS, which is what X shows. One JSON line a world.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

DAY = 86_400_000
ELSEWHERE = ("FilterLowDiligence", "FilterIncorrect", "not scored by Core")
"""X's last word came from a model that is not fitted here: diligence, incorrect tags, another scorer for notes of its topics."""
NOW = 1_784_000_000_000  # July 2026
TOPIC_SHARE = 0.04
NEEDS_MORE = "NEEDS_MORE_RATINGS"


def theirs(checkout: Path, folder: Path, gaussian: bool, converged: bool) -> None:
    """In X's process: score the files of `folder` and write notes.csv, raters.csv there."""
    from benchmarks.factorization_peer import _Nothing

    sys.modules["wandb"] = _Nothing()  # type: ignore[assignment]
    sys.path.insert(0, str(checkout / "scoring" / "src"))
    import numpy as np
    import pandas as pd
    import scoring.matrix_factorization.matrix_factorization as factorization  # type: ignore[import-not-found]
    from scoring import constants as c  # type: ignore[import-not-found]
    from scoring import process_data
    from scoring.gaussian_scorer import GaussianScorer  # type: ignore[import-not-found]
    from scoring.mf_core_scorer import MFCoreScorer  # type: ignore[import-not-found]

    factorization.wandb = _Nothing()
    tables = {path.name.split("-")[0]: pd.read_csv(path, sep="\t") for path in sorted(folder.glob("*.tsv"))}
    ratings, notes, history = tables["ratings"], tables["notes"], tables["noteStatusHistory"]
    for tag in (*c.helpfulTagsTSVOrder, *c.notHelpfulTagsTSVOrder):
        if tag not in ratings:
            ratings[tag] = 0
    raters, ids = pd.factorize(pd.concat([ratings["raterParticipantId"], history["noteAuthorParticipantId"], tables["userEnrollment"]["participantId"]]), sort=True)  # fmt: skip
    n, m = len(ratings), len(history)
    ratings["raterParticipantId"], history["noteAuthorParticipantId"] = raters[:n], raters[n : n + m]
    tables["userEnrollment"]["participantId"] = raters[n + m :]
    ratings["helpful"] = ratings["notHelpful"] = 0
    ratings["ratingSourceBucketed"] = "DEFAULT"
    ratings = process_data.tag_high_volume_raters(process_data.compute_helpful_num(ratings))
    ratings[c.correlatedRaterKey] = False
    ratings = ratings.sort_values([c.highVolumeRaterKey, c.correlatedRaterKey], kind="stable").reset_index(drop=True)
    history = history.rename(columns={"currentStatus": c.currentLabelKey}).merge(
        notes[["noteId", "classification"]], on="noteId"
    )
    history[c.timestampMillisOfNoteMostRecentNonNMRLabelKey] = history["timestampMillisOfFirstNonNMRStatus"].astype(
        float
    )
    history.loc[
        history[c.timestampMillisOfNoteMostRecentNonNMRLabelKey] < 0, c.timestampMillisOfNoteMostRecentNonNMRLabelKey
    ] = np.nan
    topics = pd.read_csv(folder / "topics.csv")
    core = MFCoreScorer(seed=1, pseudoraters=True, useStableInitialization=True, threads=1)
    if converged:
        core._mfRanker._convergence = 1e-10
    given = topics, ratings, history, tables["userEnrollment"]
    fitted = core.prescore(c.PrescoringArgs(*given))
    for table in (fitted.scoredNotes, fitted.helpfulnessScores):
        table[c.scorerNameKey] = fitted.scorerName
    known = c.PrescoringMetaOutput(metaScorerOutput={fitted.scorerName: fitted.metaScores})
    scorer = GaussianScorer(seed=1, threads=1) if gaussian else core
    result = scorer.score_final(
        c.FinalScoringArgs(*given, fitted.scoredNotes, fitted.helpfulnessScores, known, empiricalTotals=None)
    )
    scored, users = result.scoredNotes, result.helpfulnessScores
    users["raterParticipantId"] = [ids[int(k)] for k in users["raterParticipantId"]]
    scored.to_csv(folder / "notes.csv", index=False)
    users.to_csv(folder / "raters.csv", index=False)


def plant(folder: Path, n_ratings: int, seed: int, topics: bool) -> None:
    """A world of X's public files: three camps, groups of three populations, sixty days, tags, statuses of before, a few topic notes."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(seed)
    n_notes, n_raters = n_ratings // 32, n_ratings // 60
    camp = rng.choice([-1.0, 0.0, 1.0], n_raters, p=[0.45, 0.15, 0.4])
    factor = camp * rng.uniform(0.3, 0.9, n_raters) + rng.normal(0, 0.05, n_raters)
    lenient, noise = rng.normal(0, 0.15, n_raters), rng.choice([0.22, 0.7], n_raters, p=[0.9, 0.1])
    group = rng.choice([13, 1, 2, 3, 6, 8, 14, 4, 12, 17, -1], n_raters, p=[0.62, 0.05, 0.04, 0.04, 0.03, 0.03, 0.03, 0.05, 0.04, 0.02, 0.05])  # fmt: skip
    outside = np.isin(group, [4, 12, 17])
    activity = rng.lognormal(0, 0.8, n_raters)
    good = rng.choice([0.35, -0.25, 0.05], n_notes, p=[0.35, 0.3, 0.35]) + rng.normal(0, 0.12, n_notes)
    side = rng.choice([-0.8, 0.0, 0.8], n_notes, p=[0.3, 0.4, 0.3]) + rng.normal(0, 0.15, n_notes)
    far = rng.random(n_notes) < 0.1  # notes that other populations rate most
    created = NOW - rng.integers(1 * DAY, 60 * DAY, n_notes)
    degree = np.clip(rng.lognormal(3.2, 0.7, n_notes).astype(int), 3, n_raters // 3)
    rows: dict[str, list[Any]] = {
        name: [] for name in ("noteId", "raterParticipantId", "createdAtMillis", "helpfulnessLevel")
    }
    tags = (
        "notHelpfulIncorrect",
        "notHelpfulSourcesMissingOrUnreliable",
        "notHelpfulArgumentativeOrBiased",
        "notHelpfulNoteNotNeeded",
    )
    ticked: dict[str, list[int]] = {tag: [] for tag in tags}
    habit = rng.dirichlet([1, 1, 1, 2], n_notes)
    for note in range(n_notes):
        weight = activity * np.where(outside, 6.0 if far[note] else 0.6, 0.3 if far[note] else 1.0)
        who = rng.choice(n_raters, degree[note], replace=False, p=weight / weight.sum())
        value = 0.45 + good[note] + lenient[who] + factor[who] * side[note] + rng.normal(0, 1, len(who)) * noise[who]
        rows["noteId"] += [1_900_000_000_000_000_000 + note * 7919 + 1] * len(who)
        rows["raterParticipantId"] += [f"R{k:06d}" for k in who]
        rows["createdAtMillis"] += (
            (created[note] + rng.exponential(1.5 * DAY, len(who)).astype(int)).clip(max=NOW).tolist()
        )
        rows["helpfulnessLevel"] += np.select(
            [value > 0.62, value > 0.34], ["HELPFUL", "SOMEWHAT_HELPFUL"], "NOT_HELPFUL"
        ).tolist()
        for k, tag in enumerate(tags):
            ticked[tag] += ((value < 0.34) & (rng.random(len(who)) < habit[note, k])).astype(int).tolist()
    ids = [1_900_000_000_000_000_000 + note * 7919 + 1 for note in range(n_notes)]
    author = [f"R{k:06d}" for k in rng.integers(0, n_raters, n_notes)]
    misleading = np.where(rng.random(n_notes) < 0.85, "MISINFORMED_OR_POTENTIALLY_MISLEADING", "NOT_MISLEADING")
    was = np.where((good > 0.3) & (rng.random(n_notes) < 0.3), "CURRENTLY_RATED_HELPFUL", NEEDS_MORE)
    status_at = np.where(was != NEEDS_MORE, created + DAY, -1)
    pl.DataFrame(rows | ticked).write_csv(folder / "ratings-00000.tsv", separator="\t", quote_style="never")
    shared = {"noteId": ids, "noteAuthorParticipantId": author, "createdAtMillis": created}
    about = {
        "tweetId": [i + 1 for i in ids],
        "classification": misleading,
        "summary": [f"Note {k}" for k in range(n_notes)],
    }
    pl.DataFrame(shared | about).write_csv(folder / "notes-00000.tsv", separator="\t", quote_style="never")
    history = {"timestampMillisOfFirstNonNMRStatus": status_at, "currentStatus": was, "lockedStatus": [""] * n_notes}
    pl.DataFrame(shared | history).write_csv(
        folder / "noteStatusHistory-00000.tsv", separator="\t", quote_style="never"
    )
    enrolled = {"participantId": [f"R{k:06d}" for k in range(n_raters)], "modelingGroup": group}
    pl.DataFrame(enrolled).filter(pl.col("modelingGroup") >= 0).write_csv(
        folder / "userEnrollment-00000.tsv", separator="\t"
    )
    of_topic = [i for i in ids if topics and rng.random() < TOPIC_SHARE]
    pl.DataFrame({"noteId": of_topic, "noteTopic": ["Messi"] * len(of_topic)}, schema={"noteId": pl.Int64, "noteTopic": pl.String}).write_csv(folder / "topics.csv")  # fmt: skip


def ours(folder: Path, gaussian: bool) -> tuple[Any, Any]:
    """(raters, notes) of our `ingest` and `fit_raters` on the files of `folder`."""
    import polars as pl

    from ingest.settings import IngestSettings
    from ingest.stage import ingest
    from matrix_factorization.score.stage import fit_raters
    from matrix_factorization.settings import FitRatersSettings
    from nouns.run import Run
    from nouns.stage import Tools

    for name in ("snapshot", "fit"):
        (folder / name).mkdir()
    files = folder / "files"
    files.mkdir()
    for path in folder.glob("*.tsv"):
        os.link(path, files / path.name)
    ingest(Run("agreement", {}, {"source": files}), IngestSettings(), folder / "snapshot", Tools())
    settings = FitRatersSettings(
        plots=False, held_out_splits=0, helpfulness_filter="x", score="gaussian" if gaussian else "intercept"
    )
    fit_raters(Run("agreement", {"ingest": folder / "snapshot"}), settings, folder / "fit", Tools())
    return pl.read_parquet(folder / "fit" / "raters.parquet"), pl.read_parquet(folder / "fit" / "notes.parquet")


def compared(folder: Path, gaussian: bool) -> dict[str, Any]:
    """Both results side by side: shares and distances, and every note whose status differs, counted by name."""
    import numpy as np
    import polars as pl

    raters, notes = ours(folder, gaussian)
    prefix = "gaussian" if gaussian else "core"
    x_notes = pl.read_csv(folder / "notes.csv", infer_schema_length=None)
    names = {name.lower(): name for name in x_notes.columns}
    column = {what: names[f"{prefix}{what}".lower()] for what in ("NoteIntercept", "NoteFactor1", "RatingStatus", "ActiveRules") if f"{prefix}{what}".lower() in names}  # fmt: skip
    x = x_notes.select("noteId", **{what: pl.col(name) for what, name in column.items()})
    both = notes.join(x, left_on="noteId", right_on="noteId", how="left", maintain_order="left")
    both = both.with_columns(
        shown=pl.when(pl.col("RatingStatus").is_in(["FIRM_REJECT", "NEEDS_YOUR_HELP"])).then(pl.lit(NEEDS_MORE)).otherwise("RatingStatus"),
        topic=pl.col("noteId").is_in(pl.read_csv(folder / "topics.csv", schema_overrides={"noteId": pl.Int64})["noteId"].implode()),
    )  # fmt: skip
    both = both.with_columns(pl.col("shown").fill_null(NEEDS_MORE))
    differ = both.filter(pl.col("shown") != pl.col("status"))
    why: Counter[str] = Counter()
    for row in differ.iter_rows(named=True):
        theirs_rule = (row["ActiveRules"] or "not scored by Core").split(",")[-1]
        off = abs((row["NoteIntercept"] or np.nan) - (row["intercept"] or np.nan))
        topic = " (topic note)" if row["topic"] else ""
        why[f"X {theirs_rule}, ours {row['active_rules'][-1]}{topic}, intercepts {off:.2f} apart"] += 1
    shared = both.filter(pl.col("NoteIntercept").is_not_null() & ~pl.col("topic"))
    distance = (shared["intercept"] - shared["NoteIntercept"]).to_numpy()
    found = {
        "notes": both.height,
        "scored_by_x": x.height,
        "equal": round(1 - differ.height / both.height, 5),
        "equal_by_models_here": round(
            1
            - sum(n for name, n in why.items() if not name.startswith(tuple(f"X {rule}" for rule in ELSEWHERE)))
            / both.height,
            5,
        ),
        "equal_scored": round(1 - differ.filter(pl.col("RatingStatus").is_not_null()).height / max(x.height, 1), 5),
        "statuses": dict(Counter(both["shown"].to_list())),
        "intercept_rms": round(float(np.sqrt((distance**2).mean())), 5),
        "intercept_worst": round(float(np.abs(distance).max()), 5),
        "differences": dict(why.most_common()),
    }
    if not gaussian:
        x_raters = pl.read_csv(folder / "raters.csv", infer_schema_length=None)
        side = raters.join(x_raters, on="raterParticipantId", how="inner").filter(
            pl.col("coreRaterIntercept").is_not_null()
        )
        above = side.select(
            pl.col("aboveHelpfulnessThreshold").cast(pl.String).str.to_lowercase() == "true"
        ).to_series()
        found |= {
            "raters": side.height,
            "helpful_alike": round(float((above == side["above_helpfulness_threshold"]).mean() or 0), 5),
            "raters_fitted_by_one_alone": raters.filter(source="fitted")
            .join(side, on="raterParticipantId", how="anti")
            .height
            + side.filter(pl.col("source") != "fitted").height,
        }
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--ratings", type=float, default=40_000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--site", default="")
    parser.add_argument("--gaussian", action="store_true")
    parser.add_argument(
        "--topics", action="store_true", help="some notes are of X's topics, which its Core leaves to another scorer"
    )
    parser.add_argument(
        "--converged",
        action="store_true",
        help="X's optimiser goes on to its optimum, where it stops at 1e-7 of its own",
    )
    parser.add_argument("--theirs", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.theirs:
        theirs(options.checkout, options.theirs, options.gaussian, options.converged)
        return 0
    for seed in range(options.first, options.first + options.seeds):
        with tempfile.TemporaryDirectory() as name:
            plant(Path(name), int(options.ratings), seed, options.topics)
            command = [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "benchmarks.agreement",
                str(options.checkout.resolve()),
                "--theirs",
                name,
            ]
            path = os.pathsep.join(part for part in (options.site, os.getcwd()) if part)
            command += ["--gaussian"] * options.gaussian + ["--converged"] * options.converged
            subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": path})
            about = {
                "seed": seed,
                "ratings": int(options.ratings),
                "model": "gaussian" if options.gaussian else "core",
                "converged": options.converged,
            }
            print(json.dumps(about | compared(Path(name), options.gaussian)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A day of X at any scale, and the day after: `python -m benchmarks.days --scale 0.001 [--jobs N] [--set ...]`.

Scale 1 is X's whole download: 2.5 million notes on 1.5 million posts over 2,100 days, 200 million ratings by 1.2 million raters; then a day
of 2,000 notes and 300,000 ratings more, nine in ten of them of notes of the last three days. Everything follows from planted truth (rater intercepts
and factors of two sides, a quality and a lean for each note, `worlds.py`'s cuts) and is written block by block, so memory does not grow
with the scale. Texts are put together from a matter's place, year, numbers and source: cheap, no two alike, five posts a matter.

The chain is run on the first day and on the second in one workspace, the second day's files being the first's and one shard more of each
table. One JSON line a run: seconds and processor seconds, peak bytes of the largest process, and seconds by stage with the posts carried over.

    --scale S ...      of X (default 0.001)
    --only-files DIR   write the files of both days there and run nothing
    --jury-only        run up to train_jury on the first day
    --jobs N           processes that work on shards (default 1)
    --set K=V          settings of the run; words hashed instead of MiniLM unless an encoder is named
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.ingest import _EPOCH, _HEADER
from nouns.snapshot import MISLEADING, NOT_MISLEADING
from nouns.x import RATING_TAGS

POSTS, RATINGS, RATERS, DAYS = 1_500_000, 200_000_000, 1_200_000, 2_100
MORE_NOTES, MORE_RATINGS = 2_000, 300_000
DAY, START = 86_400_000, 1_600_000_000_000
BLOCK = 4_000  # posts made at a time
QUIET = ("cluster_notes.embedder=hashing", "train_jury.encoder=hashing", "train_jury.plots=false", "fit_raters.plots=false", "cluster_notes.age_window_days=0")  # fmt: skip
PLACES = [
    "Orla",
    "Halden",
    "Lindow",
    "Marsh",
    "Teviot",
    "Brenne",
    "Costa",
    "Dunmore",
    "Elva",
    "Farrow",
    "Garrick",
    "Hollin",
]
THINGS = [
    "bridge",
    "hospital",
    "ferry",
    "school",
    "reservoir",
    "stadium",
    "power station",
    "market hall",
    "railway line",
    "harbour",
]
SAYS = [
    "The {thing} in {place} was {did} in {year}, not {other}.",
    "Records of the town of {place} say that the {thing} was {did} on {day} March {year}.",
    "{count} people were counted at the {thing} of {place} in {year}; the post says {wrong}.",
    "The picture shows the {thing} of {place} in {other}, years before the {thing} was {did}.",
    "The figure of {wrong} is that of {other}; for {year} the office of {place} reports {count}.",
]
DID = ["closed", "opened", "repaired", "flooded", "sold", "widened"]
LEVELS = pl.Series(["NOT_HELPFUL", "SOMEWHAT_HELPFUL", "HELPFUL"])


GOOD = (0.15, 0.05, 0.1, -0.15, 0.0)  # what each of `SAYS` adds to a note's quality


def text_of(rng: np.random.Generator, matter: int) -> tuple[str, float]:
    """A note about a matter: one or two of its facts, with its source; and what its words add to its quality."""
    facts = {
        "place": f"{PLACES[matter % 12]}{('', ' Bay', ' Hill', 'ford')[matter // 12 % 4]}", "thing": THINGS[matter // 48 % 10],
        "did": DID[matter // 480 % 6], "year": 1990 + matter % 35, "other": 1950 + matter * 7 % 38, "day": 1 + matter % 30,
        "count": 100 + matter * 37 % 9_000, "wrong": 10_000 + matter * 91 % 90_000,
    }  # fmt: skip
    said = rng.permutation(len(SAYS))[: int(rng.integers(1, 3))].tolist()
    text = " ".join(SAYS[k].format(**facts) for k in said)
    return f"{text} https://records.example/{matter}/{int(rng.integers(3))}", float(np.mean([GOOD[k] for k in said]))


class X:
    """The planted raters of a scale, and blocks of posts with their notes and ratings."""

    def __init__(self, scale: float, seed: int = 17) -> None:
        self.scale, self.seed = scale, seed
        rng = np.random.default_rng([seed, 0])
        n = max(int(RATERS * scale), 400)
        side = np.where(rng.random(n) < 0.55, -1.0, 1.0)
        self.factor = side * np.abs(rng.normal(0.6, 0.25, n))
        self.intercept = rng.normal(0.0, 0.2, n)
        self.activity = np.cumsum(rng.lognormal(0.0, 1.2, n))
        words = rng.integers(0, 2**63, size=(n, 4), dtype=np.int64)
        self.ids = pl.DataFrame(words).select(pl.format("{}{}{}{}", *(pl.nth(k).cast(pl.String).str.zfill(19) for k in range(4)))).to_series()  # fmt: skip
        self.ids = self.ids.str.slice(0, 64)
        self.posts = max(int(POSTS * scale), 300)
        self.more_posts = max(int(MORE_NOTES * scale * POSTS / 2_500_000), 1)

    def blocks(self, day: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """(notes, ratings) as columns, block by block; of day 2 what came after day 1."""
        first, last = (0, self.posts) if day == 1 else (self.posts, self.posts + self.more_posts)
        for start in range(first, last, BLOCK):
            notes = self._notes(start, min(start + BLOCK, last))
            yield notes, self._ratings(notes, np.random.default_rng([self.seed, 2, start]))
        if day == 2:  # nine in ten of a day's ratings are of notes of the last days, some of older ones
            recent = self._notes(max(self.posts - max(self.posts * 3 // DAYS, 20), 0), self.posts)
            some = self._notes(0, min(BLOCK, self.posts // 10))
            rng = np.random.default_rng([self.seed, 3])
            for notes, share in ((recent, 0.8), (some, 0.1)):
                wanted = max(MORE_RATINGS * self.scale * share, 1) / len(notes["noteId"])
                late = self._ratings(notes, rng, rng.poisson(wanted, len(notes["noteId"])), START + DAYS * DAY)
                yield {}, late

    def _notes(self, first: int, last: int) -> dict[str, Any]:
        parts = []
        for post in range(first, last):
            rng = np.random.default_rng([self.seed, 1, post])
            born = START + int(DAYS * DAY * post / self.posts)
            tweet = ((born - _EPOCH) << 22) + post % (1 << 22)
            of_matter = np.random.default_rng([self.seed, 5, post // 5])  # posts of one matter divide people alike
            side, shared = float(of_matter.choice([-0.7, 0.0, 0.7])), float(of_matter.normal(0.05, 0.15))
            for k in range(int(rng.geometric(0.6))):
                written = born + int(rng.exponential(0.4 * DAY)) + 60_000 * k
                against = rng.random() < 0.15
                text, good = text_of(rng, post // 5)
                lean = side * (-1 if against else 1) + rng.normal(0, 0.2)
                quality = shared + good - 0.1 * against + rng.normal(0, 0.1)
                stance = NOT_MISLEADING if against else MISLEADING
                note = ((written - _EPOCH) << 22) + (5 * post + k) % (1 << 22)
                parts.append((note, tweet, written, stance, text, quality, lean))
        names = ("noteId", "tweetId", "createdAtMillis", "classification", "summary", "quality", "lean")
        return dict(zip(names, (list(column) for column in zip(*parts, strict=True)), strict=True))

    def _ratings(
        self, notes: dict[str, Any], rng: np.random.Generator, degree: Any = None, since: int = 0
    ) -> dict[str, Any]:
        n = len(notes["noteId"])
        if degree is None:
            degree = np.minimum(rng.lognormal(3.6, 1.15, n) * RATINGS / 2_500_000 / 71, len(self.ids) / 3).astype(
                np.int64
            )
        note = np.repeat(np.arange(n), degree)
        u = np.searchsorted(self.activity, rng.random(len(note)) * self.activity[-1])
        note, u = np.unique(np.stack([note, u]), axis=1)  # nobody rates a note twice
        quality, lean = np.asarray(notes["quality"])[note], np.asarray(notes["lean"])[note]
        z = 0.42 + self.intercept[u] + quality + self.factor[u] * lean + rng.normal(0, 0.25, len(u))
        written = np.asarray(notes["createdAtMillis"])[note]
        when = np.maximum(written, since) + (rng.exponential(0.8, len(u)) * DAY * (0.1 if since else 1)).astype(
            np.int64
        )
        return {
            "noteId": np.asarray(notes["noteId"])[note], "rater": u, "createdAtMillis": when, "code": (z >= 0.35).astype(int) + (z >= 0.6),
            "ratedOnTweetId": np.asarray(notes["tweetId"])[note], "tags": rng.integers(0, len(RATING_TAGS), len(u)),
        }  # fmt: skip

    def write(self, folder: Path, day: int) -> dict[str, int]:
        """One shard of each table into `folder`; how many rows."""
        folder.mkdir(parents=True, exist_ok=True)
        names = [f"{name}-{day - 1:05d}.tsv" for name in ("notes", "noteStatusHistory", "ratings")]
        sinks = [(folder / name).open("wb") for name in names]
        wrote = {"notes": 0, "ratings": 0}
        for number, (notes, ratings) in enumerate(self.blocks(day)):
            head: dict[str, Any] = {"separator": "\t", "quote_style": "never", "include_header": number == 0}
            if notes:
                shown = np.random.default_rng([self.seed, 4, number]).random(len(notes["noteId"])) < 0.08
                frame = pl.DataFrame({k: v for k, v in notes.items() if k not in ("quality", "lean")})
                frame = frame.with_columns(
                    noteAuthorParticipantId=self.ids.gather(frame["noteId"].to_numpy() % len(self.ids))
                )
                frame.write_csv(sinks[0], **head)
                status = pl.Series(["NEEDS_MORE_RATINGS", "CURRENTLY_RATED_HELPFUL"]).gather(shown.astype(np.int64))
                frame.select("noteId", "noteAuthorParticipantId", "createdAtMillis", currentStatus=status).write_csv(
                    sinks[1], **head
                )
                wrote["notes"] += frame.height
            code, tag = ratings["code"], ratings["tags"]
            frame = pl.DataFrame({k: ratings[k] for k in ("noteId", "createdAtMillis", "ratedOnTweetId")}).with_columns(
                raterParticipantId=self.ids.gather(ratings["rater"]), version=pl.lit(2), helpfulnessLevel=LEVELS.gather(code),
                ratingSourceBucketed=pl.lit("DEFAULT"), **dict.fromkeys(("agree", "disagree", "helpful", "notHelpful"), pl.lit(0)),
                **{name: pl.Series(((tag == k) & (name.startswith("helpful") == (code == 2))).astype(np.int8)) for k, name in enumerate(RATING_TAGS)},
            )  # fmt: skip
            frame.select(_HEADER).write_csv(sinks[2], **head)
            wrote["ratings"] += frame.height
        for sink in sinks:
            sink.close()
        return wrote


def measure(workspace: Path, source: Path, jobs: int, sets: list[str], jury_only: bool) -> dict[str, Any]:
    """One run of the chain in a process of its own."""
    of = (str(workspace), str(source), [*QUIET, *sets], "train_jury" if jury_only else "export", jobs)
    command = [sys.executable, "-c", f"from benchmarks.days import work; work{of!r}"]
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=(workspace.parent / "log").open("wb"))
        _, code, usage = os.wait4(process.pid, 0)
        said.seek(0)
        told = json.loads(said.read() or b"{}")
    if code:
        print((workspace.parent / "log").read_text()[-1000:], file=sys.stderr)
    stages = {}
    for name, stage in told.get("stages", {}).items():
        timing = workspace / stage["path"] / "timing.json"
        seconds = (
            json.loads(timing.read_text()).get("seconds", 0.0) if timing.is_file() and stage["state"] == "ran" else 0.0
        )
        stages[name] = {"seconds": round(seconds, 1), "in": stage["in"]} | (
            {"carried": stage["carried"]} if stage["carried"] else {}
        )
    return {
        "exit": os.waitstatus_to_exitcode(code), "seconds": round(time.perf_counter() - began, 1), "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_bytes": usage.ru_maxrss * 1024, "posts": told.get("posts"), "winners": told.get("winners"), "error": told.get("error"), "stages": stages,
    }  # fmt: skip


def work(workspace: str, source: str, sets: list[str], until: str, jobs: int) -> None:
    """The stages of a run, its summary on standard output."""
    from pipeline.cli.app import carry_out
    from pipeline.plan import RunRequest
    from pipeline.settings import load_settings

    settings = load_settings(environment={}, flags=sets)
    print(json.dumps(carry_out(workspace, RunRequest(source), settings, as_json=False, until=until, jobs=jobs)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", type=float, nargs="+", default=[0.001])
    parser.add_argument("--only-files", type=Path)
    parser.add_argument("--jury-only", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--set", action="append", default=[])
    args = parser.parse_args()
    for scale in args.scale:
        home = args.only_files or Path(tempfile.mkdtemp(prefix="supernotes-days-"))
        began, x = time.perf_counter(), X(scale)
        rows = {"first": x.write(home / "first", 1)}
        (home / "second").mkdir(exist_ok=True)
        for path in (home / "first").iterdir():
            (home / "second" / path.name).hardlink_to(path)
        rows["second"] = x.write(home / "second", 2)
        print(
            json.dumps(
                {"benchmark": "days", "scale": scale, "made": rows, "seconds": round(time.perf_counter() - began, 1)}
            ),
            flush=True,
        )
        for day in () if args.only_files else ("first",) if args.jury_only else ("first", "second"):
            found = measure(home / "workspace", home / day, args.jobs, args.set, args.jury_only)
            print(json.dumps({"benchmark": "days", "scale": scale, "day": day, "jobs": args.jobs} | found), flush=True)
        if not args.only_files:
            shutil.rmtree(home)


if __name__ == "__main__":
    main()

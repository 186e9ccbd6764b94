"""Does memory stay flat, and what does a post cost, from drafting to the winner: `python -m benchmarks.posts [--posts N]`.

Makes N posts with three notes of two sentences each and runs draft, check, judge, revise and select on them in shards of 250, in one process, as a
run on one machine does, then gathers the shards. The rater model is a stand-in that likes texts by their words (its own cost is
measured in `benchmarks.jury`). One JSON line at 1,000 posts and at the end: peak resident bytes so far, processor milliseconds a post and stage.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from jury.records import JudgedText, Jury, RatedTexts
from tests.jury.world import MU, TAGS, PlantedRater, PlantedSeat, World

PLACES = ["Orla", "Halden", "Lindow", "Marsh", "Teviot", "Brenne", "Costa", "Dunmore", "Elva", "Farrow"]
THINGS = ["bridge", "school", "clinic", "harbour", "tunnel", "library", "stadium", "museum", "station", "market"]
DEEDS = ["opened", "closed", "repaired", "sold", "rebuilt", "inspected", "renamed", "extended", "emptied", "painted"]
WHO = ["the county engineer", "the city archive", "the statistics office", "the port authority", "the local paper"]
SHARD = 250


def note_text(rng: np.random.Generator, post: int) -> str:
    """Two sentences about the post's place, each different from those of other notes, and a link."""
    place, year = PLACES[post % 10], 1950 + int(rng.integers(70))
    thing, deed, who = (words[int(rng.integers(len(words)))] for words in (THINGS, DEEDS, WHO))
    return (
        f"The {thing} of {place} was {deed} in {year}, says {who}. About {100 + int(rng.integers(900))} people were "
        f"counted there on {1 + int(rng.integers(28))} May {year}. https://records.example/{post}/{int(rng.integers(1_000_000))}"
    )


class Seat(PlantedSeat):
    """Likes a text by a hash of its words: between 0 and 0.4, a little more on one side."""

    def rate(self, texts: Sequence[JudgedText]) -> RatedTexts:
        share = np.array([zlib.crc32(text.text.encode()) % 1000 / 1000 for text in texts])
        q, f = 0.4 * share, 0.3 * (share - 0.5)
        expected = np.clip(MU + self.jury.intercept[:, None] + q + np.outer(self.jury.factor, f), 0.0, 1.0)
        somewhat = 0.4 * np.minimum(expected, 1 - expected)
        helpful = expected - 0.5 * somewhat
        p = np.stack([1 - helpful - somewhat, somewhat, helpful], axis=2).astype(np.float32)
        reasons = np.full((len(texts), 3, len(TAGS)), 0.2, dtype=np.float32)
        sd = np.full(len(texts), self.sd)
        return RatedTexts(p, sd * 2, sd, reasons, TAGS)


class Rater(PlantedRater):
    def seat(self, jury: Jury) -> Seat:
        return Seat(jury, self.sd)


def make_world(root: Path, posts: int) -> None:
    rng = np.random.default_rng(0)
    first = 1_800_000_000_000_000_000
    plan = {first + 10 * i: {"notes": {first + 10 * i + k: (0.05, 0.0) for k in range(1, 4)}} for i in range(posts)}
    World(root, plan)
    file = root / "snapshot" / "notes.parquet"
    notes = pl.read_parquet(file)
    texts = [note_text(rng, (post - first) // 10) for post in notes["tweetId"]]
    notes.with_columns(summary=pl.Series(texts)).write_parquet(file)
    file = root / "clusters" / "clusters.parquet"
    pl.read_parquet(file).with_columns(cluster_id="c" + pl.col("note_id").cast(pl.String)).write_parquet(file)


def run(root: Path, posts: Sequence[int], report: Any, few: bool = False) -> None:
    from jury.settings import JudgeCandidatesSettings, SelectWinnersSettings
    from pipeline.gather import gather
    from synthesis.settings import CheckCandidatesSettings, DraftCandidatesSettings, ReviseCandidatesSettings
    from tests.calling import check_candidates, draft_candidates, judge_candidates, revise_candidates, select_winners

    writer = DraftCandidatesSettings(subsets=1, extractive_candidates=3) if few else DraftCandidatesSettings()
    how: dict[str, Any] = {"judge_settings": JudgeCandidatesSettings(), "model": Rater()}
    spent: defaultdict[str, float] = defaultdict(float)
    counts: dict[str, list[dict[str, Any]]] = {}
    dirs: dict[str, list[Path]] = {}
    for start in range(0, len(posts), SHARD):
        part = list(posts[start : start + SHARD])
        given: dict[str, Any] = {name: root / name for name in ("snapshot", "parameters", "clusters")}

        def stage(
            name: str, function: Any, settings: Any, start: int = start, part: list[int] = part, **more: Any
        ) -> Path:
            out = root / "shards" / f"{name}-{start:06d}"
            out.mkdir(parents=True)
            began = time.process_time()
            counts.setdefault(name, []).append(function(out, settings, posts=part, **more))
            spent[name] += time.process_time() - began
            dirs.setdefault(name, []).append(out)
            return out

        candidates = stage("candidates", draft_candidates, writer, **given)
        seen = {"snapshot": given["snapshot"], "clusters": given["clusters"], "candidates": candidates}
        checks = stage("checks", check_candidates, CheckCandidatesSettings(), **seen)
        given |= {"jury": root / "jury", "candidates": candidates, "checks": checks}
        verdicts = stage("verdicts", judge_candidates, how["judge_settings"], model=how["model"], **given)
        given["verdicts"] = verdicts
        revisions = stage("revisions", revise_candidates, ReviseCandidatesSettings(), **how, **given)
        stage("selections", select_winners, SelectWinnersSettings(), revisions=revisions, **how, **given)
        done = start + len(part)
        if done in (SHARD, 1000) or done == len(posts):
            report(done, dict(spent))
    for name, parts in dirs.items():
        began = time.process_time()
        (root / "gathered" / name).mkdir(parents=True)
        gather(parts, counts[name], root / "gathered" / name)
        spent["gather"] += time.process_time() - began
    report("gathered", dict(spent))


def measured(root: str, answer: Any, few: bool) -> None:
    posts = pl.read_parquet(Path(root) / "clusters" / "posts.parquet")["post_id"].sort().to_list()

    def report(done: int | str, spent: dict[str, float]) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        n = done if isinstance(done, int) else len(posts)
        answer.put(
            {"posts": done, "peak_bytes": peak, "ms_a_post": {k: round(1000 * v / n, 2) for k, v in spent.items()}}
        )

    run(Path(root), posts, report, few)
    answer.put(None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--posts", type=int, default=10_000)
    parser.add_argument(
        "--few", action="store_true", help="three drafts a post instead of a dozen: memory alone is asked for"
    )
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        making = context.Process(target=make_world, args=(Path(folder), args.posts))
        making.start()
        making.join()
        answer = context.Queue()
        process = context.Process(target=measured, args=(folder, answer, args.few))
        process.start()
        while process.is_alive() or not answer.empty():
            try:
                row = answer.get(timeout=5)
            except Exception:  # nothing yet
                continue
            if row is None:
                break
            print(json.dumps({"benchmark": "posts"} | row), flush=True)
        process.join()


if __name__ == "__main__":
    main()

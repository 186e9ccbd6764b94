"""A small invented world with a known truth: what raters think of a text stands in the text, as [q=+0.30 f=-0.10].

`PlantedRater` reads it: a rater's expected rating is mu + i_u + q + f_u f, clipped to [0, 1]. So the bridging intercept of
a text must come out as its q (but for the ridge and the clipping), and its factor as its f.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from jury.judge.draw import split_pools
from jury.records import JudgedText, Jury, RatedTexts
from nouns import snapshot as snapshots

MU = 0.17
TAGS = (
    "helpfulClear", "helpfulGoodSources", "helpfulImportantContext", "notHelpfulArgumentativeOrBiased",
    "notHelpfulSourcesMissingOrUnreliable", "notHelpfulMissingKeyPoints",
)  # fmt: skip
_PLANT = re.compile(r"\[q=([+-]?[\d.]+) f=([+-]?[\d.]+)\]")
MISLEADING = "MISINFORMED_OR_POTENTIALLY_MISLEADING"


_PLACES = ("harbour", "village", "council", "budget", "survey", "bridge", "school", "doctor", "minister", "river", "museum", "airport", "factory", "library", "hospital", "stadium")  # fmt: skip


def planted(name: str, q: float, f: float = 0.0) -> str:
    """A text whose reception stands in it, in words of its own: two of them are no copies of each other."""
    words = np.random.default_rng(list(name.encode())).permutation(_PLACES)[:6]
    return f"{name} says {' '.join(words)} [q={q:+.2f} f={f:+.2f}] https://news.example.org/{name.lower()}"


def truth_of(text: str) -> tuple[float, float]:
    found = _PLANT.search(text)
    return (float(found[1]), float(found[2])) if found else (0.0, 0.0)


class PlantedRater:
    """A rater model that knows the truth; its stated error is `sd`, and less for texts that have own ratings."""

    name = "planted"

    def __init__(self, sd: float = 0.02) -> None:
        self.sd = sd

    def seat(self, jury: Jury) -> PlantedSeat:
        return PlantedSeat(jury, self.sd)


class PlantedSeat:
    def __init__(self, jury: Jury, sd: float) -> None:
        self.jury, self.sd = jury, sd

    def rate(self, texts: Sequence[JudgedText]) -> RatedTexts:
        q, f = np.array([truth_of(text.text) for text in texts]).T.reshape(2, -1)
        expected = np.clip(MU + self.jury.intercept[:, None] + q + np.outer(self.jury.factor, f), 0.0, 1.0)
        somewhat = 0.4 * np.minimum(expected, 1 - expected)
        helpful = expected - 0.5 * somewhat
        p = np.stack([1 - helpful - somewhat, somewhat, helpful], axis=2).astype(np.float32)
        reasons = np.zeros((len(texts), 3, len(TAGS)), dtype=np.float32)
        for k, sign in enumerate((-1, 0, 1)):
            like = np.clip(0.5 + q + sign * f, 0, 1)
            reasons[:, k, :3] = like[:, None] * [0.6, 0.5, 0.4]
            reasons[:, k, 3:] = (1 - like)[:, None] * [0.5, 0.3, 0.2]
        sd = np.array([self.sd * (0.5 if len(text.own_ratings) else 1.0) for text in texts])
        return RatedTexts(p, sd * 2, sd, reasons, TAGS)


def a_jury(n: int = 200, seed: int = 0) -> Jury:
    rng = np.random.default_rng(seed)
    factor = np.concatenate([rng.normal(-0.6, 0.15, n // 2), rng.normal(0.6, 0.15, n - n // 2)])
    return Jury(tuple(f"r{i:04d}" for i in range(n)), rng.normal(0.32, 0.08, n), factor, MU, "uniform", seed)


def rated(jury: Jury, *plants: tuple[float, float]) -> RatedTexts:
    texts = [JudgedText(str(i), planted(f"N{i}", q, f), MISLEADING) for i, (q, f) in enumerate(plants)]
    return PlantedRater().seat(jury).rate(texts)


class World:
    """Directories with the tables of the stages before judging, for a few posts."""

    def __init__(self, root: Path, posts: dict[int, dict], n_raters: int = 240) -> None:
        """`posts`: post id -> {'notes': {id: (q, f)}, 'candidates': {name: (q, f)}, 'failed': [names], 'opposed': [ids]}."""
        self.root = root
        for name in (
            "snapshot",
            "parameters",
            "jury",
            "clusters",
            "candidates",
            "checks",
            "verdicts",
            "revisions",
            "selections",
        ):
            (root / name).mkdir(parents=True)
        rng = np.random.default_rng(5)
        ids = [f"rater{i:05d}" for i in range(n_raters)]
        intercept = rng.normal(0.32, 0.06, n_raters)
        factor = np.where(np.arange(n_raters) % 2 == 0, -0.6, 0.6) + rng.normal(0, 0.1, n_raters)
        raters = pl.DataFrame(
            {
                "raterParticipantId": ids,
                "intercept": intercept,
                "factor1": factor,
                "n_ratings": rng.integers(5, 50, n_raters),
            }
        )
        raters.write_parquet(root / "parameters" / "raters.parquet")
        raters.with_columns(pool=pl.Series(split_pools(ids))).write_parquet(root / "jury" / "raters.parquet")
        (root / "parameters" / "fit.json").write_text('{"global_intercept": 0.17, "n_ratings": 2000, "n_notes": 100}')
        notes, ratings, clusters, candidates, checks, eligible, prompts = [], [], [], [], [], [], []
        for post, spec in posts.items():
            cluster_ids = []
            for note, (q, f) in spec.get("notes", {}).items():
                stance = "not_misleading" if note in spec.get("opposed", ()) else "misleading"
                notes.append(
                    {
                        "noteId": note,
                        "tweetId": post,
                        "noteAuthorParticipantId": "a",
                        "createdAtMillis": 1,
                        "classification": "NOT_MISLEADING" if stance == "not_misleading" else MISLEADING,
                        "summary": planted(f"Note{note}", q, f),
                    }
                )
                clusters.append(
                    {
                        "post_id": post,
                        "note_id": note,
                        "cluster_id": f"c{post}",
                        "stance": stance,
                        "duplicate_of": None,
                        "borrowed": False,
                        "similarity": 1.0,
                        "language": "en",
                    }
                )
                cluster_ids.append(note)
                for k in range(6):
                    ratings.append(
                        {
                            "noteId": note,
                            "raterParticipantId": ids[k],
                            "createdAtMillis": 10 + k,
                            "helpfulness": 1.0 if k % 2 else 0.0,
                            "version": 2,
                        }
                    )
                ratings.append(
                    {
                        "noteId": note,
                        "raterParticipantId": "stranger",
                        "createdAtMillis": 5,
                        "helpfulness": 1.0,
                        "version": 2,
                    }
                )
            request = f"req{post}"
            if spec.get("candidates"):
                prompts.append(
                    {
                        "request_id": request,
                        "post_id": post,
                        "prompt_version": "draft-1",
                        "prompt_sha256": "0" * 64,
                        "messages": [
                            {"role": "system", "content": "Write."},
                            {"role": "user", "content": f"Post {post}."},
                        ],
                    }
                )
            for name, (q, f) in spec.get("candidates", {}).items():
                candidates.append(
                    {
                        "candidate_id": name,
                        "post_id": post,
                        "cluster_id": f"c{post}",
                        "text": planted(name, q, f),
                        "language": "en",
                        "classification": MISLEADING,
                        "source_note_ids": cluster_ids,
                        "writer": "scripted",
                        "prompt_version": "draft-1",
                        "seed": 1,
                        "parent_id": None,
                        "round": 0,
                        "request_id": request,
                    }
                )
                outcome = "failed" if name in spec.get("failed", ()) else "passed"
                checks.append(
                    {
                        "candidate_id": name,
                        "post_id": post,
                        "check": "length",
                        "outcome": outcome,
                        "reason": "",
                        "start": None,
                        "end": None,
                        "principle": "form-1",
                    }
                )
            eligible.append(
                {
                    "post_id": post,
                    "language": "en",
                    "n_notes": len(cluster_ids),
                    "n_clusters": 1,
                    "n_ratings": 7 * len(cluster_ids),
                    "eligible": spec.get("eligible", True),
                    "reason_code": None if spec.get("eligible", True) else "helpful_note_shown",
                    "reason": None if spec.get("eligible", True) else "A note is shown already.",
                    "story_id": None,
                }
            )
        posts_table = [{"tweetId": post, "text": f"Post text {post}", "language": "en"} for post in posts]
        for name, rows in (("notes", notes), ("ratings", ratings), ("posts", posts_table)):
            snapshots.write(root / "snapshot", name, pl.DataFrame(rows, infer_schema_length=None))
        for name in ("note_status_history", "user_enrollment", "note_requests"):
            snapshots.write(root / "snapshot", name, snapshots.SCHEMAS[name].empty_table())
        pl.DataFrame(
            {
                "noteId": [n["noteId"] for n in notes],
                "intercept": [truth_of(n["summary"])[0] for n in notes],
                "factor1": [truth_of(n["summary"])[1] for n in notes],
                "n_ratings": [6] * len(notes),
                "lower": [0.0] * len(notes),
                "upper": [0.3] * len(notes),
                "net_helpful_negative": [0.0] * len(notes),
                "net_helpful_positive": [0.0] * len(notes),
                "status": ["NEEDS_MORE_RATINGS"] * len(notes),
                "active_rules": [["none"]] * len(notes),
            }
        ).write_parquet(root / "parameters" / "notes.parquet")
        pl.DataFrame(
            clusters,
            schema={
                "post_id": pl.Int64,
                "note_id": pl.Int64,
                "cluster_id": pl.String,
                "stance": pl.String,
                "duplicate_of": pl.Int64,
                "borrowed": pl.Boolean,
                "similarity": pl.Float32,
                "language": pl.String,
            },
        ).write_parquet(root / "clusters" / "clusters.parquet")
        pl.DataFrame(
            eligible,
            schema={
                "post_id": pl.Int64,
                "language": pl.String,
                "n_notes": pl.Int32,
                "n_clusters": pl.Int32,
                "n_ratings": pl.Int64,
                "eligible": pl.Boolean,
                "reason_code": pl.String,
                "reason": pl.String,
                "story_id": pl.String,
            },
        ).write_parquet(root / "clusters" / "posts.parquet")
        pl.DataFrame(candidates, schema=CANDIDATES).write_parquet(root / "candidates" / "candidates.parquet")
        pl.DataFrame([], schema=FAILURES).write_parquet(root / "candidates" / "failures.parquet")
        pl.DataFrame(prompts, schema=PROMPTS).write_parquet(root / "candidates" / "prompts.parquet")
        pl.DataFrame(checks, schema=CHECKS).write_parquet(root / "checks" / "checks.parquet")

    def inputs(self, *names: str) -> dict[str, Path]:
        return {name: self.root / name for name in names}


CANDIDATES = {"candidate_id": pl.String, "post_id": pl.Int64, "cluster_id": pl.String, "text": pl.String, "language": pl.String, "classification": pl.String, "source_note_ids": pl.List(pl.Int64), "writer": pl.String, "prompt_version": pl.String, "seed": pl.Int64, "parent_id": pl.String, "round": pl.Int32, "request_id": pl.String}  # fmt: skip
CHECKS = {"candidate_id": pl.String, "post_id": pl.Int64, "check": pl.String, "outcome": pl.String, "reason": pl.String, "start": pl.Int32, "end": pl.Int32, "principle": pl.String}  # fmt: skip
PROMPTS = {"request_id": pl.String, "post_id": pl.Int64, "prompt_version": pl.String, "prompt_sha256": pl.String, "messages": pl.List(pl.Struct({"role": pl.String, "content": pl.String}))}  # fmt: skip


FAILURES = {"request_id": pl.String, "post_id": pl.Int64, "reason_code": pl.String, "reason": pl.String}


class PlantedWriter:
    """A writing room whose revision of a text is better by `gain`; a text named in `fails` fails its check."""

    def __init__(self, gain: float = 0.1, fails: tuple[str, ...] = (), slant: float = 0.0) -> None:
        self.gain, self.fails, self.slant = gain, fails, slant
        self.heard: list[str] = []
        self.spent: dict[str, int] = {}

    def refused(self):
        return {}

    def revise(self, asks):
        from synthesis.revise.revise import Written

        rows, prompts = [], []
        for ask in asks:
            self.heard.append(ask.feedback)
            q, f = truth_of(ask.parent["text"])
            name = f"{ask.parent['candidate_id']}-r{ask.round}"
            request = f"revise-{name}"
            new = {
                "candidate_id": name,
                "text": planted(name, q + self.gain, f + self.slant),
                "parent_id": ask.parent["candidate_id"],
                "round": ask.round,
                "request_id": request,
            }
            rows.append(dict(ask.parent) | new)
            prompts.append(
                {
                    "request_id": request,
                    "post_id": ask.parent["post_id"],
                    "prompt_version": "revise-1",
                    "prompt_sha256": "1" * 64,
                    "messages": [{"role": "user", "content": ask.feedback}],
                }
            )
        return Written(rows, prompts, [])

    notices = ()
    marks = None

    def finalists(self):
        return 0

    def examine(self, candidates):
        return []

    def check(self, candidates, out, posts):
        rows = pl.read_parquet(candidates / "candidates.parquet")
        checks = [
            {
                "candidate_id": name,
                "post_id": post,
                "check": "length",
                "outcome": "failed" if name in self.fails else "passed",
                "reason": "",
                "start": None,
                "end": None,
                "principle": "form-1",
            }
            for name, post in rows.select("candidate_id", "post_id").iter_rows()
        ]
        pl.DataFrame(checks, schema=CHECKS).write_parquet(out / "checks.parquet")


def a_bench(jury: Jury, sd: float = 0.02):
    from jury.judge.judge import Bench

    return Bench(PlantedRater(sd).seat(jury), jury, 20.0)

"""One post through the loop, on one page. Read this first.

    from pipeline import Machine

    machine = Machine.of_run("workspace/runs/ID")
    outcome = machine.run(machine.post(2029588291751102921))  # clusters, candidates, checks, verdicts, selection, pairs
    seen = machine.assess(machine.post(2029588291751102921), "An edited text. https://example.org")

Notes that say the same are put together, a writer drafts notes that merge them, checks stop what no note may do, the jury
says how each side would receive the rest, the writer hears the objections and writes again, the best text wins or nobody
does, and every comparison becomes a preference. Each step is the function that the stage of the same name runs on
thousands of posts; here it runs on one, in a scratch folder, so that the outcome is the run's.

What only a whole run can know stays in its stage: which posts share a story, where the labels' quantiles lie, which pairs
are thinned out.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nouns.errors import InputError
from nouns.post import MISLEADING, NOT_MISLEADING, Note, NotedPost, NoteRating
from nouns.run import Run
from nouns.stage import Tools
from nouns.stages import stage_named
from pipeline.settings import Settings

LOOP = ("draft_candidates", "check_candidates", "judge_candidates", "revise_candidates", "select_winners")
"""The steps after clustering, in their order."""
MAX_TEXT = 4000
"""Characters of a text that are looked at; a note may have 280."""


@dataclass(frozen=True)
class Outcome:
    """What came of one post, as rows of the tables in docs/tables.md; drafts and revisions together.

    `selection` is the post's line of selections.jsonl, `pairs` are those before any thinning.
    """

    post_id: int
    clusters: tuple[dict[str, Any], ...]
    selection: dict[str, Any]
    candidates: tuple[dict[str, Any], ...] = ()
    checks: tuple[dict[str, Any], ...] = ()
    verdicts: tuple[dict[str, Any], ...] = ()
    existing: tuple[dict[str, Any], ...] = ()
    lineage: tuple[dict[str, Any], ...] = ()
    pairs: tuple[Any, ...] = ()

    @property
    def winner(self) -> str | None:
        """The text that won, None where the machine abstains (`selection` says why)."""
        return self.selection["text"] if self.selection["outcome"] == "winner" else None


@dataclass
class Machine:
    """The loop with a trained jury, a writer and settings.

    `jury`: a jury's directory. `parameters`: a `fit_raters` directory, whose raters are those of the ratings.
    `settings.draft_candidates` says who writes. `source`: the snapshot and clusters that `post` reads.
    """

    jury: Path
    parameters: Path
    settings: Settings
    tools: Tools = field(default_factory=Tools)
    as_of: int | None = None
    source: Run | None = None

    @classmethod
    def of_run(cls, path: str | Path) -> Machine:
        """The machine of a finished run, `WORKSPACE/runs/ID`: its jury, settings, seed, posts."""
        from pipeline.plan import Plan
        from storage.store import Store

        workspace, _, run_id = str(path).rstrip("/").rpartition("/runs/")
        plan = Plan(Store(workspace or "."), run_id)
        run = plan.open("select_winners")
        tools = Tools(seed=plan.settings.run.seed, vectors=plan.store.home / ".cache" / "embeddings")
        jury, parameters = run.path("train_jury"), run.path("fit_raters")
        return cls(jury, parameters, plan.settings, tools, plan.request.as_of, run)

    def post(self, post_id: int) -> NotedPost:
        """A post of the run with its notes, the notes lent to it, and their ratings. Raises `InputError` if unknown."""
        import polars as pl

        from nouns.snapshot import read_table
        from synthesis.reading import note_table, notes_of_rows, read_posts

        if self.source is None:
            raise InputError("This machine was not made from a run, so it knows no posts; give a NotedPost.")
        snapshot, clusters = self.source.path("ingest"), self.source.path("cluster_notes")
        placed = self.source.with_posts([post_id]).table("cluster_notes", "clusters")
        about = self.source.with_posts([post_id]).table("cluster_notes", "posts")
        if not len(placed):
            raise InputError(f"Post {post_id} has no notes in {clusters.parent.name}.")
        ids = placed["note_id"].unique().to_list()
        table = note_table(snapshot, self.parameters, ids).collect()
        notes = {note.note_id: note for note in notes_of_rows(table)}
        lent = set(placed.filter(pl.col("borrowed"))["note_id"].to_list())
        wanted = ["noteId", "raterParticipantId", "createdAtMillis", "helpfulness", "notHelpfulNoteNotNeeded"]
        ratings: dict[int, list[NoteRating]] = {}
        rows = read_table(snapshot, "ratings", wanted).filter(pl.col("noteId").is_in(ids)).collect()
        for note, rater, created, value, not_needed in rows.iter_rows():
            ratings.setdefault(note, []).append(NoteRating(rater, value, created, bool(not_needed)))
        return NotedPost(
            read_posts(snapshot, [post_id])[post_id],
            tuple(note for name, note in sorted(notes.items()) if name not in lent),
            tuple(note for name, note in sorted(notes.items()) if name in lent),
            {note: tuple(found) for note, found in ratings.items()},
            frozenset(table.filter(pl.col("locked").fill_null(False))["note_id"].to_list()),
            about["story_id"][0],
        )

    def run(self, noted: NotedPost) -> Outcome:
        """The whole loop on one post."""
        with tempfile.TemporaryDirectory(prefix="supernotes-post-") as scratch:
            post = self._cluster(noted, self._lay_out(noted, Path(scratch)))
            clusters = tuple(post.table("cluster_notes", "clusters").iter_rows(named=True))
            about = post.table("cluster_notes", "posts").row(0, named=True)
            if not about["eligible"]:
                return Outcome(noted.post.post_id, clusters, self._excluded(post))
            for step in LOOP:
                post = self._make(step, post)
            return self._outcome(noted.post.post_id, clusters, post)

    def assess(self, noted: NotedPost, text: str) -> dict[str, Any]:
        """Length, checks and the jury's view of one text for a post, as an analyst's edit needs them.

        Gives {"length", "passed", "checks", "score", "lower", "upper", "helpful": {side: share}, "reasons"}; numbers are
        None where there is nothing to judge. The sources are the post's misleading notes. Raises `InputError` for a
        text that is far too long.
        """
        from jury.judge.context import read_contexts
        from jury.judge.judge import PostTexts, judge
        from synthesis.check.check import check_text_json

        if len(text) > MAX_TEXT:
            raise InputError(f"The text has {len(text):,} characters; {MAX_TEXT:,} is the most that is looked at.")
        with tempfile.TemporaryDirectory(prefix="supernotes-post-") as scratch:
            post = self._cluster(noted, self._lay_out(noted, Path(scratch)))
            language = post.table("cluster_notes", "posts")["language"][0]
            sources = [note for note in (*noted.notes, *noted.lent) if note.classification != NOT_MISLEADING]
            line = {"id": "", "text": text, "sources": [note.text for note in sources], "post_text": noted.post.text}
            if language != "und":
                line["language"] = language
            found = check_text_json(line, self.settings.check_candidates)
            seen: dict[str, Any] = {key: found[key] for key in ("length", "passed", "checks")}
            sides = ("negative", "middle", "positive")
            seen |= {"score": None, "lower": None, "upper": None, "helpful": dict.fromkeys(sides), "reasons": []}
            if not text.strip():
                return seen
            contexts = read_contexts(
                post.path("ingest"), post.path("fit_raters"), post.path("cluster_notes"), None, self.jury
            )
            judged = contexts[noted.post.post_id].judged_candidate(
                "edited", text, MISLEADING, language, [note.note_id for note in sources]
            )
            _, (row,) = next(iter(judge(self._bench, [PostTexts(noted.post.post_id, (judged,))], 1)))
        seen |= {name: row[name] for name in ("score", "lower", "upper")}
        seen["helpful"] = {side: row[f"helpful_{side}"] for side in sides}
        return seen | {"reasons": [dict(reason) for reason in row["reasons"] or []]}

    # -- the steps -------------------------------------------------------------------------------------------------

    def _cluster(self, noted: NotedPost, post: Run) -> Run:
        """What `cluster_notes` does with one post."""
        from synthesis.cluster.cluster import claim_text
        from synthesis.cluster.stage import CLUSTERS, POSTS, cluster_post, write_table
        from texts.embedding import load_embedder
        from texts.language import detect_language
        from texts.note import clean_text

        settings, notes = self.settings.cluster_notes, [*noted.notes, *noted.lent]
        embedder = load_embedder(settings.embedder, self.tools.vectors)
        row, members = cluster_post(
            noted.notes,
            noted.lent,
            embedder.embed([claim_text(note.text) for note in notes]),
            settings,
            not_needed=[sum(r.not_needed for r in noted.ratings.get(note.note_id, ())) for note in noted.notes],
            locked=[note.note_id in noted.locked for note in noted.notes],
            languages=[detect_language(clean_text(note.text)) for note in notes],
            stated_language=noted.post.language,
            story_id=noted.story_id,
            as_of=self.as_of,
        )
        out = post.path("ingest").parent / "cluster_notes"
        out.mkdir()
        write_table([row], POSTS, out / "posts.parquet")
        write_table(members, CLUSTERS, out / "clusters.parquet")
        return Run(post.run_id, {**post.directories, "cluster_notes": out}, posts=post.posts)

    def _make(self, step: str, post: Run) -> Run:
        """The stage of that name on this one post, its result added to what the post has."""
        stage = stage_named(step)
        out = post.path("ingest").parent / step
        out.mkdir()
        function = getattr(importlib.import_module(stage.step), step)
        also = {name: getattr(self.settings, name) for name in stage.also}
        function(post, getattr(self.settings, step), out, self.tools, **also)
        return Run(post.run_id, {**post.directories, step: out}, posts=post.posts)

    def _excluded(self, post: Run) -> dict[str, Any]:
        from jury.select.select import excluded_selections

        return next(iter(excluded_selections(post.table("cluster_notes", "posts"))))

    def _outcome(self, post_id: int, clusters: tuple[dict[str, Any], ...], post: Run) -> Outcome:
        from feedback.pairs.pairs import pairs_of_post
        from feedback.pairs.stage import materials
        from jury.tables import read_jsonl

        def rows(frame: Any) -> tuple[dict[str, Any], ...]:
            return tuple(frame.iter_rows(named=True))

        (selection,) = read_jsonl(post.path("select_winners") / "selections.jsonl")
        pairs = [
            pair
            for material in materials(post, [post_id])
            for pair in pairs_of_post(material, self.settings.build_pairs).pairs
        ]
        return Outcome(
            post_id,
            clusters,
            selection,
            rows(post.candidates()),
            rows(post.checks()),
            rows(post.verdicts()),
            rows(post.table("judge_candidates", "existing")),
            rows(post.table("revise_candidates", "lineage")),
            tuple(pairs),
        )

    # -- one post as the tables of a snapshot and a fit ------------------------------------------------------------

    @cached_property
    def _bench(self) -> Any:
        """The seated jury, kept between texts."""
        from jury.judge.stage import open_bench, seat_juries

        how = self.settings.judge_candidates
        draw, _ = seat_juries(how, self.jury, self.parameters, self.tools.seed)
        return open_bench(draw, how, self.jury, self.parameters, self.tools.vectors, self.tools.rater_model)

    def _lay_out(self, noted: NotedPost, folder: Path) -> Run:
        """The post as a snapshot and a fit of its own, beside the jury."""
        import polars as pl

        from nouns import snapshot

        def table(name: str, rows: list[dict[str, Any]]) -> None:
            frame = pl.DataFrame(rows, schema={f.name: None for f in snapshot.SCHEMAS[name]}, infer_schema_length=None)
            snapshot.write(folder / "ingest", name, frame.select(*(rows[0] if rows else frame.columns)))

        notes = [*noted.notes, *noted.lent]
        for name in ("ingest", "fit_raters"):
            (folder / name).mkdir()
        table("notes", [_note_row(note) for note in notes])
        table("note_status_history", [_history_row(note, note.note_id in noted.locked) for note in notes])
        table("posts", [{"tweetId": noted.post.post_id, "text": noted.post.text, "language": noted.post.language, "createdAtMillis": noted.post.created_at}])  # fmt: skip
        ratings = [_rating_row(note, rating) for note in notes for rating in noted.ratings.get(note.note_id, ())]
        table("ratings", ratings)
        fitted = [_fitted_row(note) for note in notes]
        pl.DataFrame(fitted, schema=_FITTED).write_parquet(folder / "fit_raters" / "notes.parquet")
        for name in ("raters.parquet", "fit.json"):
            (folder / "fit_raters" / name).symlink_to((self.parameters / name).resolve())
        directories = {name: folder / name for name in ("ingest", "fit_raters")} | {"train_jury": self.jury}
        return Run("one-post", directories, posts=(noted.post.post_id,))


_FITTED: Mapping[str, Any] = {
    "noteId": int, "intercept": float, "factor1": float, "n_ratings": int, "net_helpful_negative": float,
    "net_helpful_positive": float,
}  # fmt: skip


def _note_row(note: Note) -> dict[str, Any]:
    return {
        "noteId": note.note_id,
        "tweetId": note.post_id,
        "createdAtMillis": note.created_at or 0,
        "classification": note.classification,
        "summary": note.text,
    }


def _history_row(note: Note, locked: bool) -> dict[str, Any]:
    return {
        "noteId": note.note_id,
        "createdAtMillis": note.created_at or 0,
        "currentStatus": note.status,
        "lockedStatus": (note.status or "NEEDS_MORE_RATINGS") if locked else None,
    }


def _rating_row(note: Note, rating: NoteRating) -> dict[str, Any]:
    return {
        "noteId": note.note_id,
        "raterParticipantId": rating.rater_id,
        "createdAtMillis": rating.created_at,
        "helpfulness": rating.value,
        "version": 2,
        "notHelpfulNoteNotNeeded": rating.not_needed,
    }


def _fitted_row(note: Note) -> dict[str, Any]:
    return {
        "noteId": note.note_id,
        "intercept": note.intercept,
        "factor1": note.factor,
        "n_ratings": note.n_ratings,
        "net_helpful_negative": note.net_helpful_negative,
        "net_helpful_positive": note.net_helpful_positive,
    }

"""Stage `cluster_notes`: claims within posts, stories across posts, and which posts get a supernote."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from nouns.post import Note
from nouns.run import Run
from nouns.snapshot import newest_time, read_table
from nouns.stage import Counts, Tools
from nouns.tables import polars
from synthesis.cluster.cluster import AverageLinkage, Clustered, Story, claim_text, find_stories, stance_of
from synthesis.cluster.eligibility import NoteFacts, exclusion
from synthesis.reading import note_table, notes_of_rows
from synthesis.settings import ClusterNotesSettings
from texts.embedding import load_embedder
from texts.language import detect_language
from texts.names import subjects
from texts.note import clean_text

Progress = Callable[..., None]

POSTS, CLUSTERS, STORIES = polars("clustered_posts"), polars("clusters"), polars("stories")


def write_table(rows: list[dict[str, Any]], schema: dict[str, Any], path: Path) -> None:
    """Parquet with a fixed schema and fixed options: equal rows give equal bytes."""
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(path, compression="zstd", statistics=False)


def cluster_notes(
    run: Run,
    settings: ClusterNotesSettings,
    out: Path,
    tools: Tools,
) -> Counts:
    """Write posts.parquet (every post with a note), clusters.parquet and stories.parquet.

    Counts are in posts: `in` all, `out` those worth a supernote, `rejected` the others by reason. Notes are held as one
    table of texts and half-precision vectors: about 1 kB a note.
    """
    snapshot = run.path("ingest")
    parameters = run.path("fit_raters") if run.has("fit_raters") else None
    as_of, cache, progress = run.given.get("as_of"), tools.vectors, tools.progress
    table = note_table(snapshot, parameters).collect()
    notes = notes_of_rows(table)
    locked = dict(zip(table["note_id"].to_list(), table["locked"].fill_null(False).to_list(), strict=True))
    not_needed = _not_needed(snapshot)
    newest_of_all = newest_time(read_table(snapshot, "notes", ["createdAtMillis"])) or 0
    progress("embedding notes", 0, len(notes))
    texts = [clean_text(note.text) for note in notes]
    claims = [claim_text(note.text) for note in notes]
    vectors = (
        load_embedder(settings.embedder, cache).embed(claims, progress) if notes else np.zeros((0, 1), dtype=np.float32)
    )
    progress("finding stories", 0, len(notes))
    stories, story_counts = _stories(notes, vectors, settings, tools.cores)
    story_of = {note: story for story in stories for note in story.note_ids}
    row_of = {note.note_id: i for i, note in enumerate(notes)}
    about = {row_of[note]: subjects(claims[row_of[note]]) for note in story_of}
    by_post: dict[int, list[int]] = defaultdict(list)
    for i, note in enumerate(notes):
        by_post[note.post_id].append(i)
    languages = [detect_language(text) for text in texts]
    post_languages = _post_languages(snapshot)
    post_rows: list[dict[str, Any]] = []
    cluster_rows: list[dict[str, Any]] = []
    for done, post_id in enumerate(sorted(by_post)):
        if done % 2000 == 0:
            progress("clustering posts", done, len(by_post))
        own = by_post[post_id]
        lent = _borrowed(post_id, own, notes, vectors, story_of, row_of, about, settings)
        told = [story_of[notes[i].note_id].story_id for i in own if notes[i].note_id in story_of]
        row, members = cluster_post(
            [notes[i] for i in own],
            [notes[i] for i in lent],
            vectors[own + lent],
            settings,
            not_needed=[not_needed.get(notes[i].note_id, 0) for i in own],
            locked=[locked[notes[i].note_id] for i in own],
            languages=[languages[i] for i in own + lent],
            stated_language=post_languages.get(post_id),
            story_id=min(told) if told else None,
            as_of=as_of,
            newest_of_all=newest_of_all,
        )
        post_rows.append(row)
        cluster_rows += members
    reasons = Counter(row["reason_code"] for row in post_rows if row["reason_code"])
    sizes = Counter(
        Counter((row["post_id"], row["cluster_id"]) for row in cluster_rows if not row["borrowed"]).values()
    )
    write_table(post_rows, POSTS, out / "posts.parquet")
    write_table(cluster_rows, CLUSTERS, out / "clusters.parquet")
    story_rows = [
        {"story_id": story.story_id, "post_id": notes[row_of[note]].post_id, "note_id": note}
        for story in stories
        for note in story.note_ids
    ]
    write_table(
        sorted(story_rows, key=lambda r: (r["story_id"], r["post_id"], r["note_id"])), STORIES, out / "stories.parquet"
    )
    eligible = sum(row["eligible"] for row in post_rows)
    return {
        "in": len(post_rows),
        "out": eligible,
        "rejected": dict(sorted(reasons.items())),
        "notes": len(notes),
        "clusters": sum(sizes.values()),
        "cluster_sizes": {str(size): number for size, number in sorted(sizes.items())},
        "duplicates": sum(row["duplicate_of"] is not None for row in cluster_rows),
        "stories": len(stories),
        "borrowed": sum(row["borrowed"] for row in cluster_rows),
        "mean_similarity_within": _rounded_mean([r["similarity"] for r in cluster_rows if r["similarity"] < 1.0]),
        "one_cluster_share": _rounded_mean([r["n_clusters"] == 1 for r in post_rows if r["n_notes"] > 1]),
    } | story_counts


def cluster_post(
    own: Sequence[Note],
    lent: Sequence[Note],
    vectors: np.ndarray,
    settings: ClusterNotesSettings,
    *,
    not_needed: Sequence[int],
    locked: Sequence[bool],
    languages: Sequence[str | None],
    stated_language: str | None = None,
    story_id: str | None = None,
    as_of: int | None = None,
    newest_of_all: int = 0,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One post's row of posts.parquet and its rows of clusters.parquet.

    `own`: its notes, at least one; `not_needed` (ratings that say no note is needed) and `locked` go with them. `lent`:
    notes of other posts on the same matter. `vectors` (n_own + n_lent, d) and `languages` go with both, own notes first.
    """
    post_id = own[0].post_id
    clusterer = AverageLinkage(settings.cluster_distance, settings.duplicate_distance, settings.duplicate_overlap)
    placed = clusterer.cluster([*own, *lent], vectors)
    duplicates = {row.note_id for row in placed if row.duplicate_of is not None}
    own_ids = {note.note_id for note in own}
    facts = [
        NoteFacts(note, asked, fixed, note.note_id in duplicates)
        for note, asked, fixed in zip(own, not_needed, locked, strict=True)
    ]
    excluded = exclusion(facts, sum(note.note_id not in duplicates for note in lent), settings, as_of, newest_of_all)
    kept = {row.note_id for row in placed} if excluded is None else own_ids
    language_of = {note.note_id: language for note, language in zip([*own, *lent], languages, strict=True)}
    rows = [_cluster_row(post_id, row, own_ids, language_of[row.note_id]) for row in placed if row.note_id in kept]
    spoken = Counter(language for note in own if (language := language_of[note.note_id]))
    return {
        "post_id": post_id,
        "language": _post_language(stated_language, spoken),
        "n_notes": len(own),
        "n_clusters": len({row.cluster_id for row in placed if row.note_id in own_ids}),
        "n_ratings": sum(note.n_ratings for note in own),
        "eligible": excluded is None,
        "reason_code": excluded.code if excluded else None,
        "reason": excluded.sentence if excluded else None,
        "story_id": story_id,
    }, rows


def _rounded_mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4) if values else 0.0


def _stories(
    notes: list[Note], vectors: np.ndarray, settings: ClusterNotesSettings, cores: int
) -> tuple[list[Story], dict[str, int]]:
    if not settings.stories or len(notes) < 2:
        return [], {"components": 0, "template_components": 0, "loose_components": 0}
    return find_stories(
        np.array([note.note_id for note in notes], dtype=np.int64),
        np.array([note.post_id for note in notes], dtype=np.int64),
        [stance_of(note.classification) for note in notes],
        vectors,
        created_at=np.array([note.created_at or 0 for note in notes], dtype=np.int64),
        days=settings.story_days,
        similarity=settings.story_similarity,
        neighbours=settings.story_neighbours,
        max_posts=settings.max_story_posts,
        cores=cores,
    )


def _borrowed(
    post_id: int,
    own: list[int],
    notes: list[Note],
    vectors: np.ndarray,
    story_of: dict[int, Story],
    row_of: dict[int, int],
    about: dict[int, frozenset[str] | None],
    settings: ClusterNotesSettings,
) -> list[int]:
    """Rows of notes on other posts of the same stories, the most alike first, at most `max_borrowed`, sorted by id.

    Being alike is not enough: "this tweet offers no proof" is alike under any two posts, and what the one goes on to say would be false under the
    other. A note is lent only where it shares a name or a number with the note it is alike to, and was written within `story_days` of it.
    """
    candidates: dict[int, float] = {}
    for i in own:
        story = story_of.get(notes[i].note_id)
        for note in story.note_ids if story else ():
            j = row_of[note]
            if notes[j].post_id != post_id and _same_matter(notes, about, i, j, settings):
                candidates[j] = max(candidates.get(j, -1.0), float(vectors[i] @ vectors[j]))
    candidates = {j: near for j, near in candidates.items() if len(notes[j].text.strip()) >= settings.min_note_chars}
    ranked = sorted(candidates, key=lambda j: (-round(candidates[j], 3), notes[j].note_id))
    return sorted(ranked[: settings.max_borrowed], key=lambda j: notes[j].note_id)


def _same_matter(
    notes: list[Note], about: dict[int, frozenset[str] | None], i: int, j: int, settings: ClusterNotesSettings
) -> bool:
    mine, other = about[i], about[j]
    if mine is not None and other is not None and not mine & other:
        return False
    first, second = notes[i].created_at, notes[j].created_at
    return first is None or second is None or abs(first - second) <= settings.story_days * 86_400_000


def _cluster_row(post_id: int, row: Clustered, own: set[int], language: str | None) -> dict[str, Any]:
    return {
        "post_id": post_id,
        "note_id": row.note_id,
        "cluster_id": row.cluster_id,
        "stance": row.stance,
        "duplicate_of": row.duplicate_of,
        "borrowed": row.note_id not in own,
        "similarity": row.similarity,
        "language": language,
    }


def _post_language(stated: str | None, spoken: Counter[str]) -> str:
    """The post's own language where known, else that of most of its notes; 'und' where nobody can tell."""
    if stated and stated not in ("und", "zxx", "qme", "qht", "art"):
        return stated.split("-")[0].lower()
    return min(spoken, key=lambda language: (-spoken[language], language)) if spoken else "und"


def _post_languages(snapshot: Path) -> dict[int, str | None]:
    table = pl.scan_parquet(snapshot / "posts.parquet").select("tweetId", "language").collect()
    return dict(table.iter_rows())


def _not_needed(snapshot: Path) -> dict[int, int]:
    """Raters who ticked 'note not needed', by note id."""
    table = (
        pl.scan_parquet(snapshot / "ratings.parquet")
        .filter(pl.col("notHelpfulNoteNotNeeded"))
        .group_by("noteId")
        .agg(pl.len().alias("n"))
        .collect()
    )
    return dict(table.iter_rows())

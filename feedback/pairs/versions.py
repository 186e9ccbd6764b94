"""Collaborative notes as sequences of versions: how each was received, what raters suggested, what was taken, whether it helped.

X rewrites a collaborative note after ratings and suggestions, and its files hold one text a note id. So an earlier version is a note
of its own on the same post (same author, same stance, half of its words), or the text that an earlier snapshot has under the same id;
both are found. What a version was worth to raters is its intercept; the mean of its ratings must not say the opposite.
Made from X's documented columns and tried on generated rows: no public file with rewritten notes was at hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from nouns.snapshot import newest_time, read_table
from texts.note import clean_text, find_urls, without_urls
from texts.words import content, overlap, tokens

FEWEST = 5  # ratings that a version needs before its reception says anything (X's number for a status)
MOST_TOLD = 5  # suggestions in one row's feedback
_TAKEN = 0.5  # share of a suggestion's own words that must be new in the next version
_SAME = 0.5  # share of the shorter text's words that the other must have to be another version of it


@dataclass(frozen=True)
class Version:
    """One text of a collaborative note. `helpfulness`: mean of its ratings, 0 to 1, None without any; `suggestions`: oldest first."""

    post_id: int
    note_id: int
    text: str
    stance: str
    n_ratings: int
    helpfulness: float | None
    suggestions: tuple[str, ...]
    intercept: float | None = None  # of the fit, where one was given
    intercept_sd: float | None = None  # its standard error


def series_of(
    later: Path, earlier: Path | None = None, posts: Sequence[int] | None = None, fit: Path | None = None
) -> list[list[Version]]:
    """The collaborative notes of a snapshot with two versions or more, each a list from the oldest version to the newest.

    `earlier`: another snapshot, for notes whose text changed under the same id since; what was rated or suggested up to its newest
    rating belongs to the text it has. `posts`: only notes on these. `fit`: a result of fit_raters, for the notes' intercepts.
    """
    notes = _collaborative(later, posts)
    if not notes.height:
        return []
    before = _collaborative(earlier, posts) if earlier else notes.clear()
    both = before.join(notes.select("noteId", now="summary"), on="noteId")
    said = [clean_text(old) != clean_text(now) for old, now in both.select("summary", "now").iter_rows()]
    changed = both.filter(pl.Series(said, dtype=pl.Boolean))
    rewritten = changed["noteId"].to_list()
    cut = 0
    if rewritten:
        cut = newest_time(read_table(earlier or later, "ratings", ["createdAtMillis"])) or 0
    current = _received(later, notes, dict.fromkeys(rewritten, cut))
    old = {version.note_id: version for version in _received(earlier, changed.drop("now"), {})} if earlier else {}
    fitted: dict[int, tuple[float | None, float | None]] = {}
    if fit:
        table = pl.scan_parquet(fit / "notes.parquet").filter(pl.col("noteId").is_in(notes["noteId"].implode()))
        columns = [name for name in ("noteId", "intercept", "intercept_sd") if name in table.collect_schema()]
        for row in table.select(columns).collect().iter_rows(named=True):
            fitted[row["noteId"]] = row["intercept"], row.get("intercept_sd")
    found: dict[Any, list[list[Version]]] = {}
    for row, version in zip(notes.iter_rows(named=True), current, strict=True):
        intercept, sd = fitted.get(version.note_id, (None, None))
        new = [replace(version, intercept=intercept, intercept_sd=sd)]
        new = [old[version.note_id], *new] if version.note_id in old else new
        author = row["noteAuthorParticipantId"] or row["noteId"]
        of_author = found.setdefault((version.post_id, author, version.stance), [])
        like = max(of_author, key=lambda versions: _alike(versions[-1].text, new[0].text), default=None)
        if like is None or _alike(like[-1].text, new[0].text) < _SAME:
            of_author.append(new)  # the same author on another matter
        else:
            like += new
    return [versions for of_author in found.values() for versions in of_author if len(versions) > 1]


def _alike(a: str, b: str) -> float:
    """Share of the shorter text's words of content that the other has, links apart."""
    said = sorted((content(tokens(without_urls(text))) for text in (a, b)), key=len)
    return overlap(*said)


def _collaborative(snapshot: Path, posts: Sequence[int] | None) -> pl.DataFrame:
    columns = ["noteId", "tweetId", "noteAuthorParticipantId", "createdAtMillis", "classification", "summary"]
    notes = read_table(snapshot, "notes", [*columns, "isCollaborativeNote"]).filter(pl.col("isCollaborativeNote"))
    if posts is not None:
        notes = notes.filter(pl.col("tweetId").is_in(list(posts)))
    return notes.select(columns).sort("tweetId", "createdAtMillis", "noteId").collect()


def _received(snapshot: Path, notes: pl.DataFrame, since: dict[int, int]) -> list[Version]:
    """The notes as versions with their ratings and suggestions, of some only those after a moment."""
    ids = notes["noteId"].implode()
    after = pl.DataFrame(
        {"noteId": list(since), "since": list(since.values())}, schema={"noteId": pl.Int64, "since": pl.Int64}
    )

    def about(name: str, columns: list[str]) -> pl.DataFrame:
        if not (snapshot / f"{name}.parquet").is_file():  # snapshots before version 0.7 kept no suggestions
            return pl.DataFrame(schema={"noteId": pl.Int64} | dict.fromkeys(columns, pl.String))
        rows = read_table(snapshot, name, ["noteId", "createdAtMillis", *columns]).filter(pl.col("noteId").is_in(ids))
        timed = rows.collect().join(after, on="noteId", how="left", maintain_order="left")
        return timed.filter(pl.col("since").is_null() | (pl.col("createdAtMillis") > pl.col("since")))

    ratings = (
        about("ratings", ["helpfulness"])
        .group_by("noteId")
        .agg(pl.len(), mean=pl.col("helpfulness").cast(pl.Float64).mean())
    )
    said = about("suggestions", ["suggestion"]).group_by("noteId").agg(pl.col("suggestion").unique(maintain_order=True))
    rated = {note: (n, mean) for note, n, mean in ratings.iter_rows()}
    suggested = dict(said.iter_rows())
    return [
        Version(post, note, text, stance, *rated.get(note, (0, None)), tuple(suggested.get(note, ())))
        for note, post, stance, text in notes.select("noteId", "tweetId", "classification", "summary").iter_rows()
    ]


def taken(suggestion: str, before: str, after: str) -> bool:
    """Whether the next version did what was suggested, as far as words show: a link it named is new, or half of its own words are."""
    if {span.text for span in find_urls(suggestion)} & (
        {s.text for s in find_urls(after)} - {s.text for s in find_urls(before)}
    ):
        return True
    had, has = _words(before), _words(after)
    own = _words(suggestion) - had
    return bool(own) and len(own & has) >= _TAKEN * len(own)


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", without_urls(text).lower()) if len(word) >= 4 or word.isdigit()}


def gain(before: Version, after: Version) -> float | None:
    """How much better the later version was received, in mean rating; None where either has too few ratings to say."""
    if before.helpfulness is None or after.helpfulness is None or min(before.n_ratings, after.n_ratings) < FEWEST:
        return None
    return after.helpfulness - before.helpfulness


def gain_of_intercept(before: Version, after: Version) -> float | None:
    """How much better the later version was received across viewpoints: the one measure of rows and pairs.

    None where the fit does not know both, or where either has too few ratings.
    """
    if before.intercept is None or after.intercept is None or min(before.n_ratings, after.n_ratings) < FEWEST:
        return None
    return after.intercept - before.intercept


def contradictory(before: Version, after: Version) -> bool:
    """Whether the intercepts say that one version is the better and the mean ratings that the other is."""
    return (gain_of_intercept(before, after) or 0.0) * (gain(before, after) or 0.0) < 0


def prompt_for(stance: str, asked: Iterable[tuple[str, str]]) -> str | None:
    """The one prompt under which a post's versions stand: the first that asked for a draft of their stance. `asked`: (prompt, stance)."""
    return min((prompt for prompt, wanted in asked if wanted == stance), default=None)


def feedback_on(before: Version, after: Version) -> str:
    """What raters suggested for a version, in words, what was taken first; '' where nobody suggested anything."""
    cleaned = [" ".join(clean_text(said).split())[:280] for said in before.suggestions]
    told = sorted((said for said in cleaned if said), key=lambda said: not taken(said, before.text, after.text))
    return f"Raters suggested: {'; '.join(f'“{said}”' for said in told[:MOST_TOLD])}" if told else ""


def report(series: Iterable[Sequence[Version]]) -> dict[str, Any]:
    """Which suggestions were taken and whether they helped: counts, and the mean gain of steps with and without one taken.

    Gains here are of mean ratings: of a text rewritten under its id no fit knows both intercepts.
    """
    steps = [step for versions in series for step in pairwise(versions)]
    gains: dict[bool, list[float]] = {True: [], False: []}
    n_suggestions = n_taken = 0
    for before, after in steps:
        kept = [taken(said, before.text, after.text) for said in before.suggestions]
        n_suggestions, n_taken = n_suggestions + len(kept), n_taken + sum(kept)
        if (better := gain(before, after)) is not None:
            gains[any(kept)].append(better)

    def mean(values: list[float]) -> float | None:
        return round(sum(values) / len(values), 4) if values else None

    return {
        "steps": len(steps),
        "suggestions": n_suggestions,
        "taken": n_taken,
        "steps_with_enough_ratings": {"one_taken": len(gains[True]), "none_taken": len(gains[False])},
        "mean_gain": {"one_taken": mean(gains[True]), "none_taken": mean(gains[False])},
        "share_better": {"one_taken": mean([float(g > 0) for g in gains[True]]), "none_taken": mean([float(g > 0) for g in gains[False]])},
    }  # fmt: skip

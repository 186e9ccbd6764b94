"""How a trained jury would receive loose texts: `supernotes rate-text`, JSON lines in, JSON lines out (interfaces.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jury.judge.chance import helpful_chance
from jury.model.features import MISLEADING
from jury.model.hierarchical import HierarchicalModel
from jury.records import SIDES, JudgedText, Jury, Ratings, Sibling
from nouns.errors import InputError

Z90 = 1.6449
REASONS_PER_SIDE = 2


def rate_lines(
    jury: Path, lines: Iterable[Mapping[str, Any]], *, model: str = "model", cache: Path | None = None
) -> Iterator[dict[str, Any]]:
    """One result per line, in order. Sides are represented by up to 400 raters of the jury, at even steps of the factor line."""
    from jury.model.store import load_model
    from jury.opened import open_jury
    from jury.train.evaluate import standard_jury

    directory = open_jury(jury)
    trained = load_model(directory.path, model, cache)
    sides = standard_jury(directory.raters, directory.global_intercept, 400)
    for number, line in enumerate(lines, start=1):
        yield rate_one(trained, sides, line, number)


def rate_one(model: HierarchicalModel, sides: Jury, line: Mapping[str, Any], number: int = 1) -> dict[str, Any]:
    """The result of one line; raises InputError naming the line and the field that is missing or wrong."""
    text = read_line(line, number)
    rated = model.seat(sides).rate([text])
    judged = model.judge([text])
    score, sd = float(judged.mean[0, 0]), float(rated.sd[0])
    from jury.records import side_of

    side = side_of(sides.factor)
    helpful = {
        name: (float(rated.probabilities[side == s, 0, 2].mean()) if (side == s).any() else None)
        for s, name in enumerate(SIDES)
    }
    reasons = {}
    for s, name in enumerate(SIDES):
        top: list[int] = (
            np.argsort(-rated.reasons[0, s], kind="stable")[:REASONS_PER_SIDE].tolist() if rated.tags else []
        )
        reasons[name] = [{"tag": rated.tags[k], "probability": round(float(rated.reasons[0, s, k]), 4)} for k in top]
    result: dict[str, Any] = {
        "id": text.id,
        "score": score,
        "lower": score - Z90 * sd,
        "upper": score + Z90 * sd,
        "factor": float(judged.mean[0, 1]),
        "helpful_chance": float(helpful_chance(judged.mean[0, 0], rated.sd[0], judged.mean[0, 1], model.chance)),
        "helpful": helpful,
        "reasons": reasons,
    }
    people = line.get("raters")
    if people is not None:
        i_u = np.array([_number(p, "intercept", number) for p in people])
        f_u = np.array([_number(p, "factor", number) for p in people])
        ids = tuple(str(p.get("rater_id") or "") for p in people)
        jury = Jury(ids, i_u, f_u, sides.global_intercept, "given", 0)
        chances = model.seat(jury).rate([text]).probabilities[:, 0] if len(people) else np.zeros((0, 3))
        result["probabilities"] = [[round(float(v), 6) for v in row] for row in chances]
    return result


def read_line(line: Mapping[str, Any], number: int = 1) -> JudgedText:
    """A JudgedText from one JSON object."""
    if not isinstance(line, Mapping):
        raise InputError(f"line {number} is a {type(line).__name__}; a JSON object with id and note_text is expected.")
    note = line.get("note_text")
    if not isinstance(note, str) or not note.strip():
        raise InputError(f"line {number}: note_text is {note!r}; a text that is not empty is expected.")
    siblings = line.get("siblings") or []
    if not isinstance(siblings, list):
        raise InputError(f"line {number}: siblings is a {type(siblings).__name__}; a list is expected.")
    return JudgedText(
        id=str(line.get("id", number)),
        text=note,
        classification=str(line.get("classification") or MISLEADING),
        post_text=line.get("post_text"),
        language=line.get("language"),
        siblings=tuple(_sibling(s, number) for s in siblings),
    )


def _sibling(entry: Any, number: int) -> Sibling:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("text"), str):
        raise InputError(f"line {number}: a sibling needs a text and a classification; found {entry!r:.200}.")
    ratings = entry.get("ratings") or []
    known = Ratings(
        tuple(str(r.get("rater_id") or "") for r in ratings),
        np.array([_number(r, "intercept", number) for r in ratings], dtype=np.float64),
        np.array([_number(r, "factor", number) for r in ratings], dtype=np.float64),
        np.array([_value(r, number) for r in ratings], dtype=np.float64),
        np.full(len(ratings), -1, dtype=np.int64),
    )
    note_id = entry.get("note_id")
    return Sibling(
        int(note_id) if note_id is not None and str(note_id).isdigit() else None,
        entry["text"],
        str(entry.get("classification") or MISLEADING),
        None if entry.get("intercept") is None else _number(entry, "intercept", number),
        None if entry.get("factor") is None else _number(entry, "factor", number),
        known,
    )


def _number(entry: Mapping[str, Any], name: str, number: int) -> float:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise InputError(f"line {number}: {name} is {value!r}; a finite number is expected.")
    return float(value)


def _value(entry: Mapping[str, Any], number: int) -> float:
    value = _number(entry, "value", number)
    if value not in (0.0, 0.5, 1.0):
        raise InputError(
            f"line {number}: a rating's value is {value!r}; 0 (not helpful), 0.5 (somewhat) or 1 (helpful) is expected."
        )
    return value

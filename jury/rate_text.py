"""How a trained jury would receive loose texts: `supernotes rate-text`, JSON lines in, JSON lines out (interfaces.md)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jury.judge.chance import helpful_chance
from jury.model.features import MISLEADING
from jury.model.hierarchical import HierarchicalModel
from jury.records import SIDES, JudgedText, Jury, Ratings, Sibling, side_of
from nouns.errors import InputError

Z90 = 1.6449
REASONS_PER_SIDE = 2
AT_ONCE = 256  # lines read, embedded and rated together


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
    numbered = enumerate(lines, start=1)
    while some := list(itertools.islice(numbered, AT_ONCE)):
        yield from rate_many(trained, sides, some)


def rate_many(
    model: HierarchicalModel, sides: Jury, lines: Sequence[tuple[int, Mapping[str, Any]]]
) -> Iterator[dict[str, Any]]:
    """The results of numbered lines; raises InputError naming the line and the field that is missing or wrong."""
    texts = [read_line(line, number) for number, line in lines]
    people = [_people(line, number) for number, line in lines]
    rated, judged = model.seat(sides).rate(texts), model.judge(texts)
    side = side_of(sides.factor)
    for t, (text, jury) in enumerate(zip(texts, people, strict=True)):
        score, sd = float(judged.mean[t, 0]), float(rated.sd[t])
        helpful = {
            name: (float(rated.probabilities[side == s, t, 2].mean()) if (side == s).any() else None)
            for s, name in enumerate(SIDES)
        }
        reasons = {}
        for s, name in enumerate(SIDES):
            top: list[int] = (
                np.argsort(-rated.reasons[t, s], kind="stable")[:REASONS_PER_SIDE].tolist() if rated.tags else []
            )
            reasons[name] = [
                {"tag": rated.tags[k], "probability": round(float(rated.reasons[t, s, k]), 4)} for k in top
            ]
        result: dict[str, Any] = {
            "id": text.id,
            "score": score,
            "lower": score - Z90 * sd,
            "upper": score + Z90 * sd,
            "factor": float(judged.mean[t, 1]),
            "helpful_chance": float(helpful_chance(judged.mean[t, 0], rated.sd[t], judged.mean[t, 1], model.chance)),
            "helpful": helpful,
            "reasons": reasons,
        }
        if jury is not None:
            seated = Jury(jury.rater_ids, jury.intercept, jury.factor, sides.global_intercept, "given", 0)
            chances = model.seat(seated).rate([text]).probabilities[:, 0] if len(jury) else np.zeros((0, 3))
            result["probabilities"] = [[round(float(v), 6) for v in row] for row in chances]
        yield result


def _people(line: Mapping[str, Any], number: int) -> Jury | None:
    """The raters a line asks about, None where it asks about none."""
    people = line.get("raters")
    if people is None:
        return None
    if not isinstance(people, list) or not all(isinstance(entry, Mapping) for entry in people):
        raise InputError(
            f"line {number}: raters is {str(people)[:80]}; a list of objects with intercept and factor is expected, "
            'for example [{"rater_id": "a", "intercept": 0.1, "factor": -0.4}].'
        )
    return Jury(
        tuple(str(entry.get("rater_id") or "") for entry in people),
        np.array([_number(entry, "intercept", number) for entry in people], dtype=np.float64),
        np.array([_number(entry, "factor", number) for entry in people], dtype=np.float64),
        0.0,
        "given",
        0,
    )


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
        published=_flag(line, "published", number),
    )


def _flag(line: Mapping[str, Any], name: str, number: int) -> bool:
    value = line.get(name)
    if value is not None and not isinstance(value, bool):
        raise InputError(f"line {number}: {name} is {value!r}; true or false is expected.")
    return bool(value)


def _sibling(entry: Any, number: int) -> Sibling:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("text"), str):
        raise InputError(f"line {number}: a sibling needs a text and a classification; found {entry!r:.200}.")
    ratings = entry.get("ratings") or []
    if not isinstance(ratings, list) or not all(isinstance(r, Mapping) for r in ratings):
        raise InputError(
            f"line {number}: a sibling's ratings is {str(ratings)[:80]}; a list of objects with intercept, factor and value is expected."
        )
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

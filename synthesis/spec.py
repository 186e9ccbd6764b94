"""The note spec as records: the principles a note is checked against, from `synthesis/note_spec.toml`."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nouns.errors import InputError

SPEC_FILE = Path(__file__).resolve().parent / "note_spec.toml"
_REQUIRED = ("id", "check", "wording", "how", "good", "bad", "since", "why")
_OPTIONAL = ("question", "pass")
_ID = re.compile(r"[a-z]+\.[a-z_]+")


@dataclass(frozen=True)
class Principle:
    """One principle. `question` may be put to a judging model; `good_answer` is then 'yes' or 'no'."""

    id: str
    check: str
    wording: str
    how: str
    good: tuple[str, ...]
    bad: tuple[str, ...]
    since: str
    why: str
    question: str | None = None
    good_answer: str | None = None


@dataclass(frozen=True)
class NoteSpec:
    version: str
    date: str
    principles: tuple[Principle, ...]

    def __getitem__(self, principle_id: str) -> Principle:
        for principle in self.principles:
            if principle.id == principle_id:
                return principle
        raise KeyError(f"The note spec {self.version} has no principle {principle_id!r}.")

    def of_check(self, check: str) -> tuple[Principle, ...]:
        return tuple(principle for principle in self.principles if principle.check == check)


def read_note_spec(path: Path = SPEC_FILE) -> NoteSpec:
    """The spec in a file, validated: every field there, ids unique and well formed, questions with their good answer.

    Raises `InputError` naming the principle and the field.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"The note spec {path} cannot be read: {error}. Expected TOML in UTF-8.") from error
    version = str(table.get("version", ""))
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise InputError(f"The note spec {path} has version = {version!r}; expected three numbers such as '1.0.0'.")
    unknown = sorted(set(table) - {"version", "date", "principle"})
    if unknown:
        raise InputError(f"The note spec {path} has unknown keys {unknown}; expected version, date and [[principle]].")
    rows = table.get("principle") or []
    principles = tuple(_principle(row, number, path) for number, row in enumerate(rows, start=1))
    if not principles:
        raise InputError(f"The note spec {path} holds no [[principle]]; nothing could be checked.")
    seen: set[str] = set()
    for principle in principles:
        if principle.id in seen:
            raise InputError(f"The note spec {path} has two principles {principle.id!r}; ids are never reused.")
        seen.add(principle.id)
    return NoteSpec(version=version, date=str(table.get("date", "")), principles=principles)


def _principle(row: dict, number: int, path: Path) -> Principle:
    name = row.get("id", f"number {number}")
    missing = [key for key in _REQUIRED if not row.get(key)]
    unknown = sorted(set(row) - set(_REQUIRED) - set(_OPTIONAL))
    if missing or unknown:
        raise InputError(
            f"Principle {name} of {path}: missing or empty {missing}, unknown {unknown}; expected {list(_REQUIRED)}."
        )
    for key in _REQUIRED + _OPTIONAL:
        expected = list if key in ("good", "bad") else str
        if key in row and not isinstance(row[key], expected):
            raise InputError(f"Principle {name} of {path}: {key} is {row[key]!r}; expected a {expected.__name__}.")
    if not _ID.fullmatch(row["id"]):
        raise InputError(f"Principle id {row['id']!r} of {path} is not of the form 'family.name' in small letters.")
    if ("question" in row) != ("pass" in row) or row.get("pass", "yes") not in ("yes", "no"):
        raise InputError(f"Principle {name} of {path}: a question needs pass = 'yes' or 'no', and the other way round.")
    return Principle(
        id=row["id"],
        check=row["check"],
        wording=row["wording"],
        how=row["how"],
        good=tuple(map(str, row["good"])),
        bad=tuple(map(str, row["bad"])),
        since=row["since"],
        why=row["why"],
        question=row.get("question"),
        good_answer=row.get("pass"),
    )


@lru_cache(maxsize=1)
def note_spec() -> NoteSpec:
    """The spec shipped with this version."""
    return read_note_spec()

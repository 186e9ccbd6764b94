"""Every setting of the pipeline, read once: defaults < supernotes.toml < SUPERNOTES_... environment < flags.

Tables bear the stages' names; the rooms own the fields of their stages. An unknown key is an error that names its
nearest neighbour. The file `supernotes.toml` in the current directory is read if there is one:

    [judge_candidates]
    n_jurors = 500

The same from the environment is `SUPERNOTES_JUDGE_CANDIDATES__N_JURORS=500`, and from the command line
`--set judge_candidates.n_jurors=500`. Secrets are never settings: a setting names the environment variable that holds one.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import json
import os
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.fetch_settings import FetchSettings
from nouns.errors import InputError
from nouns.stage import Stage, changes_output, speed
from nouns.stages import STAGES

PREFIX = "SUPERNOTES_"


@dataclass(frozen=True)
class RunSettings:
    """How a run is carried out."""

    # Posts that one task or one pass of a per-post stage treats: bounds memory (0.64 GB at 1,000, 0.43 GB at 250) and how much of
    # the time is starting tasks (docs/airflow.md).
    posts_per_shard: int = speed(1000)
    seed: int = 20241109  # the one seed from which every stage's randomness derives
    # Fail a per-post stage whose model server was away for good, so that the retry asks for what is missing; false: go on with
    # the answers there are, finished for ever.
    require_complete: bool = speed(True)
    # A jury that the workspace trained on an earlier day of the same data serves until the newest rating is so many days younger than
    # its own; 0: a new jury for every snapshot. `refresh_jury` in Airflow trains on its own calendar.
    jury_days: float = 7.0
    # Rows of posts that did not change are copied from an earlier run of the workspace instead of being worked on again.
    carry: bool = True


def _class_of(stage: Stage) -> type:
    return getattr(importlib.import_module(f"{stage.step.split('.')[0]}.settings"), stage.settings_class)


if TYPE_CHECKING:

    class Settings:
        """One table per stage, one for the run, one for fetching X's files; frozen."""

        def __init__(self, **tables: Any) -> None: ...

        def __getattr__(self, name: str) -> Any: ...

else:
    Settings = dataclasses.make_dataclass(
        "Settings",
        [
            ("run", RunSettings, field(default_factory=RunSettings)),
            ("fetch_snapshot", FetchSettings, field(default_factory=FetchSettings)),
            *((stage.name, _class_of(stage), field(default_factory=_class_of(stage))) for stage in STAGES),
        ],
        frozen=True,
        namespace={"__doc__": "One table per stage, one for the run, one for fetching X's files; frozen."},
    )
    Settings.__module__ = __name__  # so that it can be handed to another process


def changed(settings: Settings, **tables: Any) -> Settings:
    """The settings with other tables, each a whole settings record of its stage."""
    return typing.cast(Settings, dataclasses.replace(typing.cast(Any, settings), **tables))


def speed_fields(cls: type, where: str = "") -> frozenset[str]:
    """`table.field` names below a settings class that never change an output: threads, addresses, timeouts."""
    hints = typing.get_type_hints(cls)
    found: set[str] = set()
    for entry in dataclasses.fields(cls):
        name = f"{where}.{entry.name}" if where else entry.name
        if dataclasses.is_dataclass(hints[entry.name]):
            found |= speed_fields(typing.cast(type, hints[entry.name]), name)
        elif not changes_output(entry):
            found.add(name)
    return frozenset(found)


def load_settings(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Iterable[str] = (),
) -> Settings:
    """Settings from all four sources: defaults and whatever `given_values` finds. Raises as it does."""
    return _build(Settings, given_values(file, environment, flags), "")


def given_values(
    file: Path | None = None, environment: Mapping[str, str] | None = None, flags: Iterable[str] = ()
) -> dict[str, Any]:
    """What a file, the environment and flags say of settings, table by table; what nobody said is not there.

    `file`: a TOML file; None reads `supernotes.toml` of the current directory if it exists. `environment`: defaults to
    the process's. `flags`: `table.key=value` strings. Raises `InputError` for an unknown key or a value of the wrong type.
    """
    values: dict[str, Any] = {}
    if file is None and Path("supernotes.toml").is_file():
        file = Path("supernotes.toml")
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8")
            values = tomllib.loads(text)
        except FileNotFoundError as error:
            raise InputError(
                f"The settings file {str(file)!r} does not exist. Give --config an existing TOML file."
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"The settings file {str(file)!r} is not valid TOML: {error}.") from error
    for name, text in sorted((os.environ if environment is None else environment).items()):
        if name.startswith(PREFIX) and "__" in name[len(PREFIX) :]:
            path = name[len(PREFIX) :].lower().split("__")
            _assign(values, path, _parse(text), name)
    return _flagged(values, flags)


def with_given(settings: Settings, table: str, given: Mapping[str, Any]) -> Settings:
    """The settings with what was given for one table; what was not said stays as it is."""
    values = as_dict(settings)
    values[table] |= given.get(table, {})
    return _build(Settings, values, "")


def changed_by_flags(settings: Settings, flags: Iterable[str]) -> Settings:
    """The settings with some `table.key=value` strings applied; raises as `load_settings` does."""
    return _build(Settings, _flagged(as_dict(settings), flags), "")


def _flagged(values: dict[str, Any], flags: Iterable[str]) -> dict[str, Any]:
    for flag in flags:
        key, sign, text = flag.partition("=")
        if not sign or "." not in key:
            raise InputError(
                f"--set {flag!r} is not of the form table.key=value, for example judge_candidates.n_jurors=500."
            )
        _assign(values, key.strip().split("."), _parse(text), f"--set {flag}")
    return values


def _parse(text: str) -> Any:
    """A TOML value where the text is one, else the text itself."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def _assign(values: dict[str, Any], path: list[str], value: Any, origin: str) -> None:
    table = values
    for part in path[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise InputError(f"{origin}: {part!r} is a value, not a table of settings.")
    table[path[-1]] = value


def _build(cls: type, values: Any, where: str) -> Any:
    """An instance of the dataclass `cls` from nested dictionaries, every key and type checked."""
    if not isinstance(values, dict):
        raise InputError(f"settings.{where} is {values!r}, but a table of settings was expected.")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    arguments = {}
    for key, value in values.items():
        name = f"{where}.{key}" if where else key
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "known here: " + ", ".join(sorted(fields)) + "."
            raise InputError(f"settings.{name} is not known; {hint}")
        kind = hints[key]
        if dataclasses.is_dataclass(kind):
            arguments[key] = _build(typing.cast(type, kind), value, name)
        else:
            arguments[key] = _typed(kind, value, name)
    try:
        return cls(**arguments)
    except ValueError as error:  # a settings class may check its own values
        raise InputError(f"settings.{where}: {error}") from error


def _typed(kind: Any, value: Any, name: str) -> Any:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        shown = getattr(kind, "__name__", None) or str(kind)
        raise InputError(
            f"settings.{name} = {value!r} does not fit: {error.errors()[0]['msg']}; expected {shown}."
        ) from error


def as_dict(settings: Any) -> dict[str, Any]:
    """A settings tree as plain JSON-able dictionaries."""
    return json.loads(json.dumps(dataclasses.asdict(settings), default=str))


def output_settings(settings: Settings, stage: str) -> dict[str, Any]:
    """The settings of a stage that can change its output: what enters its fingerprint."""
    table = getattr(settings, stage)
    left_out = speed_fields(type(table))
    return {key: value for key, value in as_dict(table).items() if key not in left_out}


def settings_from_dict(values: dict[str, Any]) -> Settings:
    """The inverse of `as_dict`. Raises `InputError` for a setting this version does not know."""
    return _build(Settings, values, "")


def settings_of_run(values: dict[str, Any]) -> tuple[Settings, tuple[str, ...]]:
    """Settings kept with a run, perhaps by an older version, and the names of those this version no longer has.

    A run must stay readable when a setting is retired. Resuming it is safe all the same: a stage's fingerprint holds its
    settings and its code, so what the retired setting decided is done again rather than taken for the same.
    """
    known, retired = _split(Settings, values, "")
    return settings_from_dict(known), tuple(retired)


def _split(cls: type, values: dict[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    hints = typing.get_type_hints(cls)
    known: dict[str, Any] = {}
    retired: list[str] = []
    for key, value in values.items():
        name = f"{where}.{key}" if where else key
        if key not in hints:
            retired.append(name)
        elif dataclasses.is_dataclass(hints[key]) and isinstance(value, dict):
            known[key], inner = _split(typing.cast(type, hints[key]), value, name)
            retired += inner
        else:
            known[key] = value
    return known, retired

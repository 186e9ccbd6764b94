"""The reward for GRPO and RLOO: the checks first, then the jury, for every completion, as TRL calls it.

`trl_grpo.yaml` names `jury_reward`, the total, and beside it its parts `sides_reward`, `checks_reward` and `length_reward`: with
weight 0, to be watched, or to be weighed by trainers that take several. They find the run by environment variables, read
once on the first call: SUPERNOTES_REWARD_RUN, the run's directory or its id in SUPERNOTES_REWARD_WORKSPACE; or one by one
SUPERNOTES_REWARD_JURY, _SNAPSHOT, _PARAMETERS and _CLUSTERS, each the directory of the stage that wrote it (`train_jury`,
`ingest`, `fit_raters`, `cluster_notes`), which win over the run's. From Python, `make_jury_reward` takes the directories.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feedback.export.redaction import notes_in
from jury.judge.context import read_contexts
from jury.judge.judge import PostTexts, judge
from jury.judge.stage import open_bench, seat_juries
from jury.records import JudgedText, RaterModel
from jury.settings import JudgeCandidatesSettings
from nouns.errors import InputError
from nouns.post import MISLEADING
from storage.runs import local
from storage.store import Store
from synthesis.check.check import check_text, passed
from synthesis.draft.prompts import read_completion, read_reply
from synthesis.settings import CheckCandidatesSettings
from texts.note import clean_text, note_length

Reward = Callable[..., list[float]]

FLOOR = -1.0
"""Reward of what could never be a note: no reply that can be read, a failed check, a text the jury can't judge. Below every real score."""

DOUBT = 0.5
"""Standard deviations (within the post) taken off the score: where the jury does not know, it does not praise."""

REMEMBERED = 20_000  # rewarded texts kept: every part of the reward is asked about the same completions


@dataclass(frozen=True)
class Rewarded:
    """What one completion earns. `total` is FLOOR unless it was read, passed every check and was judged.

    `sides`: the smaller of the helpful shares of the two sides of the factor line, 0 to 1, 0 where not judged. `checks`: 1 if
    every check passed, else 0. `length`: 0 where the note fits, minus the share by which it is too long, at least -1; -1
    where there is no note.
    """

    total: float = FLOOR
    sides: float = 0.0
    checks: float = 0.0
    length: float = -1.0


@dataclass(frozen=True)
class _Asked:
    """A text to be rewarded, as the checks and the jury see it; hashable, so that it is asked about once."""

    post_id: int
    text: str
    sources: tuple[str, ...]  # texts it may rest on
    source_note_ids: tuple[int, ...]
    classification: str
    language: str | None


class JuryReward:
    """The reward before the proxy jury of a run. Call it as TRL does for the total, or ask `rewarded` for all parts."""

    __name__ = "jury_reward"  # TRL logs by this name

    def __init__(
        self,
        *,
        jury: Path,
        snapshot: Path,
        parameters: Path,
        clusters: Path,
        settings: JudgeCandidatesSettings | None = None,
        check_settings: CheckCandidatesSettings | None = None,
        seed: int = 0,
        cache: Path | None = None,
        model: RaterModel | None = None,
    ) -> None:
        self._settings = settings or JudgeCandidatesSettings()
        self._checks = check_settings or CheckCandidatesSettings()
        main, _ = seat_juries(self._settings, jury, parameters, seed)
        self._bench = open_bench(main, self._settings, jury, parameters, cache, model)
        self._where, self._jury = (snapshot, parameters, clusters), jury
        self._context = functools.lru_cache(maxsize=4096)(self._read_context)
        self._known: dict[_Asked, Rewarded] = {}

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        return [rewarded.total for rewarded in self.rewarded(prompts, completions, **columns)]

    def rewarded(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[Rewarded]:
        """All parts of every completion's reward. `columns` are those of the `grpo` config.

        Raises `InputError` without `post_id`.
        """
        posts = columns.get("post_id") or ()
        if len(posts) != len(completions):
            raise InputError(
                "The jury's reward needs the column post_id for every completion; train on the export's grpo config with "
                "remove_unused_columns: false."
            )
        asked = [
            self._asked(prompts[i], completion, {name: values[i] for name, values in columns.items() if _is_column(values, i)})
            for i, completion in enumerate(completions)
        ]  # fmt: skip
        new = dict.fromkeys(a for a in asked if a is not None and a not in self._known)
        if len(self._known) + len(new) > REMEMBERED:
            self._known = {}
            new = dict.fromkeys(a for a in asked if a is not None)
        self._known |= self._reward(list(new))
        return [Rewarded() if a is None else self._known[a] for a in asked]

    def _asked(self, prompt: Any, completion: Any, row: dict[str, Any]) -> _Asked | None:
        """None where no note can be read from the reply, or its post is not of this run."""
        reply = text_of(completion)
        form = row.get("reply_form")
        note = read_reply(reply, form) if form else read_completion(reply)
        text = " ".join(clean_text(note).split()) if note else ""
        post = int(row["post_id"])
        context = self._context(post)
        if not text or context is None:
            return None
        ids = tuple(int(note) for note in row.get("source_note_ids") or ())
        shown = notes_in(prompt) if not isinstance(prompt, str) else ()
        sources = shown or [s.text for s in context.siblings if not ids or s.note_id in ids]
        kind = row.get("classification") or MISLEADING
        return _Asked(post, text, tuple(sources), ids, kind, row.get("language") or context.language)

    def _read_context(self, post: int) -> Any:
        return read_contexts(*self._where, [post], self._jury).get(post)

    def _reward(self, asked: Sequence[_Asked]) -> dict[_Asked, Rewarded]:
        found: dict[_Asked, Rewarded] = {}
        by_post: dict[int, list[JudgedText]] = {}
        for i, a in enumerate(asked):
            context = self._context(a.post_id)
            found[a] = checked(a.text, a.sources, context.text, a.language, self._checks)
            if found[a].checks:
                seen = context.judged_candidate(str(i), a.text, a.classification, a.language, a.source_note_ids)
                by_post.setdefault(a.post_id, []).append(seen)
        waiting = (PostTexts(post, tuple(texts)) for post, texts in by_post.items())
        for _, rows in judge(self._bench, waiting, self._settings.batch):
            for row in rows:
                a = asked[int(row["candidate_id"])]
                found[a] = judged(found[a], row)
        return found


def checked(
    text: str,
    sources: Sequence[str],
    post_text: str | None,
    language: str | None,
    settings: CheckCandidatesSettings,
) -> Rewarded:
    """The reward of a text before any jury has heard it: the floor, with what the checks and its length say."""
    over = note_length(text) / settings.max_length - 1
    results = check_text(text, tuple(sources), post_text=post_text, language=language, settings=settings)
    return Rewarded(checks=float(passed(results)), length=-min(max(over, 0.0), 1.0))


def judged(before: Rewarded, verdict: dict[str, Any]) -> Rewarded:
    """The reward of a text that passed its checks, with its verdict: bridging intercept less half its within-post error."""
    if not before.checks or verdict["unjudged_reason"] is not None:
        return before
    sides = [verdict["helpful_negative"], verdict["helpful_positive"]]
    least = min((share for share in sides if share is not None), default=0.0)
    total = verdict["score_bridging_intercept"] - DOUBT * verdict["sd_within"]
    return Rewarded(max(total, FLOOR), least, before.checks, before.length)


def text_of(completion: Any) -> str:
    """The text of a completion as TRL hands it over: a string, or a conversation whose last message it is."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def _is_column(values: Any, i: int) -> bool:
    return isinstance(values, (list, tuple)) and i < len(values)


make_jury_reward = JuryReward
"""The reward as a function `(prompts, completions, post_id, ...) -> totals`, from directories."""


# -- the rewards that trl_grpo.yaml names --------------------------------------------------------------------------


def jury_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
    """The total: the floor for a text that fails a check, else the jury's score less its doubt."""
    return [r.total for r in _from_environment().rewarded(prompts, completions, **columns)]


def sides_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
    """The helpful share of the side that likes the text less."""
    return [r.sides for r in _from_environment().rewarded(prompts, completions, **columns)]


def checks_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
    """1 for a text that passes every check, else 0."""
    return [r.checks for r in _from_environment().rewarded(prompts, completions, **columns)]


def length_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
    """0 for a note that fits, below it by how much it is too long."""
    return [r.length for r in _from_environment().rewarded(prompts, completions, **columns)]


REWARDS = (jury_reward, sides_reward, checks_reward, length_reward)
"""In the order of `trl_grpo.yaml`, the total first."""

_STAGES = {"jury": "train_jury", "snapshot": "ingest", "parameters": "fit_raters", "clusters": "cluster_notes"}


@functools.cache
def _from_environment() -> JuryReward:
    names = (*_STAGES, "run", "workspace")
    at = directories_of({name: os.environ.get(f"SUPERNOTES_REWARD_{name.upper()}", "") for name in names})
    return JuryReward(jury=at["jury"], snapshot=at["snapshot"], parameters=at["parameters"], clusters=at["clusters"])


def directories_of(given: dict[str, str]) -> dict[str, Path]:
    """The four directories of the reward, from `run` and `workspace` or one by one.

    Raises `InputError` naming what to set.
    """
    found = {name: Path(given[name]) for name in _STAGES if given.get(name)}
    if given.get("run"):
        workspace = Path(given["workspace"]) if given.get("workspace") else None
        run = Path(given["run"]) if workspace is None else workspace / "runs" / Path(given["run"]).name
        if not run.is_dir():
            raise InputError(
                f"There is no run {str(run)!r}. Set SUPERNOTES_REWARD_RUN to a run's directory, or to its id and "
                "SUPERNOTES_REWARD_WORKSPACE to the workspace that holds it."
            )
        store = Store(str(run.absolute().parent.parent))
        for name, stage in _STAGES.items():
            there = local(store, run.name, stage)
            if there.is_dir():
                found.setdefault(name, there)
    missing = [f"SUPERNOTES_REWARD_{name.upper()}" for name in _STAGES if name not in found]
    if missing:
        raise InputError(
            "The jury's reward does not know its jury: set SUPERNOTES_REWARD_RUN (and SUPERNOTES_REWARD_WORKSPACE) to a finished run, "
            f"or {', '.join(missing)} to the directories of its stages."
        )
    return found

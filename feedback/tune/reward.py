"""The jury as a reward function for GRPO and RLOO: a score for every completion, as TRL calls it.

`jury_reward` is what `trl_grpo.yaml` names. It finds its jury by four environment variables, read once on the first call:
SUPERNOTES_REWARD_JURY, _SNAPSHOT, _PARAMETERS and _CLUSTERS, each the directory of the stage that wrote it
(`train_jury`, `ingest`, `fit_raters`, `cluster_notes`). From Python, `make_jury_reward` takes the directories.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jury.judge.context import read_contexts
from jury.judge.judge import PostTexts, judge
from jury.judge.stage import open_bench, seat_juries
from jury.records import RaterModel
from jury.settings import JudgeCandidatesSettings
from nouns.errors import InputError
from texts.note import note_length

Reward = Callable[..., list[float]]

MAX_LENGTH = 280

FAILED = -1.0
"""Reward of a completion that could never be a note: empty, too long by X's rule, or not judged. Below every real score."""


def text_of(completion: Any) -> str:
    """The text of a completion as TRL hands it over: a string, or a conversation whose last message it is."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def make_jury_reward(
    *,
    jury: Path,
    snapshot: Path,
    parameters: Path,
    clusters: Path,
    settings: JudgeCandidatesSettings | None = None,
    seed: int = 0,
    cache: Path | None = None,
    model: RaterModel | None = None,
) -> Reward:
    """A reward function `(prompts, completions, post_id, ...) -> scores` before the proxy jury of the run.

    The reward is the bridging intercept less half a standard deviation of its within-post error: where the jury does not
    know, it does not praise. Columns `post_id`, `classification`, `language`, `source_note_ids` are those of the `grpo` config.
    """
    settings = settings or JudgeCandidatesSettings()
    main, _ = seat_juries(settings, jury, parameters, seed)
    bench = open_bench(main, settings, jury, parameters, cache, model)

    @functools.lru_cache(maxsize=4096)
    def context_of(post: int) -> Any:
        return read_contexts(snapshot, parameters, clusters, [post]).get(post)

    def jury_reward(
        prompts: Sequence[Any], completions: Sequence[Any], post_id: Sequence[str] = (), **columns: Any
    ) -> list[float]:
        if len(post_id) != len(completions):
            raise InputError(
                "The jury's reward needs the column post_id for every completion; train on the export's grpo config with "
                "remove_unused_columns: false."
            )
        rewards = [FAILED] * len(completions)
        by_post: dict[int, list[int]] = {}
        for i, post in enumerate(post_id):
            text = text_of(completions[i]).strip()
            if text and note_length(text) <= MAX_LENGTH and context_of(int(post)) is not None:
                by_post.setdefault(int(post), []).append(i)

        def waiting() -> Any:
            for post, rows in by_post.items():
                texts = [
                    context_of(post).judged_candidate(
                        str(i),
                        text_of(completions[i]).strip(),
                        _column(columns, "classification", i) or "MISINFORMED_OR_POTENTIALLY_MISLEADING",
                        _column(columns, "language", i),
                        [int(note) for note in _column(columns, "source_note_ids", i) or ()],
                    )
                    for i in rows
                ]
                yield PostTexts(post, tuple(texts))

        for _, judged in judge(bench, waiting(), settings.batch):
            for row in judged:
                if row["unjudged_reason"] is None:
                    rewards[int(row["candidate_id"])] = row["score_bridging_intercept"] - 0.5 * row["sd_within"]
        return rewards

    return jury_reward


def _column(columns: dict[str, Any], name: str, i: int) -> Any:
    values = columns.get(name)
    return values[i] if values is not None else None


def jury_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
    """The reward named in `trl_grpo.yaml`; its jury is found by SUPERNOTES_REWARD_* (see the top of this file)."""
    return _from_environment()(prompts, completions, **columns)


@functools.cache
def _from_environment() -> Reward:
    found = {
        name: os.environ.get(f"SUPERNOTES_REWARD_{name.upper()}")
        for name in ("jury", "snapshot", "parameters", "clusters")
    }
    missing = [f"SUPERNOTES_REWARD_{name.upper()}" for name, value in found.items() if not value]
    if missing:
        raise InputError(
            f"The jury's reward does not know its jury: set {', '.join(missing)} to the directories of a finished run."
        )
    paths = {name: Path(value) for name, value in found.items() if value}
    return make_jury_reward(
        jury=paths["jury"],
        snapshot=paths["snapshot"],
        parameters=paths["parameters"],
        clusters=paths["clusters"],
    )

"""From a jury's predicted objections to words for the writer, and whether a revision is a real improvement.

The writer never hears a score: a number invites it to please the jury; a reason tells it what to mend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jury.records import SIDES
from synthesis.settings import ReviseCandidatesSettings

OBJECTIONS: dict[str, str] = {
    "notHelpfulOther": "have an objection that none of the usual reasons names",
    "notHelpfulIncorrect": "think that something in it is incorrect",
    "notHelpfulSourcesMissingOrUnreliable": "miss sources or do not trust those it names",
    "notHelpfulOpinionSpeculationOrBias": "read opinion, speculation or bias in it",
    "notHelpfulMissingKeyPoints": "think that it misses key points or context",
    "notHelpfulOutdated": "think that it is out of date",
    "notHelpfulHardToUnderstand": "find it hard to understand",
    "notHelpfulArgumentativeOrBiased": "find it argumentative or its language biased",
    "notHelpfulOffTopic": "find it off topic",
    "notHelpfulSpamHarassmentOrAbuse": "take it for spam, harassment or abuse",
    "notHelpfulIrrelevantSources": "find that its sources do not support what it says",
    "notHelpfulOpinionSpeculation": "read opinion or speculation in it",
    "notHelpfulNoteNotNeeded": "think that the post needs no note",
}
"""What raters who tick a not-helpful reason of X say, as the end of the sentence 'Some readers ...'."""

_WHO = {"negative": "Readers of one side", "middle": "Readers in the middle", "positive": "Readers of the other side"}

RATING_SCALE = 7
"""Stable Alignment's ratings go from 1 to 7 (Liu et al. 2023, appendix); ours are mapped there from [0, 1]."""


class Written(NamedTuple):
    """What the writing room made of some asks: rows of its candidates, prompts and failures tables."""

    candidates: list[dict[str, Any]]
    prompts: list[dict[str, Any]]
    failures: list[dict[str, Any]]


@dataclass(frozen=True)
class Ask:
    """One revision to be written: of which candidate (its row), in answer to what, in which round, from which seed."""

    parent: Mapping[str, Any]
    feedback: str
    round: int
    seed: int
    n: int = 1


def objections(verdict: Mapping[str, Any], settings: ReviseCandidatesSettings) -> dict[str, list[str]]:
    """Per side the not-helpful reasons the jury predicts there, likeliest first; sides without one are absent."""
    found: dict[str, list[str]] = {}
    for side in SIDES:
        told = [
            (-float(reason["probability"]), reason["tag"])
            for reason in verdict["reasons"] or ()
            if reason["side"] == side
            and reason["tag"] in OBJECTIONS
            and float(reason["probability"]) >= settings.minimum_probability
        ]
        if told:
            found[side] = [tag for _, tag in sorted(told)[: settings.objections_per_side]]
    return found


def feedback_in_words(objected: Mapping[str, Sequence[str]], verdict: Mapping[str, Any]) -> str:
    """The objections as sentences, side by side. Empty when nobody is predicted to object.

    Names no side 'left' or 'right': which is which is a sign convention of the fit. Says which side objects more, without
    a number.
    """
    sentences = []
    for side in SIDES:
        if side in objected:
            phrases = [OBJECTIONS[tag] for tag in objected[side]]
            sentences.append(f"{_WHO[side]} may {' and may '.join(phrases)}.")
    shares = {side: verdict.get(f"helpful_{side}") for side in ("negative", "positive")}
    if sentences and all(share is not None for share in shares.values()):
        low, high = sorted(shares, key=lambda side: (shares[side], side))
        if float(shares[high] or 0) - float(shares[low] or 0) > 0.10:  # a difference a person would notice
            sentences.append(f"{_WHO[low]} are harder to convince than {_WHO[high][0].lower()}{_WHO[high][1:]}.")
    return " ".join(sentences)


def choose_finalists(
    rows: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], n: int
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The best `n` of (candidate, verdict) rows of one post by bridging score; equal scores by id. Unjudged ones never."""
    judged = [pair for pair in rows if pair[1]["unjudged_reason"] is None]
    return sorted(judged, key=lambda pair: (-float(pair[1]["score_bridging_intercept"]), pair[0]["candidate_id"]))[:n]


def improvement(
    before: Mapping[str, Any], after: Mapping[str, Any] | None, settings: ReviseCandidatesSettings
) -> tuple[bool, str]:
    """Whether a revision is a real improvement on its parent, and why (not); both are verdict rows.

    Real means: the score rises by at least `minimum_gain` and no side loses more than `max_side_loss` of its helpful share.
    """
    if after is None or after["unjudged_reason"] is not None:
        return False, "failed_checks" if after is None else str(after["unjudged_reason"])
    gain = float(after["score_bridging_intercept"]) - float(before["score_bridging_intercept"])
    if gain < settings.minimum_gain:
        return False, "gain_too_small"
    for side in SIDES:
        old, new = before[f"helpful_{side}"], after[f"helpful_{side}"]
        if old is not None and new is not None and float(old) - float(new) > settings.max_side_loss:
            return False, f"loses_{side}_side"
    return True, "improved"


def rating_of(verdict: Mapping[str, Any]) -> float:
    """A verdict as a rating from 1 to 7: the jury's mean expected rating, stretched."""
    return round(1 + (RATING_SCALE - 1) * min(max(float(verdict["score_mean"]), 0.0), 1.0), 4)


def training_records(
    request_id: str,
    parent: Mapping[str, Any],
    before: Mapping[str, Any],
    feedback: str,
    child: Mapping[str, Any],
    after: Mapping[str, Any] | None,
    kept: bool,
) -> list[dict[str, Any]]:
    """What Stable Alignment learns from one revision: up to four records of its three kinds, ids as strings.

    - imitation: a text and its rating, for the draft and for the revision (the writer learns to prefer the better-rated);
    - self_critic: a draft, the feedback on it and its rating (the writer learns to criticise itself);
    - realignment: draft and feedback in, revision out; only of real improvements.

    Source: Liu et al. 2023 (arXiv 2305.16960), section 3 and figure 3. A revision that was never judged gives the
    self_critic record alone.
    """
    shared = {"post_id": str(parent["post_id"]), "request_id": request_id, "draft_id": parent["candidate_id"]}
    records: list[dict[str, Any]] = [
        shared | {"kind": "self_critic", "draft": parent["text"], "feedback": feedback, "rating": rating_of(before)}
    ]
    if after is None or after["unjudged_reason"] is not None:
        return records
    for row, verdict in ((parent, before), (child, after)):
        records.append(
            shared
            | {
                "kind": "imitation",
                "candidate_id": row["candidate_id"],
                "text": row["text"],
                "rating": rating_of(verdict),
            }
        )
    if kept:
        records.append(
            shared
            | {
                "kind": "realignment",
                "candidate_id": child["candidate_id"],
                "draft": parent["text"],
                "feedback": feedback,
                "revision": child["text"],
                "rating_before": rating_of(before),
                "rating_after": rating_of(after),
            }
        )
    return records

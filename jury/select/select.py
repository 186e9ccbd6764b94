"""One winner for a post, or the reason why there is none; and for every candidate that did not win, what decided.

The order of the rules is the order of the reasons a person would give: nothing to choose from, nothing fit to show, nobody
could say, one side would refuse it, the sources disagree, no better than what is there already, better and yet not good enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any

import polars as pl

from jury.settings import SelectWinnersSettings

REASON_CODES = (
    "no_candidates",
    "nothing_passed_checks",
    "judge_unreadable",
    "unjudged",
    "language_not_in_training",
    "one_sided",
    "below_bar",
    "contradicting_sources",
    "not_better_than_existing",
    "lost_appeal",
)
"""Why a post abstains. Posts that `cluster_notes` excluded bring their own codes."""

SELECTION_KEYS = (
    "post_id",
    "outcome",
    "candidate_id",
    "text",
    "score",
    "lower",
    "upper",
    "helpful_chance",
    "appeal_score",
    "best_existing_note_id",
    "best_existing_score",
    "reason_code",
    "reason",
)
"""Keys of a line of selections.jsonl, in this order."""


@dataclass(frozen=True)
class Contender:
    """A candidate with what is known of it. `verdict` is its row of verdicts.parquet, None if it was never judged."""

    candidate_id: str
    text: str
    classification: str
    failed_checks: tuple[str, ...] = ()
    verdict: Mapping[str, Any] | None = None
    parent_id: str | None = None
    kept: bool = True  # false: a revision that was no real improvement
    language: str | None = None
    source_note_ids: tuple[int, ...] = ()
    unread: bool = False  # a judging model was asked about it and gave no answer that could be read
    examined: bool = True  # false: a model judged finalists of this post, and this candidate was not among them

    @property
    def judged(self) -> bool:
        return self.verdict is not None and self.verdict["unjudged_reason"] is None


@dataclass(frozen=True)
class Standing:
    """An existing note of the post: its stance and its row of existing.parquet."""

    note_id: int
    classification: str
    verdict: Mapping[str, Any]


DifferenceSd = Callable[[Contender, Standing], float | None]
"""Deviation of the difference between a candidate's score and an existing note's, None where nobody can say."""


@dataclass(frozen=True)
class Choice:
    """What the first jury decides on one post. `winner` is None for an abstention; then `reason_code` says why."""

    post_id: int
    winner: Contender | None
    best_existing: Standing | None
    reason_code: str | None
    reason: str
    losers: tuple[dict[str, Any], ...] = field(default=())


def choose(
    post_id: int,
    contenders: Sequence[Contender],
    existing: Sequence[Standing],
    rules: SelectWinnersSettings,
    spoken: Mapping[str, int] | None = None,
    difference_sd: DifferenceSd | None = None,
) -> Choice:
    """The winner among the contenders, or an explained abstention.

    Ranked is by the score of the chosen aggregator less `caution` standard deviations of its within-post error; equal
    ranks go to the shorter text, then to the smaller id, and the loser is told it was a tie. Gates, bar and the comparison
    with existing notes are always on the bridging intercept, X's scale. `spoken`: notes the jury learnt from, by language;
    None (an older jury, which does not say) trusts it in every language. `difference_sd` is asked how sure the jury is of the difference to the best
    existing note; where it cannot say, the two errors within the post are taken as independent.
    """
    standing = _best_standing(existing)
    losers: list[dict[str, Any]] = []

    def abstain(code: str, reason: str) -> Choice:
        return Choice(post_id, None, standing, code, reason, _sorted(losers))

    if not contenders:
        return abstain("no_candidates", "No candidate was drafted for this post.")
    fit = _drop(
        contenders, losers, post_id, lambda c: ("failed_check", _failed(c), None, None) if c.failed_checks else None
    )
    if not fit:
        failed = Counter(check for c in contenders for check in set(c.failed_checks))
        name, n = min(failed.items(), key=lambda item: (-item[1], item[0]))  # a set's order differs between processes
        return abstain(
            "nothing_passed_checks",
            f"None of the {len(contenders)} candidates passed every check; most often failed was '{name}' ({n} of {len(contenders)}).",
        )
    judged = _drop(
        fit,
        losers,
        post_id,
        lambda c: (
            None
            if c.judged
            else ("unjudged", (c.verdict or {}).get("unjudged_reason") or "It was not judged.", None, None)
        ),
    )
    if not judged:
        return abstain("unjudged", f"The jury could not judge any of the {len(fit)} candidates that passed the checks.")
    heard = _drop(judged, losers, post_id, lambda c: _unheard(c, spoken, rules))
    if not heard:
        unheard = _unheard(judged[0], spoken, rules)
        assert unheard is not None
        return abstain("language_not_in_training", unheard[1])
    judged = heard
    accepted = _drop(_drop(judged, losers, post_id, _not_kept), losers, post_id, lambda c: _gate(c, rules))
    if not accepted:
        best = max(judged, key=lambda c: (_bridging(c.verdict), c.candidate_id))
        gate = _gate(best, rules) or _not_kept(best)
        assert gate is not None
        return abstain(
            "one_sided", f"No candidate meets X's conditions on both sides. Of the best-scored one: {gate[1]}"
        )
    examined = _drop(accepted, losers, post_id, _not_examined)
    if not examined:
        unread = sum(c.unread for c in accepted)
        if unread:
            return abstain(
                "judge_unreadable",
                f"The judging model gave no answer that could be read about {unread} of the finalists, and passed no other; nothing is "
                "known against them. See the notice of revise_candidates.",
            )
        return abstain(
            "nothing_passed_checks",
            "None of the finalists that the judging model examined passed; the other candidates were not examined.",
        )
    good = sorted(
        examined,
        key=lambda c: (_below_bar(c, rules) is not None, -_rank_value(c, rules), len(c.text), c.candidate_id),
    )
    first = good[0]
    opposed = _best_standing([note for note in existing if note.classification != first.classification])
    if opposed is not None and _bridging(opposed.verdict) >= _bridging(first.verdict):
        code = "contradicting_sources"
        sentence = (
            f"The notes contradict each other: note {opposed.note_id} says the opposite and is predicted at "
            f"{_bridging(opposed.verdict):.2f}, not below the best candidate's {_bridging(first.verdict):.2f}."
        )
        losers += [
            _lost(
                first,
                post_id,
                code,
                sentence,
                _bridging(first.verdict),
                _bridging(opposed.verdict),
                str(opposed.note_id),
            )
        ]
        losers += _beaten(good[1:], first, post_id, rules)
        return abstain(code, sentence)
    if standing is not None:
        sd = None if difference_sd is None else difference_sd(first, standing)
        difference, bound = _difference(first.verdict, standing.verdict, rules.confidence, sd)
        if not bound > 0 or difference < rules.minimum_gain:
            code = "not_better_than_existing"
            if bound > 0:
                why = f"is surely better, but by less than the {rules.minimum_gain:.2f} that count"
                value, threshold = difference, rules.minimum_gain
            else:
                why = (
                    f"may be no better: with {rules.confidence:.0%} confidence the difference is at least {bound:+.2f}"
                )
                value, threshold = bound, 0.0
            sentence = f"The best candidate is predicted {difference:+.2f} against the existing note {standing.note_id} and {why}."
            losers += [_lost(first, post_id, code, sentence, value, threshold, str(standing.note_id))]
            losers += _beaten(good[1:], first, post_id, rules)
            return abstain(code, sentence)
    if (below := _below_bar(first, rules)) is not None:
        losers += [_lost(first, post_id, *below, None)]
        losers += _beaten(good[1:], first, post_id, rules)
        said = "" if standing is None else " It would be better than the notes there are."
        sentence = (
            f"The best candidate is predicted at {_bridging(first.verdict):.2f}; the bar is {rules.minimum_score:.2f}."
        )
        return abstain("below_bar", sentence + said)
    losers += _beaten(good[1:], first, post_id, rules)
    versus = "" if standing is None else (
        f" It is predicted {_bridging(first.verdict) - _bridging(standing.verdict):+.2f} against the best existing note."
    )  # fmt: skip
    sentence = f"Best of {len(judged)} judged candidates ({len(contenders)} drafted).{versus}"
    return Choice(post_id, first, standing, None, sentence, _sorted(losers))


def hear_appeal(
    choice: Choice,
    winner_verdict: Mapping[str, Any] | None,
    standing_verdict: Mapping[str, Any] | None,
    rules: SelectWinnersSettings,
) -> tuple[Choice, float | None]:
    """The choice after a second, disjoint jury heard winner and best existing note, and the winner's score there.

    With `appeal_must_confirm` a winner that the second jury does not prefer to the best existing note is no winner.
    Without a second jury, or for an abstention, nothing changes.
    """
    if choice.winner is None or winner_verdict is None or winner_verdict["unjudged_reason"] is not None:
        return choice, None
    score = float(winner_verdict["score"])
    if not rules.appeal_must_confirm or standing_verdict is None or standing_verdict["unjudged_reason"] is not None:
        return choice, score
    gained = _bridging(winner_verdict) - _bridging(standing_verdict)
    if gained > 0:
        return choice, score
    assert choice.best_existing is not None
    sentence = (
        f"The first jury's winner lost on appeal: other jurors put it {gained:+.2f} against the existing note "
        f"{choice.best_existing.note_id}."
    )
    lost = _lost(choice.winner, choice.post_id, "lost_appeal", sentence, gained, 0.0, str(choice.best_existing.note_id))
    return replace(
        choice, winner=None, reason_code="lost_appeal", reason=sentence, losers=_sorted([*choice.losers, lost])
    ), score


def selection_line(choice: Choice, appeal_score: float | None) -> dict[str, Any]:
    """One line of selections.jsonl: keys as SELECTION_KEYS, ids as strings, numbers finite or null."""
    winner = choice.winner
    verdict: Mapping[str, Any] = winner.verdict if winner is not None and winner.verdict is not None else {}
    standing = choice.best_existing
    return {
        "post_id": str(choice.post_id),
        "outcome": "abstained" if winner is None else "winner",
        "candidate_id": None if winner is None else winner.candidate_id,
        "text": None if winner is None else winner.text,
        "score": _rounded(verdict.get("score")),
        "lower": _rounded(verdict.get("lower")),
        "upper": _rounded(verdict.get("upper")),
        "helpful_chance": _rounded(verdict.get("helpful_chance")),
        "appeal_score": _rounded(appeal_score),
        "best_existing_note_id": None if standing is None else str(standing.note_id),
        "best_existing_score": None if standing is None else _rounded(_bridging(standing.verdict)),
        "reason_code": choice.reason_code,
        "reason": choice.reason,
    }


def excluded_selections(posts: pl.DataFrame) -> list[dict[str, Any]]:
    """The abstentions of posts that `cluster_notes` excluded: `posts` are rows of its posts.parquet."""
    lines = []
    for row in posts.sort("post_id").iter_rows(named=True):
        line: dict[str, Any] = dict.fromkeys(SELECTION_KEYS)
        line |= {
            "post_id": str(row["post_id"]),
            "outcome": "abstained",
            "reason_code": row["reason_code"] or "not_eligible",
            "reason": row["reason"] or "The post was not treated.",
        }
        lines.append(line)
    return lines


BARS = (0.0, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45)
"""Scores at which `what_bars_leave` looks; 0.40 is X's Helpful."""


def what_bars_leave(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What `minimum_score` at each of BARS would leave of these lines of selections.jsonl: [{"bar", "winners", "share", "chance"}].

    `share` is that of the posts the jury heard or would have heard (those that `cluster_notes` excluded do not count), `chance` the mean `helpful_chance` of
    the winners left, None where it is not known. Bars under which nobody falls are one row, the highest of them.
    """
    heard = [line for line in lines if line["outcome"] == "winner" or line["reason_code"] in REASON_CODES]
    won = [line for line in heard if line["outcome"] == "winner" and line["score"] is not None]
    rows: list[dict[str, Any]] = []
    for bar in BARS:
        left = [line for line in won if line["score"] >= bar]
        chances = [line["helpful_chance"] for line in left if line.get("helpful_chance") is not None]
        mean = sum(chances) / len(chances) if chances else None
        row = {"bar": bar, "winners": len(left), "share": len(left) / len(heard), "chance": mean} if heard else None
        if row is None or not won:
            return []
        if rows and rows[-1]["winners"] == len(left):
            rows.pop()
        rows.append(row)
    return rows


# -- the single rules ----------------------------------------------------------------------------------------------

_Verdict = tuple[str, str, float | None, float | None]


def _drop(contenders: Iterable[Contender], losers: list[dict[str, Any]], post_id: int, rule) -> list[Contender]:  # type: ignore[no-untyped-def]
    """The contenders a rule says nothing against; the others are entered among the losers."""
    stay = []
    for contender in contenders:
        said: _Verdict | None = rule(contender)
        if said is None:
            stay.append(contender)
        else:
            code, sentence, value, threshold = said
            losers.append(_lost(contender, post_id, code, sentence, value, threshold, None))
    return stay


def _failed(contender: Contender) -> str:
    return f"It failed {', '.join(contender.failed_checks)}."


def _unheard(contender: Contender, spoken: Mapping[str, int] | None, rules: SelectWinnersSettings) -> _Verdict | None:
    """A jury that has met no notes of a language cannot tell an insult from a correction in it."""
    language = (contender.language or "").split("-")[0]
    if spoken is None or not language or language == "und":
        return None
    met = spoken.get(language, 0)
    if met >= rules.minimum_language_notes:
        return None
    sentence = (
        f"The jury learnt from {met} notes in the language '{language}', fewer than {rules.minimum_language_notes}: "
        "what it prefers among texts of that language says little."
    )
    return "language_not_in_training", sentence, float(met), float(rules.minimum_language_notes)


def _not_kept(contender: Contender) -> _Verdict | None:
    if contender.kept:
        return None
    return "no_real_improvement", f"This revision is no real improvement on {contender.parent_id}.", None, None


def _not_examined(contender: Contender) -> _Verdict | None:
    if contender.unread:
        return "judge_unreadable", "The judging model gave no answer about this text that could be read.", None, None
    if contender.examined:
        return None
    return "not_examined", "The judging model examined the post's finalists; this was none of them.", None, None


def refused_by_gates(verdict: Mapping[str, Any], rules: SelectWinnersSettings) -> bool:
    """Whether X's gates or the bar keep a judged candidate with this verdict from winning."""
    contender = Contender("", "", "", verdict=verdict)
    return _gate(contender, rules) is not None or _below_bar(contender, rules) is not None


def rank_of_verdict(verdict: Mapping[str, Any], rules: SelectWinnersSettings) -> float:
    """The value by which candidates are ranked, higher is better."""
    return _rank_value(Contender("", "", "", verdict=verdict), rules)


def _gate(contender: Contender, rules: SelectWinnersSettings) -> _Verdict | None:
    verdict = contender.verdict or {}
    factor = float(verdict["factor"])
    if not abs(factor) < rules.max_factor:
        return (
            "factor_gate",
            f"|factor| {abs(factor):.2f} is not below {rules.max_factor:.2f}.",
            factor,
            rules.max_factor,
        )
    for side in ("negative", "positive"):
        net = float(verdict[f"net_helpful_{side}"])
        if not net >= rules.net_helpful_share:
            return (
                "net_helpful_gate",
                _net_sentence(side, net, rules.net_helpful_share),
                net,
                rules.net_helpful_share,
            )
    return None


def _net_sentence(side: str, net: float, needed: float) -> str:
    share = f"{abs(net):.0%}"
    if share == "0%":
        found = "as many find it not helpful as helpful"
    elif net > 0:
        found = f"those who find it helpful are ahead by {share} of the jury"
    else:
        found = f"those who find it not helpful are ahead by {share} of the jury"
    return f"On the {side} side {found}; helpful must be ahead by {needed:.0%}."


def _below_bar(contender: Contender, rules: SelectWinnersSettings) -> _Verdict | None:
    score = _bridging(contender.verdict)
    if score >= rules.minimum_score:
        return None
    return (
        "below_bar",
        f"Predicted at {score:.2f}, below the bar of {rules.minimum_score:.2f}.",
        score,
        rules.minimum_score,
    )


def _beaten(
    others: Sequence[Contender], first: Contender, post_id: int, rules: SelectWinnersSettings
) -> list[dict[str, Any]]:
    best = _rank_value(first, rules)
    rows = []
    for other in others:
        value = _rank_value(other, rules)
        if value == best:
            rows.append(
                _lost(
                    other,
                    post_id,
                    "tie",
                    "Its score ties with the first one's, which is shorter or has the smaller id.",
                    value,
                    best,
                    first.candidate_id,
                )
            )
        else:
            caution = ""
            if rules.caution and (other.verdict or {})["aggregator"] == "bridging_intercept":
                caution = f", each score lowered by {rules.caution:g} of its standard deviation"
            sentence = f"{best - value:.3f} below {first.candidate_id}{caution}."
            rows.append(_lost(other, post_id, "lower_score", sentence, value, best, first.candidate_id))
    return rows


def _lost(
    contender: Contender,
    post_id: int,
    code: str,
    sentence: str,
    value: float | None,
    threshold: float | None,
    compared_with: str | None,
) -> dict[str, Any]:
    return {
        "candidate_id": contender.candidate_id,
        "post_id": post_id,
        "decided_by": code,
        "value": value,
        "threshold": threshold,
        "compared_with": compared_with,
        "reason": sentence,
    }


def _sorted(losers: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    return tuple(sorted(losers, key=lambda row: row["candidate_id"]))


def _rank_value(contender: Contender, rules: SelectWinnersSettings) -> float:
    verdict = contender.verdict or {}
    # The within-post error is stated on the bridging scale; the other scores are ranked as they are.
    caution = rules.caution if verdict["aggregator"] == "bridging_intercept" else 0.0
    return float(verdict["score"]) - caution * float(verdict["sd_within"])


def _best_standing(existing: Sequence[Standing]) -> Standing | None:
    judged = [note for note in existing if note.verdict["unjudged_reason"] is None]
    return max(judged, key=lambda note: (_bridging(note.verdict), -note.note_id), default=None)


def _difference(
    first: Mapping[str, Any] | None, second: Mapping[str, Any], confidence: float, sd: float | None = None
) -> tuple[float, float]:
    """Difference of the bridging scores and its one-sided lower bound. `sd` is the difference's own deviation.

    What the two texts share (the post, the jury, the model's view of both) cancels. Without `sd` what is left is each one's error within the
    post, taken as independent: on the safe side for texts of one stance, because texts on the same sources err alike.
    """
    assert first is not None
    difference = _bridging(first) - _bridging(second)
    if sd is None:
        sd = (float(first["sd_within"]) ** 2 + float(second["sd_within"]) ** 2) ** 0.5
    return difference, difference - NormalDist().inv_cdf(confidence) * sd


def _bridging(verdict: Mapping[str, Any] | None) -> float:
    assert verdict is not None
    return float(verdict["score_bridging_intercept"])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 6)

"""Preference pairs from judged candidates and analysts' decisions: what may be compared, and which comparisons are kept.

A pair is two texts for the same prompt on the same post that differ in wording. How sure it is stands beside it: the gap on
X's scale, its interval and the probability that the true order is the other one, from the model's error *within* a post
(`sd_within`): what the two texts share cancels. Every rule keeps the same limits. Within a post there is one order of texts,
copies counted as one: a pair against it is left out. What is too close to call is a tie, and is kept as one.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz

from feedback.settings import BuildPairsSettings
from jury.records import PreferencePair
from nouns.decisions import PUBLISHING_KINDS
from texts.note import find_urls, note_length

Z95 = 1.959963984540054

RULES = (
    "analyst_choice",
    "later_version",
    "winner_vs_loser",
    "best_vs_gate_fail",
    "revised_vs_draft",
    "candidate_vs_existing",
    "matched",
)
"""Where pairs come from, in the order in which they claim a pair of texts."""


@dataclass(frozen=True)
class Text:
    """A text that may enter a pair. `request_id` names the prompt it answers; '' fits every prompt of its post.

    `status`: 'judged', 'failed' (a check, or one of X's gates) or 'unknown' (never judged, or a check that could not tell, or
    a copy of another candidate). A text that failed a gate keeps its score. `failed_checks`: names with their reasons.
    """

    text_id: str
    post_id: int
    text: str
    request_id: str
    cluster_id: str
    writer: str
    status: str
    score: float | None = None
    lower: float | None = None
    upper: float | None = None
    factor: float | None = None
    sd_within: float | None = None
    helpful: tuple[float | None, ...] = (None, None, None)
    gate: str = ""  # which check or gate it failed
    kind: str = "candidate"  # candidate | revision | existing | edited
    language: str = ""
    stance: str = ""  # X's classification of the note
    failed_checks: tuple[str, ...] = ()
    reasons: tuple[Mapping[str, Any], ...] = ()  # the jury's likeliest reasons: side, tag, probability

    @property
    def judged(self) -> bool:
        return self.score is not None


@dataclass(frozen=True)
class PostMaterial:
    """All that pairs of one post are made from. `decisions` are the effective ones of analysts, oldest first."""

    post_id: int
    texts: tuple[Text, ...]
    winner_id: str | None = None
    parents: Mapping[str, str] = field(default_factory=dict)  # revision -> draft
    decisions: tuple[Mapping[str, Any], ...] = ()
    versions: tuple[
        tuple[Text, Text], ...
    ] = ()  # (earlier, later) text of one note, scored by what raters said of each
    fit: Callable[[Text], bool] = lambda text: (
        True
    )  # whether a person's note passes the checks, so that it may be a target


@dataclass(frozen=True)
class Pair:
    """A pair with the strength of its evidence. `gap` and what follows from it are None where the jury has no say."""

    rule: str
    request_id: str
    chosen: Text
    rejected: Text
    gap: float | None
    gap_low: float | None
    gap_high: float | None
    p_flip: float | None
    label_source: str  # jury | check (the rejected text failed one) | analyst | both | raters (of both texts)

    @property
    def pair_id(self) -> str:
        named = f"{self.chosen.post_id}|{self.request_id}|{self.chosen.text_id}|{self.rejected.text_id}"
        return hashlib.sha256(named.encode()).hexdigest()[:16]


def normalised(text: str) -> str:
    """The text for comparison: lower case, white space collapsed."""
    return " ".join(text.lower().split())


@lru_cache(maxsize=65536)
def length_of(text: str) -> int:
    return note_length(text)


@lru_cache(maxsize=65536)
def links_of(text: str) -> int:
    return len(find_urls(text))


@lru_cache(maxsize=65536)
def _shingles(text: str) -> frozenset[str]:
    words = re.findall(r"\w+", text.lower())
    return frozenset(" ".join(two) for two in pairwise(words)) if len(words) > 1 else frozenset(words)


def similarity(a: str, b: str) -> float:
    """Share of common word pairs (Jaccard), 1 for the same words in the same order; two empty texts are the same."""
    left, right = _shingles(a), _shingles(b)
    both = len(left | right)
    return len(left & right) / both if both else 1.0


@lru_cache(maxsize=65536)
def _wording(text: str) -> str:
    """The text's words without its links: what two notes are compared by."""
    for link in reversed(find_urls(text)):
        text = text[: link.start] + " " + text[link.end :]
    return normalised(text)


def likeness(a: str, b: str) -> float:
    """How alike two texts are in wording, links apart, 0 to 1: the larger of common word pairs and common letters in order."""
    a, b = _wording(a), _wording(b)
    return max(similarity(a, b), fuzz.ratio(a, b) / 100)


def evidence(chosen: Text, rejected: Text) -> tuple[float | None, float | None, float | None, float | None]:
    """Gap, its 95 % interval and the probability that the true order is the other one; all None if one was never judged."""
    if chosen.score is None or rejected.score is None:
        return None, None, None, None
    gap = chosen.score - rejected.score
    sd = math.hypot(chosen.sd_within or 0.0, rejected.sd_within or 0.0)
    if sd == 0:
        return gap, gap, gap, 0.0 if gap > 0 else 1.0 if gap < 0 else 0.5
    return gap, gap - Z95 * sd, gap + Z95 * sd, 0.5 * math.erfc(gap / sd / math.sqrt(2))


@dataclass(frozen=True)
class Made:
    """What a post gave: pairs, strongest rules first; ties; and how many possible pairs were refused, by reason."""

    pairs: list[Pair]
    ties: list[tuple[Pair, str]]  # with the reason
    refused: Counter[str]


TIES = {"tie": "equal_scores", "too_close": "gap_too_small", "uncertain": "order_uncertain"}
"""Refusals that say of two otherwise fit texts that neither is better."""


def pairs_of_post(post: PostMaterial, settings: BuildPairsSettings) -> Made:
    """The pairs and ties of one post."""
    made = Made([], [], Counter())
    fit: list[Pair] = []
    seen: set[frozenset[str]] = set()
    ties: dict[frozenset[str], tuple[Pair, str]] = {}
    for pair in (pair for rule in settings.rules for pair in sorted(_PROPOSE[rule](post), key=_strength)):
        both = frozenset((pair.chosen.text_id, pair.rejected.text_id))
        if both in seen and pair.label_source not in ("analyst", "both"):
            continue
        seen.add(both)
        why = _refuse(pair, settings, post.fit)
        if why is None:
            fit.append(pair)
            continue
        made.refused[why] += 1
        if why in TIES:
            ties[both] = pair, TIES[why]
    uses: Counter[tuple[str, str]] = Counter()
    one_sided = 0
    ordered, against = _one_order(fit, settings.near_duplicate)
    for pair, reason in against:
        made.refused[reason] += 1
        if reason == "analysts_disagree":
            ties[frozenset((pair.chosen.text_id, pair.rejected.text_id))] = pair, reason
    for pair in ordered:
        is_one_sided = _one_sided(pair, settings.one_sided)
        why = None
        if _crowded(pair, made.pairs, uses, settings):
            why = "near_duplicate_or_overused"
        elif is_one_sided and one_sided + 1 > settings.max_one_sided_share * settings.max_pairs_per_post:
            why = "too_many_one_sided"
        elif len(made.pairs) >= settings.max_pairs_per_post:
            why = "enough_pairs"
        if why is not None:
            made.refused[why] += 1
            continue
        _validate(pair)
        made.pairs.append(pair)
        uses[pair.chosen.text_id, "chosen"] += 1
        uses[pair.rejected.text_id, "rejected"] += 1
        one_sided += is_one_sided
    even = sorted(
        ties.values(), key=lambda tie: (-(tie[0].p_flip if tie[0].p_flip is not None else 0.5), tie[0].pair_id)
    )
    made.ties.extend(even[: settings.max_ties_per_post])
    return made


def _one_order(pairs: Sequence[Pair], near_duplicate: float) -> tuple[list[Pair], list[tuple[Pair, str]]]:
    """The pairs that agree on one order of the post's texts, an earlier pair before a later one; and those against it.

    Copies of a text are that text. Where analysts contradict each other there is neither order.
    """
    group: dict[str, int] = {}
    texts: list[str] = []
    for text in sorted({t.text_id: t for pair in pairs for t in (pair.chosen, pair.rejected)}.values(), key=lambda t: t.text_id):  # fmt: skip
        like = next((g for g, other in enumerate(texts) if likeness(text.text, other) >= near_duplicate), None)
        group[text.text_id] = len(texts) if like is None else like
        if like is None:
            texts.append(text.text)
    said = {
        (group[p.chosen.text_id], group[p.rejected.text_id]) for p in pairs if p.label_source in ("analyst", "both")
    }
    below: dict[int, set[int]] = defaultdict(set)
    kept, against = [], []
    for pair in pairs:
        better, worse = group[pair.chosen.text_id], group[pair.rejected.text_id]
        if (worse, better) in said and pair.label_source in ("analyst", "both"):
            against.append((pair, "analysts_disagree"))
        elif better == worse and pair.label_source in ("analyst", "both"):
            kept.append(pair)  # an edit beside its original: two copies, and a person said which
        elif {(worse, better), (better, worse)} <= said or better in _reached(worse, below):
            against.append((pair, "contradicts_another_pair"))
        else:
            below[better].add(worse)
            kept.append(pair)
    return kept, against


def _reached(start: int, below: Mapping[int, set[int]]) -> set[int]:
    """All that stands below `start`, and itself."""
    found, waiting = {start}, [start]
    while waiting:
        new = below.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


# -- proposals -----------------------------------------------------------------------------------------------------


def _pair(rule: str, chosen: Text, rejected: Text, source: str = "jury", request_id: str | None = None) -> Pair:
    gap, low, high, flip = evidence(chosen, rejected)
    return Pair(
        rule, request_id or chosen.request_id or rejected.request_id, chosen, rejected, gap, low, high, flip, source
    )


def _by_request(texts: Iterable[Text]) -> dict[str, list[Text]]:
    """Drafts by the prompt they answer. Revisions answered another prompt (with feedback) and are not among them."""
    found: dict[str, list[Text]] = defaultdict(list)
    for text in texts:
        if text.kind == "candidate":
            found[text.request_id].append(text)
    return {request: sorted(group, key=lambda text: text.text_id) for request, group in sorted(found.items())}


def _best(texts: Sequence[Text]) -> Text | None:
    fit = [text for text in texts if text.status == "judged"]
    return max(fit, key=lambda text: (text.score or 0.0, text.text_id), default=None)


def _winner_vs_loser(post: PostMaterial) -> list[Pair]:
    winner = next((text for text in post.texts if text.text_id == post.winner_id), None)
    if winner is None or winner.kind != "candidate":
        return []
    group = _by_request(post.texts)[winner.request_id]
    return [
        _pair("winner_vs_loser", winner, other)
        for other in group
        if other.status == "judged" and other.text_id != winner.text_id
    ]


def _best_vs_gate_fail(post: PostMaterial) -> list[Pair]:
    found = []
    for group in _by_request(post.texts).values():
        best = _best(group)
        for text in group:
            if best and text.status == "failed":
                source = "check" if text.failed_checks else "jury"
                found.append(_pair("best_vs_gate_fail", best, text, source))
    return found


def _revised_vs_draft(post: PostMaterial) -> list[Pair]:
    """A revision and its draft, under the draft's prompt: the writer should arrive there without being told."""
    by_id = {text.text_id: text for text in post.texts}
    found = []
    for child, parent in sorted(post.parents.items()):
        revised, draft = by_id.get(child), by_id.get(_root(parent, post.parents))
        if revised is None or draft is None or not (revised.status == draft.status == "judged"):
            continue
        better, worse = (revised, draft) if (revised.score or 0) > (draft.score or 0) else (draft, revised)
        found.append(_pair("revised_vs_draft", better, worse, request_id=draft.request_id))
    return found


def _root(name: str, parents: Mapping[str, str]) -> str:
    """The first draft of a line of revisions: only its prompt held no feedback."""
    seen = {name}
    while name in parents and parents[name] not in seen:
        name = parents[name]
        seen.add(name)
    return name


def _candidate_vs_existing(post: PostMaterial) -> list[Pair]:
    notes = [text for text in post.texts if text.kind == "existing" and text.judged]
    drafts = [text for text in post.texts if text.kind == "candidate" and text.status == "judged"]
    found = []
    for draft in drafts:
        for note in notes:
            better, worse = (draft, note) if (draft.score or 0) > (note.score or 0) else (note, draft)
            found.append(_pair("candidate_vs_existing", better, worse, request_id=draft.request_id))
    return found


def _matched(post: PostMaterial) -> list[Pair]:
    """All other orders within a prompt: what keeps the set from being about winners only."""
    found = []
    for group in _by_request(post.texts).values():
        judged = sorted(
            (text for text in group if text.status == "judged"), key=lambda text: (-(text.score or 0), text.text_id)
        )
        found += [_pair("matched", a, b) for i, a in enumerate(judged) for b in judged[i + 1 :]]
    return found


def _analyst_choice(post: PostMaterial) -> list[Pair]:
    """What analysts said against the jury's order or with it.

    accept: the accepted text against the jury's winner and every text an analyst rejected; edit: the edited text against
    the original; prefer: as said. The source is 'both' where the jury's order is the same.
    """
    by_id = {text.text_id: text for text in post.texts}
    found = []
    flagged = any(d["kind"] == "flag" for d in post.decisions)
    rejected = [
        by_id[d["candidate_id"]] for d in post.decisions if d["kind"] == "reject" and d["candidate_id"] in by_id
    ]
    for decision in post.decisions:
        chosen = by_id.get(decision["candidate_id"] or "")
        if chosen is None or (flagged and decision["kind"] in PUBLISHING_KINDS):
            continue
        if decision["kind"] == "edit" and (decision.get("assessment") or {}).get("passed") is False:
            continue  # an edit that fails the checks is nobody's target
        if decision["kind"] == "prefer" and decision["other_id"] in by_id:
            found.append(_said(chosen, by_id[decision["other_id"]], post))
        elif decision["kind"] == "edit" and decision["text"]:
            edited = replace(
                chosen,
                text_id=f"{chosen.text_id}-edited-{hashlib.sha256(decision['text'].encode()).hexdigest()[:8]}",
                text=decision["text"],
                kind="edited",
                status="unknown",
                score=None,
                lower=None,
                upper=None,
                sd_within=None,
                helpful=(None, None, None),
            )
            found.append(_said(edited, chosen, post))
        elif decision["kind"] == "accept":
            others = [*rejected]
            if post.winner_id in by_id and post.winner_id != chosen.text_id:
                others.append(by_id[post.winner_id or ""])
            found += [_said(chosen, other, post) for other in others if other.text_id != chosen.text_id]
    return [pair for pair in found if pair is not None]


def _said(chosen: Text, other: Text, post: PostMaterial) -> Pair | None:
    """The analyst's pair, or None if the two texts answer different prompts."""
    a, b = (_prompt_of(text, post) for text in (chosen, other))
    if a and b and a != b:
        return None
    pair = _pair("analyst_choice", chosen, other, "analyst", a or b)
    if pair.gap is None:
        return pair
    # Where the jury disagrees its gap is negative and stands beside the label: two opinions, both told.
    return replace(pair, label_source="both") if pair.gap > 0 else pair


def _prompt_of(text: Text, post: PostMaterial) -> str:
    """The prompt a text may be paired under: its own, or for a revision that of the draft it goes back to."""
    if text.kind == "existing":
        return ""
    root = _root(text.text_id, post.parents) if text.kind == "revision" else text.text_id
    return next((found.request_id for found in post.texts if found.text_id == root), text.request_id)


def _later_version(post: PostMaterial) -> list[Pair]:
    """Two versions of one note, the better received first, whichever came first."""
    found = []
    for step in post.versions:
        worse, better = sorted(step, key=lambda text: text.score or 0.0)
        found.append(_pair("later_version", better, worse, "raters"))
    return found


_PROPOSE: dict[str, Callable[[PostMaterial], list[Pair]]] = {
    "analyst_choice": _analyst_choice,
    "later_version": _later_version,
    "winner_vs_loser": _winner_vs_loser,
    "best_vs_gate_fail": _best_vs_gate_fail,
    "revised_vs_draft": _revised_vs_draft,
    "candidate_vs_existing": _candidate_vs_existing,
    "matched": _matched,
}


# -- reasons in words ----------------------------------------------------------------------------------------------


def stance_of(pair: Pair) -> str | None:
    """'same' or 'cross': whether both notes say the same of the post; None where it is not known."""
    if not (pair.chosen.stance and pair.rejected.stance):
        return None
    return "same" if pair.chosen.stance == pair.rejected.stance else "cross"


def why_chosen(pair: Pair) -> str:
    """Why the chosen text is the better one, as a sentence or two."""
    said = {
        "analyst_choice": "An analyst preferred it.",
        "later_version": "Both are versions of one note that people wrote.",
        "winner_vs_loser": "It won its post.",
        "best_vs_gate_fail": "It is the best of its prompt that passed.",
        "revised_vs_draft": "One is a revision of the other.",
        "candidate_vs_existing": "One is a candidate, one a note that people wrote.",
        "matched": "Both are candidates for the same prompt.",
    }[pair.rule]
    if pair.rejected.failed_checks:
        return f"{said} The other failed a check: {'; '.join(pair.rejected.failed_checks)}."
    if pair.rejected.gate:
        said += f" The other did not pass the gate {pair.rejected.gate}."
    if pair.gap is None or pair.p_flip is None:
        return said
    more = "higher" if pair.gap > 0 else "lower: the jury would choose the other"
    whose = "The intercept its raters gave it" if pair.label_source == "raters" else "The jury's score"
    return f"{said} {whose} is {abs(pair.gap):.3f} {more} (95 % {pair.gap_low:+.3f} to {pair.gap_high:+.3f})."


# -- refusals ------------------------------------------------------------------------------------------------------


def _strength(pair: Pair) -> tuple[float, str]:
    return (pair.p_flip if pair.p_flip is not None else -1.0, pair.pair_id)


def _refuse(pair: Pair, settings: BuildPairsSettings, fit: Callable[[Text], bool]) -> str | None:
    """Why the two texts are no pair, or None. The last reasons are those that make a tie: all else is fit."""
    chosen, rejected = pair.chosen, pair.rejected
    by_analyst = pair.label_source in ("analyst", "both")
    if normalised(chosen.text) == normalised(rejected.text):
        return "equal_texts"
    if chosen.kind == "existing" and chosen.stance and rejected.stance and chosen.stance != rejected.stance:
        return "other_stance"  # the prompt asks for a note of the other stance than the chosen one's
    if not by_analyst:  # a person looked at both texts; an edit is near its original by nature
        if likeness(chosen.text, rejected.text) > 1 - settings.minimum_difference:
            return "too_alike"
        if chosen.language != rejected.language:
            return "other_language"
        if settings.matching:
            a, b = length_of(chosen.text), length_of(rejected.text)
            if max(a, b) > settings.max_length_ratio * max(min(a, b), 1):
                return "length_differs"
            if abs(links_of(chosen.text) - links_of(rejected.text)) > settings.max_link_difference:
                return "links_differ"
        if pair.gap is not None or pair.label_source != "check":
            if not pair.gap:
                return "tie"
            if pair.gap < settings.minimum_gap:
                return "too_close" if pair.gap > 0 else "jury_prefers_the_other"
            if (pair.p_flip or 0.0) > settings.maximum_p_flip:
                return "uncertain"
    if chosen.kind == "existing" and not fit(chosen):
        return "chosen_note_fails_checks"
    return None


def _crowded(pair: Pair, kept: Sequence[Pair], uses: Counter[tuple[str, str]], settings: BuildPairsSettings) -> bool:
    limit = settings.max_uses_of_text
    if uses[pair.chosen.text_id, "chosen"] >= limit or uses[pair.rejected.text_id, "rejected"] >= limit:
        return True
    return any(
        likeness(pair.chosen.text, other.chosen.text) >= settings.near_duplicate
        and likeness(pair.rejected.text, other.rejected.text) >= settings.near_duplicate
        for other in kept
    )


def _one_sided(pair: Pair, by: float) -> bool:
    """Whether some side would rather have the rejected text, by more than `by` of its helpful share."""
    return any(
        a is not None and b is not None and b - a > by
        for a, b in zip(pair.chosen.helpful, pair.rejected.helpful, strict=True)
    )


def _validate(pair: Pair) -> None:
    """The record's own constructor refuses what must never be a pair."""
    PreferencePair(
        pair.pair_id,
        pair.chosen.post_id,
        pair.chosen.text_id,
        pair.rejected.text_id,
        pair.chosen.text,
        pair.rejected.text,
        pair.chosen.post_id,
        pair.rejected.post_id,
        # A label that does not come from a gap (a failed check, an analyst) is one by rule: any positive number.
        pair.gap if pair.gap is not None and pair.gap > 0 else 1.0,
    )


# -- can a trivial classifier tell chosen from rejected? -----------------------------------------------------------

SURFACE = (
    "length", "words", "links", "sentences", "commas", "colons", "quotes", "digits", "capitals", "parentheses",
    "question_marks", "exclamation_marks", "dashes", "ends_with_link", "mean_word_length",
)  # fmt: skip


def surface_features(text: str) -> list[float]:
    """What can be seen of a text without reading it; names in SURFACE."""
    words = re.findall(r"\w+", text)
    n = max(len(words), 1)
    return [
        float(length_of(text)),
        float(len(words)),
        float(links_of(text)),
        float(len(re.findall(r"[.!?]+(?:\s|$)", text))),
        float(text.count(",")),
        float(text.count(":") + text.count(";")),
        float(sum(text.count(mark) for mark in "\"'“”‘’«»")),
        float(sum(c.isdigit() for c in text)),
        float(sum(c.isupper() for c in text)),
        float(text.count("(") + text.count(")")),
        float(text.count("?")),
        float(text.count("!")),
        float(text.count("-") + text.count("–") + text.count("—")),
        float(bool(re.search(r"https?://\S+\s*$", text))),
        sum(len(word) for word in words) / n,
    ]


@dataclass(frozen=True)
class SurfaceTest:
    """How well surface features alone tell chosen from rejected: 0.5 is chance. `margin` is each pair's signed
    cross-validated logit, positive where the classifier is right. `accuracy` is None with fewer than 40 pairs."""

    accuracy: float | None
    n: int
    margin: NDArray[np.float64]


def surface_test(difference: NDArray[np.float64], post_ids: Sequence[int], folds: int = 5) -> SurfaceTest:
    """Cross-validated accuracy, posts kept together, of a logistic regression on feature differences chosen - rejected.

    difference : (n, len(SURFACE)). Every pair enters in both directions, so the classifier has no intercept to lean on.
    """
    n = len(difference)
    posts = np.asarray(post_ids, dtype=np.int64)
    if n < 40 or len(np.unique(posts)) < folds:
        return SurfaceTest(None, n, np.zeros(n))
    from sklearn.linear_model import LogisticRegression

    order = np.unique(posts)
    fold_of_post = np.random.default_rng(0).permutation(len(order)) % folds
    fold = fold_of_post[np.searchsorted(order, posts)]
    scale = np.sqrt((difference**2).mean(axis=0)) + 1e-9
    x = difference / scale
    margin = np.zeros(n)
    for k in range(folds):
        train, test = fold != k, fold == k
        both = np.concatenate([x[train], -x[train]])
        label = np.concatenate([np.ones(train.sum()), np.zeros(train.sum())])
        model = LogisticRegression(fit_intercept=False, C=1.0, max_iter=500).fit(both, label)
        margin[test] = x[test] @ model.coef_[0]
    # A margin of exactly zero is a coin flip.
    return SurfaceTest(float((margin > 0).mean() + 0.5 * (margin == 0).mean()), n, margin)


def drop_telltale(
    difference: NDArray[np.float64],
    post_ids: Sequence[int],
    *,
    target: float = 0.56,
    most: float = 0.5,
    step: float = 0.05,
) -> tuple[NDArray[np.bool_], SurfaceTest, SurfaceTest]:
    """Which pairs to keep so that surface features tell little, and the test before and after.

    The pairs that the cross-validated classifier is surest of are left out, `step` of them at a time, until its accuracy
    on the rest is at most `target` or `most` of the pairs are gone (adversarial filtering as in AFLite, Le Bras et al.
    2020, with one linear model). Below 40 pairs nothing is left out: there is no telling.
    """
    posts = np.asarray(post_ids, dtype=np.int64)
    keep = np.ones(len(difference), dtype=bool)
    first = current = surface_test(difference, posts.tolist())
    least = len(difference) - int(most * len(difference))
    while current.accuracy is not None and current.accuracy > target and keep.sum() > least:
        rows = np.flatnonzero(keep)
        n_drop = min(max(int(step * len(rows)), 1), len(rows) - least)
        worst = rows[np.argsort(-current.margin, kind="stable")[:n_drop]]
        keep[worst] = False
        current = surface_test(difference[keep], posts[keep].tolist())
    return keep, first, current


# -- absolute labels -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bars:
    """Where a text becomes desirable or undesirable in itself: `desirable` is on the score's lower bound, `undesirable`
    on its upper one. `relative` says that the desirable bar is this run's own quantile because nothing reached X's."""

    desirable: float
    undesirable: float
    relative: bool


def bars_of_run(lower: NDArray[np.float64], upper: NDArray[np.float64], settings: BuildPairsSettings) -> Bars:
    """The bars from all judged texts of a run. X's Helpful bar if at least one text in a hundred reaches it."""
    if not len(lower):
        return Bars(settings.kto_desirable, -math.inf, False)
    relative = bool((lower >= settings.kto_desirable).mean() < 0.01)
    desirable = float(np.quantile(lower, settings.kto_desirable_quantile)) if relative else settings.kto_desirable
    return Bars(desirable, float(np.quantile(upper, settings.kto_undesirable_quantile)), relative)


def absolute_label(text: Text, bars: Bars, decisions: Sequence[Mapping[str, Any]] = ()) -> tuple[bool, str, str] | None:
    """(desirable?, why, label source) of one text, or None in the grey zone between. A decision of an analyst counts more.

    Not desirable: a failed check or gate, the worst fifth of the run, or X's Not-helpful line -0.05 - 0.8 |factor|. What a reason
    calls `of_run` is relative to the other texts of the run and says nothing of X's bar.
    """
    jury: tuple[bool, str] | None = None
    if text.status == "failed":
        jury = (False, f"failed_{text.gate or 'check'}")
    elif text.status == "judged" and text.lower is not None and text.upper is not None:
        crnh = -0.05 - 0.8 * abs(text.factor or 0.0)
        if text.lower >= bars.desirable and text.upper > bars.undesirable:
            jury = (True, "among_best_of_run" if bars.relative else "lower_bound_reaches_bar")
        elif text.upper <= bars.undesirable or (text.score or 0.0) < crnh:
            jury = (False, "among_worst_of_run" if text.upper <= bars.undesirable else "below_not_helpful_line")
    said = [
        d["kind"] == "accept"
        for d in decisions
        if d["candidate_id"] == text.text_id and d["kind"] in ("accept", "reject")
    ]
    if said:
        agrees = jury is not None and jury[0] == said[-1]
        return said[-1], "accepted" if said[-1] else "rejected", "both" if agrees else "analyst"
    return None if jury is None else (*jury, "jury")


def balanced(labels: Sequence[dict[str, Any]], max_ratio: float) -> tuple[list[dict[str, Any]], int]:
    """The labels with at most `max_ratio` of the commoner kind for one of the rarer, and how many were left out.

    Those of people stay first, the rest is chosen by hash of the text's id. With one kind alone nothing is left out.
    """
    kinds = Counter(bool(row["label"]) for row in labels)
    if len(kinds) < 2:
        return list(labels), 0
    common, rare = kinds[True] > kinds[False], min(kinds.values())
    most = int(max_ratio * rare)
    ranked = sorted(
        (row for row in labels if bool(row["label"]) == common),
        key=lambda row: (row["label_source"] == "jury", hashlib.sha256(row["candidate_id"].encode()).hexdigest()),
    )
    out = {row["candidate_id"] for row in ranked[most:]}
    return [row for row in labels if row["candidate_id"] not in out], len(out)

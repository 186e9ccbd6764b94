"""Which notes are Helpful, Not Helpful or still need ratings: X's rules, in X's order, each named where it acted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from matrix_factorization.settings import SCORING_RULES, StatusSettings

HELPFUL = "CURRENTLY_RATED_HELPFUL"
NOT_HELPFUL = "CURRENTLY_RATED_NOT_HELPFUL"
NEEDS_MORE = "NEEDS_MORE_RATINGS"
OUTSIDE, LOCKED = "OutsidePopulation", "Locked"
STATUSES = (NEEDS_MORE, HELPFUL, NOT_HELPFUL)


@dataclass(frozen=True)
class NoteEvidence:
    """What the rules look at, one entry per note.

    `intercept`, `factor`: NaN where the note has no parameters. `upper`: pseudo-rating upper bound (NaN: not computed). `counts`:
    (n, 2, 3) ratings by side of the rater's factor (negative, positive) and value (0, 0.5, 1). `n_ratings`: all ratings of the population that is
    fitted, also by raters without parameters. `misleading`: what the note says of its post; unknown counts as misleading, as most notes are.
    `was_helpful`: its status before. `without_most_active`, `without_correlated`: intercepts without those raters (NaN: not computed).
    `tag_outlier`: has a not-helpful tag more often than 95 % of Helpful notes. `locked`: index into `STATUSES` of the status locked two weeks after
    the note was written, -1 for none; `None`: no note has one. `captured`: at least half of its ratings come from the population that is fitted; X
    leaves the other notes to another scorer. `None`: all are.
    """

    intercept: np.ndarray
    factor: np.ndarray
    upper: np.ndarray
    counts: np.ndarray
    n_ratings: np.ndarray
    misleading: np.ndarray
    was_helpful: np.ndarray
    without_most_active: np.ndarray
    without_correlated: np.ndarray
    tag_outlier: np.ndarray
    locked: np.ndarray | None = None
    captured: np.ndarray | None = None

    @property
    def net_helpful(self) -> np.ndarray:
        """(n, 2) helpful minus not helpful ratings on the negative and the positive side."""
        return self.counts[:, :, 2] - self.counts[:, :, 0]


@dataclass(frozen=True)
class Statuses:
    """`status`: (n,) index into `STATUSES`. `rules`: for each note the names of the rules that acted, in order. `own`: what the
    rules say before a locked status is kept."""

    status: np.ndarray
    rules: list[list[str]]
    own: np.ndarray

    @property
    def names(self) -> list[str]:
        return [STATUSES[k] for k in self.status]


TODAY = SCORING_RULES[max(SCORING_RULES)][0]
"""Names of the rules that act by the newest of X's rules."""


def provisional_statuses(evidence: NoteEvidence, settings: StatusSettings, acting: frozenset[str] = TODAY) -> Statuses:
    """Statuses after the first round, by which raters are measured; without the rules X keeps for the end.

    Source: communitynotes `note_ratings.py`, `compute_scored_notes` with `finalRound=False`.
    """
    return _apply(_first_rules(evidence, settings), len(evidence.intercept), acting)


def final_statuses(evidence: NoteEvidence, settings: StatusSettings, acting: frozenset[str] = TODAY) -> Statuses:
    """Statuses by the rules named in `acting`, and by those that are not Core's: a note of another population has no status,
    a locked one is kept. A rule acts only on the notes for which its condition holds when its turn comes.

    What X does besides stands in the README, "Not included". Source: communitynotes `note_ratings.py`, `scoring_rules.py` and, for "Locked", `note_status_history.py`.
    """
    s, e = settings, evidence
    enough = e.n_ratings >= s.min_ratings
    weaker = np.maximum(e.net_helpful.min(axis=1), 0)
    rated = np.maximum(e.counts.sum(axis=(1, 2)), 1)
    rules = _first_rules(e, s)
    on_each_side = e.counts.sum(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (e.counts[:, :, 2] + 0.5 * e.counts[:, :, 1]) / on_each_side
    ratio = (
        enough
        & (on_each_side.min(axis=1) >= s.ratio_min_raters)
        & (mean <= s.ratio_each_side).all(axis=1)
        & (mean.mean(axis=1) <= s.ratio_average)
    )
    not_misleading = rules.pop()  # NmCRNH comes after RatioCRNH
    near = e.was_helpful & enough & e.misleading
    rules += [
        ("RatioCRNH", NOT_HELPFUL, None, ratio),
        not_misleading,
        ("GeneralCRHInertia", HELPFUL, "not helpful yet", near & (e.intercept >= s.helpful_intercept - s.helpful_inertia)),
        ("TagFilter", NEEDS_MORE, HELPFUL, e.tag_outlier),
        ("CRHSuperThreshold", HELPFUL, "not helpful yet", enough & e.misleading & (e.intercept >= s.tag_outlier_intercept)),
        (
            "ElevatedCRHInertia",
            HELPFUL,
            "not helpful yet",
            near & e.tag_outlier & (e.intercept >= s.tag_outlier_intercept - s.helpful_inertia),
        ),
        ("FilterLargeFactor", NEEDS_MORE, HELPFUL, np.abs(e.factor) >= s.largest_factor),
        ("MinMinorityRaters", NEEDS_MORE, HELPFUL, weaker < s.min_net_helpful),
        ("RaterBalance", NEEDS_MORE, HELPFUL, (weaker < s.enough_net_helpful) & (weaker / rated < s.min_net_share)),
        ("NoHighVolIntercept", NEEDS_MORE, HELPFUL, e.without_most_active < s.baseline_intercept),
        ("NoCorrelatedIntercept", NEEDS_MORE, HELPFUL, e.without_correlated < s.baseline_intercept),
    ]  # fmt: skip
    if e.captured is not None:
        rules.append((OUTSIDE, NEEDS_MORE, None, ~e.captured))
    if e.locked is not None:
        rules += [(LOCKED, name, None, e.locked == k) for k, name in enumerate(STATUSES)]
    return _apply(rules, len(e.intercept), acting | {OUTSIDE, LOCKED})


def _first_rules(e: NoteEvidence, s: StatusSettings) -> list[tuple[str, str, str | None, np.ndarray]]:
    """(name, new status, which notes it looks at, condition). Comparisons with NaN are false: such notes stay as they are."""
    enough = e.n_ratings >= s.min_ratings
    return [
        ("InitialNMR", NEEDS_MORE, None, np.ones(len(e.intercept), bool)),
        ("GeneralCRH", HELPFUL, None, enough & e.misleading & (e.intercept >= s.helpful_intercept)),
        (
            "GeneralCRNH",
            NOT_HELPFUL,
            None,
            enough & (e.intercept < s.not_helpful_intercept + s.not_helpful_slope * np.abs(e.factor)),
        ),
        ("UcbCRNH", NOT_HELPFUL, None, enough & (e.upper < s.not_helpful_upper_bound)),
        ("NmCRNH", NOT_HELPFUL, None, enough & ~e.misleading & (e.intercept < s.not_misleading_intercept)),
    ]


def _apply(rules: list[tuple[str, str, str | None, np.ndarray]], n: int, acting: frozenset[str]) -> Statuses:
    status = np.zeros(n, dtype=np.int8)
    own = status
    acted: list[list[str]] = [[] for _ in range(n)]
    for name, new, looks_at, condition in rules:
        if name not in acting:
            continue
        if name == LOCKED and own is status:
            own = status.copy()
        if looks_at == HELPFUL:
            condition = condition & (status == STATUSES.index(HELPFUL))
        elif looks_at == "not helpful yet":
            condition = condition & (status != STATUSES.index(HELPFUL))
        status[condition] = STATUSES.index(new)
        for k in np.flatnonzero(condition).tolist():
            acted[k].append(name)
    return Statuses(status, acted, own)

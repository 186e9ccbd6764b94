"""Whose ratings count in the final round: agreement with outcomes, and how one's own notes fared (X's helpfulness scores)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A rating is valid evidence of judgement only while its outcome could not be looked up: X publishes ratings 48 h after a note.
PUBLIC_AFTER_MILLIS = 48 * 3600 * 1000
# Before 19 May 2022 status times were not kept; X takes a note's first five ratings instead (note_ratings.py).
STATUS_TIMES_KEPT_SINCE_MILLIS = 1_652_918_400_000
FIRST_RATINGS_OF_OLD_NOTES = 5


@dataclass(frozen=True)
class Helpfulness:
    """One entry per rater, (n,) each; NaN where the rater has no valid ratings or wrote no scored note.

    `agree_ratio`: share of valid ratings that agree with the note's status. `crh_crnh_difference`: share of own notes Helpful minus
    5 x share Not Helpful. `mean_note_score`: mean intercept of own notes. `good_author`: these two pass, or no scored note of theirs.
    `above_threshold`: X's whole rule.
    """

    n_valid: np.ndarray
    n_agree: np.ndarray
    agree_ratio: np.ndarray
    crh_crnh_difference: np.ndarray
    mean_note_score: np.ndarray
    good_author: np.ndarray
    above_threshold: np.ndarray


def valid_ratings(
    note_index: np.ndarray,
    created_at: np.ndarray,
    note_created_at: np.ndarray,
    status_at: np.ndarray,
) -> np.ndarray:
    """True for ratings made before their outcome could be known.

    `note_index`, `created_at` (milliseconds): one per rating, grouped by note and ascending in time within a note. `note_created_at`,
    `status_at`: one per note, milliseconds as float; NaN: unknown, or never had a status. Valid: within 48 h of the note and, for notes since
    19 May 2022, before the note's first status; for older ones among the first five ratings. With an unknown note age every rating in
    time before the status is valid. Source: communitynotes `get_ratings_before_note_status_and_public_tsv`.
    """
    age = created_at - note_created_at[note_index]
    early = ~(age >= PUBLIC_AFTER_MILLIS)
    old = note_created_at < STATUS_TIMES_KEPT_SINCE_MILLIS
    before_status = ~(created_at >= status_at[note_index])
    first = np.concatenate(([True], note_index[1:] != note_index[:-1])) if len(note_index) else np.zeros(0, bool)
    rank = np.arange(len(note_index)) - np.maximum.accumulate(np.where(first, np.arange(len(note_index)), 0))
    return early & np.where(old[note_index], rank < FIRST_RATINGS_OF_OLD_NOTES, before_status)


def rater_helpfulness(
    *,
    note_index: np.ndarray,
    rater_index: np.ndarray,
    value: np.ndarray,
    valid: np.ndarray,
    note_status: np.ndarray,
    note_intercept: np.ndarray,
    note_author: np.ndarray,
    n_raters: int,
    min_agree_ratio: float,
    min_crh_vs_crnh: float,
    min_mean_note_score: float,
) -> Helpfulness:
    """Helpfulness scores of every rater from provisional statuses.

    `note_status`: (n_notes,) 1 Helpful, -1 Not Helpful, 0 neither. `note_author`: rater index of the author, -1 if not among the raters.
    Only helpful and not-helpful ratings of notes with a status count. A rater without a valid rating is not above the threshold: nothing
    shows that they judge well. Source: communitynotes `helpfulness_scores.py`, without the harassment penalty.
    """
    outcome = note_status[note_index]
    counted = valid & (outcome != 0) & (value != 0.5)
    agrees = counted & ((value == 1.0) == (outcome == 1))
    n_valid = np.bincount(rater_index[counted], minlength=n_raters)
    n_agree = np.bincount(rater_index[agrees], minlength=n_raters)
    scored = ~np.isnan(note_intercept) & (note_author >= 0)
    author = note_author[scored]
    n_notes = np.bincount(author, minlength=n_raters)
    helpful = np.bincount(author[note_status[scored] == 1], minlength=n_raters)
    not_helpful = np.bincount(author[note_status[scored] == -1], minlength=n_raters)
    with np.errstate(invalid="ignore", divide="ignore"):
        agree_ratio = n_agree / n_valid
        difference = (helpful - 5.0 * not_helpful) / n_notes
        mean_score = np.bincount(author, note_intercept[scored], n_raters) / n_notes
    good_author = (n_notes == 0) | ((difference >= min_crh_vs_crnh) & (mean_score >= min_mean_note_score))
    return Helpfulness(
        n_valid,
        n_agree,
        agree_ratio,
        difference,
        mean_score,
        good_author,
        good_author & (agree_ratio >= min_agree_ratio),
    )


def survivors_on_evidence(helpfulness: Helpfulness, min_agree_ratio: float, min_valid: int) -> np.ndarray:
    """(n,) bool: all raters but those *shown* to be unhelpful, by at least `min_valid` valid ratings or by their own notes.

    X's rule also drops raters without valid ratings and takes the ratio of one rating for a judgement. On X's data that costs little; where
    most raters have one valid rating, it throws away good raters by a coin's toss (README, "The helpfulness filter on little data").
    """
    shown = (helpfulness.n_valid >= min_valid) & (helpfulness.agree_ratio < min_agree_ratio)
    return helpfulness.good_author & ~shown

"""Codes of stages, outcomes and reasons as a colleague would say them; the inspector and the report page say the same."""

from __future__ import annotations

_CODES = {
    "already_helpful": "a note is shown on X already",
    "answered": "raters say that no note is needed",
    "contradicting_sources": "the notes contradict each other",
    "language_not_in_training": "the jury hardly knows the language",
    "language_unheard": "the jury hardly knows the language",  # as runs before 0.6 call it
    "no_candidates": "nothing could be written",
    "no_text": "the post's text is not known",
    "not_better_than_existing": "no better than a note that is there",
    "note_not_needed": "raters say that no note is needed",
    "nothing_passed_checks": "nothing passed the checks",
    "judge_unreadable": "the judging model gave no answer",
    "one_sided": "only one side would accept it",
    "only_not_misleading": "all notes find the post right",
    "outside_age_window": "the post is too old or too new",
    "too_few_notes": "too few notes to merge",
    "bridging_intercept": "bridging score",
    "cluster_notes": "clustering the notes",
    "fit_raters": "fitting the raters",
    "select_winners": "choosing winners",
    "unreadable": "could not be read",
    "accepted_fails_checks": "fails a check",
    "edit_fails_checks": "the edit fails a check",
    "source_deleted": "a source was deleted",
    "reviewers_disagree": "the reviewers disagree",
    "not_applied": "decided in another run only",
    "text_changed": "the text has changed",
    "gone": "the text is gone",
    "publish_none": "none published",
    "open": "not selected yet",
}


def words(code: str | None) -> str:
    """A code as a reader would say it; one that is not known with blanks for its underscores."""
    return _CODES.get(code or "", (code or "").replace("_", " "))

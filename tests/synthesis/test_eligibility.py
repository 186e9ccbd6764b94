"""Which posts get a supernote: every rule alone, their order, and rules that need a present moment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nouns.post import NOT_MISLEADING
from synthesis.cluster.eligibility import DAY_MS, NoteFacts, exclusion
from synthesis.settings import ClusterNotesSettings
from tests.synthesis.world import BRIDGE, BRIDGE_OTHER, FINE, note

SETTINGS = ClusterNotesSettings()
NOW = 1_700_000_000_000
TWO = [NoteFacts(note(1, BRIDGE, created_at=NOW)), NoteFacts(note(2, BRIDGE_OTHER, created_at=NOW))]


def _code(notes, borrowed=0, as_of=None, settings=SETTINGS):
    found = exclusion(notes, borrowed, settings, as_of)
    if found is not None:
        assert found.sentence.endswith(".")
        assert len(found.sentence) > 20
    return found.code if found else None


def test_two_distinct_notes_are_enough():
    assert _code(TWO) is None


def test_one_note_is_too_few_unless_a_story_lends_one():
    assert _code(TWO[:1]) == "too_few_notes"
    assert _code(TWO[:1], borrowed=1) is None


def test_a_copy_does_not_count_as_a_second_note():
    assert _code([TWO[0], replace(TWO[1], duplicate=True)]) == "too_few_notes"


def test_a_note_that_is_already_helpful_excludes_the_post_before_all_else():
    shown = NoteFacts(note(3, "", status="CURRENTLY_RATED_HELPFUL"))
    assert _code([*TWO, shown]) == "already_helpful"


def test_notes_that_say_nothing_or_that_call_the_post_fine_leave_nothing_to_merge():
    assert _code([NoteFacts(note(1, "  ")), NoteFacts(note(2, "ok"))]) == "no_text"
    fine = [NoteFacts(note(i, FINE, classification=NOT_MISLEADING)) for i in (1, 2)]
    assert _code(fine) == "only_not_misleading"
    assert _code([TWO[0], fine[1]]) == "too_few_notes"


@pytest.mark.parametrize(("ticks", "ratings", "excluded"), [(5, 10, True), (4, 10, False), (4, 4, False), (5, 5, True)])
def test_raters_who_said_that_no_note_is_needed_have_answered(ticks, ratings, excluded):
    told = NoteFacts(note(1, BRIDGE, n_ratings=ratings), not_needed=ticks)
    assert _code([told, TWO[1]]) == ("note_not_needed" if excluded else None)


def test_locked_and_old_posts_are_excluded_only_when_a_present_moment_is_given():
    locked = [replace(facts, locked=True) for facts in TWO]
    assert _code(locked) is None
    assert _code(locked, as_of=NOW) == "locked"
    assert _code([locked[0], TWO[1]], as_of=NOW) is None
    young = replace(SETTINGS, max_age_days=3.0)
    assert _code(TWO, as_of=NOW + 4 * DAY_MS, settings=young) == "too_old"
    assert _code(TWO, as_of=NOW + 2 * DAY_MS, settings=young) is None
    assert _code(TWO, settings=young) is None

"""What stages have to say beside their numbers."""

import pytest

from nouns.notices import notices_of


@pytest.mark.parametrize(("read", "level", "asks"), [(100, "told", False), (75, "told", False), (60, "warned", True)])
def test_ratings_by_raters_the_jury_does_not_know_are_told_and_many_ask_for_a_refit(read, level, asks):
    (said,) = notices_of("judge_candidates", {"sibling_ratings": 100, "read_with_the_jury": read})
    assert said["level"] == level
    assert f"{100 - read} of 100 ratings" in said["text"]
    assert ("run.jury_days=0" in said["text"]) is asks


def test_nothing_is_said_where_no_rating_was_read():
    assert notices_of("judge_candidates", {"sibling_ratings": 0}) == []


def test_the_gravest_notice_stands_first_and_plain_sentences_of_older_versions_are_told():
    counts = {"notices": ["an older sentence", {"level": "refused", "text": "stopped"}]}
    assert [entry["level"] for entry in notices_of("ingest", counts)] == ["refused", "told"]

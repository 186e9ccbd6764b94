"""Defaults < supernotes.toml < environment < flags; an unknown key names its neighbour."""

from __future__ import annotations

import dataclasses

import pytest

from nouns.errors import InputError
from pipeline.settings import (
    Settings,
    as_dict,
    given_values,
    load_settings,
    output_settings,
    settings_from_dict,
    settings_of_run,
    speed_fields,
    with_given,
)


def test_later_sources_override_earlier_ones(tmp_path):
    file = tmp_path / "supernotes.toml"
    file.write_text("[run]\nposts_per_shard = 11\nseed = 1\n")
    assert load_settings(file, environment={}).run.posts_per_shard == 11
    env = {"SUPERNOTES_RUN__POSTS_PER_SHARD": "12"}
    assert load_settings(file, environment=env).run.posts_per_shard == 12
    both = load_settings(file, environment=env, flags=["run.posts_per_shard=13"])
    assert (both.run.posts_per_shard, both.run.seed) == (13, 1)


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("run.posts_per_shart=3", "did you mean 'posts_per_shard'"),
        ("judge_candidate.n_jurors=3", "did you mean 'judge_candidates'"),
        ("run.posts_per_shard=many", "run.posts_per_shard = 'many' does not fit"),
        ("run.posts_per_shard", "not of the form"),
    ],
)
def test_a_wrong_setting_is_one_clear_error(flag, says):
    with pytest.raises(InputError, match=says):
        load_settings(environment={}, flags=[flag])


def test_a_broken_file_is_one_clear_error(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_settings(tmp_path / "none.toml", environment={})
    broken = tmp_path / "broken.toml"
    broken.write_text("[run\n")
    with pytest.raises(InputError, match="not valid TOML"):
        load_settings(broken, environment={})


def test_settings_survive_being_kept_with_a_run():
    settings = load_settings(environment={})
    assert settings_from_dict(as_dict(settings)) == settings


def test_a_run_of_an_older_version_stays_readable_and_says_which_settings_were_retired():
    settings = load_settings(environment={}, flags=["judge_candidates.n_jurors=77"])
    kept = as_dict(settings)
    kept["judge_candidates"]["jurors_per_post"] = 12
    kept["vote_counting"] = {"by_hand": True}
    read, retired = settings_of_run(kept)
    assert read == settings
    assert retired == ("judge_candidates.jurors_per_post", "vote_counting")


def test_settings_of_speed_stay_out_of_fingerprints():
    settings = load_settings(environment={})
    found = speed_fields(Settings)
    assert {"ingest.threads", "draft_candidates.base_url", "run.posts_per_shard", "judge_candidates.batch"} <= found
    for name in found:
        table, _, key = name.partition(".")
        assert key not in output_settings(settings, table)


def test_every_field_has_a_default_and_a_simple_type():
    for table in dataclasses.fields(Settings):
        assert dataclasses.is_dataclass(table.default_factory), table.name
        as_dict(table.default_factory())


def test_what_is_given_for_one_table_leaves_all_else_as_the_run_had_it(tmp_path):
    frozen = load_settings(environment={}, flags=["export.test_share=0.3", "judge_candidates.n_jurors=50"])
    given = given_values(
        environment={"SUPERNOTES_EXPORT__INCLUDE_POST_TEXT": "true"}, flags=["judge_candidates.n_jurors=9"]
    )
    now = with_given(frozen, "export", given)
    assert (now.export.include_post_text, now.export.test_share) == (True, 0.3)
    assert now.judge_candidates.n_jurors == 50
    with pytest.raises(InputError, match="include_post_text"):
        with_given(frozen, "export", given_values(environment={}, flags=["export.include_post_txt=true"]))

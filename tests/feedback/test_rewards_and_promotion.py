from __future__ import annotations

import json
from dataclasses import replace

import polars as pl
import pytest

from feedback.settings import CompareWritersSettings, TuneWriterSettings
from feedback.tune.reward import FLOOR, REWARDS, directories_of, jury_reward, make_jury_reward
from jury.records import JudgedText
from jury.settings import JudgeCandidatesSettings
from nouns.errors import InputError
from synthesis.draft.prompts import as_reply
from synthesis.settings import CheckCandidatesSettings
from tests.calling import compare_writers, tune_writer
from tests.jury.world import CANDIDATES, CHECKS, MISLEADING, PlantedRater, World, a_jury, planted

WHERE = ("jury", "snapshot", "parameters", "clusters")


PLAIN = CheckCandidatesSettings(min_rubric=0.0, min_overlap=0.0, min_alignment=0.0)
"""The invented world's notes are half a sentence and a plant; what a note must support is tested elsewhere."""


def a_reward(run, model=None, **how):
    settings = JudgeCandidatesSettings(n_jurors=60)
    how = {"check_settings": PLAIN} | how
    return make_jury_reward(**run.inputs(*WHERE), settings=settings, model=model or PlantedRater(), **how)


def row(n, **more):
    return {"post_id": ["1000"] * n, "classification": [MISLEADING] * n, "source_note_ids": [["1", "2"]] * n} | {
        name: [value] * n for name, value in more.items()
    }


def said(name, q, link="https://news.example.org/note1"):
    """A note as the planted world reads it, with a link that stands in note 1 of post 1000."""
    return f"{name} says what happened [q={q:+.2f} f=+0.00] {link}"


def shows(*notes):
    """A prompt that shows these notes: what a reply to it may rest on."""
    n = len(notes)
    framed = [f"[begin note {i} of {n}: proposed]\n| {note}\n[end note {i} of {n}]" for i, note in enumerate(notes, 1)]
    return [{"role": "user", "content": "\n\n".join(framed)}]


ANAS = shows(said("Ana", 0.1), said("Ana", 0.2), said("Ana", 0.3))


def test_the_reward_is_higher_for_the_better_note_and_lowest_for_what_is_none(run):
    reward = a_reward(run)
    texts = [said("Ana", 0.1), said("Ana", 0.3), "", "word " * 100]
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    found = reward([ANAS] * 4, completions, **row(4))
    assert found[1] > found[0] > FLOOR
    assert found[2:] == [FLOOR, FLOOR]
    assert reward([ANAS], texts[:1], post_id=["1000"]) == pytest.approx(found[:1], abs=1e-6)
    assert reward([ANAS], texts[:1], post_id=["999"]) == [FLOOR]


def test_a_reply_in_the_form_that_was_asked_for_is_worth_what_its_note_is(run):
    reward = a_reward(run)
    note = said("Ana", 0.2)
    bare = reward([ANAS], [note], **row(1, reply_form="text"))
    assert bare[0] > FLOOR
    assert reward([ANAS], [as_reply(note, "json")], **row(1, reply_form="json")) == bare
    assert reward([ANAS], [f"<think>hm</think>{as_reply(note, 'json')}"], **row(1, reply_form="json")) == bare
    assert reward([ANAS], ['{"note": "half a not'], **row(1, reply_form="json")) == [FLOOR]


class EverythingHelps(PlantedRater):
    """A jury that can be gamed: any link, shout or number lifts a text."""

    def seat(self, jury):
        inner = super().seat(jury)

        class Seat:
            def rate(self, texts):
                lift = [
                    0.1 * t.text.count("http") + 0.05 * t.text.count("!") + 0.01 * len(t.text.split()) for t in texts
                ]
                plants = [
                    replace(t, text=f"[q={0.1 + more:+.2f} f=+0.00]") for t, more in zip(texts, lift, strict=True)
                ]
                return inner.rate(plants)

        return Seat()


@pytest.mark.parametrize(
    "added",
    ["You would have to be an idiot to believe this!", "https://free-news.example.net/win", "About 87% of all 412 experts agree!"],
)  # fmt: skip
def test_what_fails_a_check_gets_the_floor_whatever_the_jury_says(run, added):
    reward = a_reward(run, EverythingHelps())
    before, after = said("Ana", 0.1), f"{said('Ana', 0.1)} {added}"
    jury_alone = EverythingHelps().seat(a_jury()).rate([JudgedText("0", t, MISLEADING) for t in (before, after)])
    assert (
        jury_alone.expected().mean(axis=0)[1] > jury_alone.expected().mean(axis=0)[0]
    )  # the jury alone would be gamed
    found = reward.rewarded([ANAS] * 2, [before, after], **row(2))
    assert found[0].total > FLOOR
    assert found[1].total == FLOOR
    assert (found[0].checks, found[1].checks) == (1.0, 0.0)


def test_the_parts_are_kept_apart(run):
    reward = a_reward(run)
    long = said("Ana", 0.1) + " and so on" * 60
    good, too_long, unreadable = reward.rewarded([ANAS] * 3, [said("Ana", 0.3), long, "{"], **row(3, reply_form="json"))
    assert 0 < good.sides <= 1
    assert good.length == 0.0
    assert -1 <= too_long.length < 0
    assert (too_long.total, too_long.checks, too_long.sides) == (FLOOR, 0.0, 0.0)
    assert (unreadable.total, unreadable.length) == (FLOOR, -1.0)


def test_a_text_may_rest_on_what_its_prompt_shows_and_on_nothing_else(run):
    reward = a_reward(run)
    shown, other = said("Ana", 0.1, "https://record.example.org/1"), said("Ana", 0.1)
    assert [r.checks for r in reward.rewarded([shows(shown)] * 2, [shown, other], **row(2))] == [1.0, 0.0]


def test_every_text_is_judged_once_though_each_part_asks(run):
    class Counted(PlantedRater):
        asked = 0

        def seat(self, jury):
            inner = super().seat(jury)

            class Seat:
                def rate(self, texts):
                    Counted.asked += len(texts)
                    return inner.rate(texts)

            return Seat()

    reward = a_reward(run, Counted())
    for _ in REWARDS:
        reward.rewarded([ANAS] * 3, [said("Ana", 0.1), said("Ana", 0.2), said("Ana", 0.1)], **row(3))
    assert Counted.asked == 2


def test_a_reward_without_posts_or_jury_says_what_to_set(run, monkeypatch):
    with pytest.raises(InputError, match="remove_unused_columns"):
        a_reward(run)(["p"], ["text"])
    for name in (*WHERE, "run", "workspace"):
        monkeypatch.delenv(f"SUPERNOTES_REWARD_{name.upper()}", raising=False)
    with pytest.raises(InputError, match="SUPERNOTES_REWARD_JURY"):
        jury_reward(["p"], ["text"], post_id=["1"])


def test_the_reward_finds_its_directories_by_the_run(tmp_path):
    run = tmp_path / "runs" / "r1"
    for stage in ("fit_raters", "cluster_notes"):
        (run / stage).mkdir(parents=True)
    for stage, where in (("ingest", "snapshots/s"), ("train_jury", "models/jury-j")):
        (run / stage).mkdir()
        (tmp_path / where).mkdir(parents=True)
        (run / stage / "pointer.json").write_text(json.dumps({"path": where}))
    wanted = {"snapshot": tmp_path / "snapshots/s", "jury": tmp_path / "models/jury-j", "parameters": run / "fit_raters", "clusters": run / "cluster_notes"}  # fmt: skip
    assert directories_of({"run": str(run)}) == wanted
    assert directories_of({"run": "r1", "workspace": str(tmp_path)}) == wanted
    assert directories_of({"run": str(run), "jury": "other"})["jury"].name == "other"
    with pytest.raises(InputError, match="There is no run"):
        directories_of({"run": "r2", "workspace": str(tmp_path)})


def test_grpo_without_a_jury_is_refused(tmp_path):
    with pytest.raises(InputError, match="train-jury"):
        tune_writer(tmp_path, TuneWriterSettings(method="grpo"), data=tmp_path)


def drafts(folder, posts, gain):
    """A writer's drafts on the posts, better by `gain`, and their checks."""
    folder.mkdir()
    rows = []
    for post in posts:
        for i in range(3):
            text = planted(f"{folder.name}{post}x{i}", 0.05 * i + gain + (post % 5) * 0.01)
            rows.append(
                {
                    "candidate_id": f"{folder.name}-{post}-{i}",
                    "post_id": post,
                    "cluster_id": "c",
                    "text": text,
                    "language": "en",
                    "classification": MISLEADING,
                    "source_note_ids": [],
                    "writer": folder.name,
                    "prompt_version": "v",
                    "seed": i,
                    "parent_id": None,
                    "round": 0,
                    "request_id": "q",
                }
            )
    pl.DataFrame(rows, schema=CANDIDATES).write_parquet(folder / "candidates.parquet")
    checks = [
        {
            "candidate_id": row["candidate_id"],
            "post_id": row["post_id"],
            "check": "length",
            "outcome": "passed",
            "reason": "",
            "start": None,
            "end": None,
            "principle": "",
        }
        for row in rows
    ]
    pl.DataFrame(checks, schema=CHECKS).write_parquet(folder / "checks.parquet")
    return folder


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    root = tmp_path_factory.mktemp("writers")
    posts = {5000 + p: {"notes": {100 + p: (0.1, 0.0)}} for p in range(150)}
    world = World(root / "world", posts)
    old, new = drafts(root / "old", posts, 0.0), drafts(root / "new", posts, 0.1)
    results = []
    for n, (a, b) in enumerate(((old, new), (new, old))):
        out = root / f"out{n}"
        out.mkdir()
        counts = compare_writers(
            out,
            CompareWritersSettings(draws=200),
            **world.inputs(*WHERE),
            current=a,
            current_checks=a,
            new=b,
            new_checks=b,
            judge_settings=JudgeCandidatesSettings(n_jurors=60, n_appeal=60),
            proxy_model=PlantedRater(),
            gold_model=PlantedRater(),
        )
        results.append((counts, json.loads((out / "comparison.json").read_text())))
    return results


def test_the_better_writer_is_promoted_and_the_worse_one_refused_with_a_reason(compared):
    (counts, better), (_, worse) = compared
    assert counts["decision"] == better["decision"] == "promote", better["reason"]
    assert better["score_difference"]["value"] == pytest.approx(0.1, abs=0.02)
    assert worse["decision"] == "refuse"
    assert "not surely better" in worse["reason"]
    assert 5 <= counts["in"] <= 30  # about a tenth of 150 posts is held out
    assert counts["in"] == counts["out"] + sum(counts["rejected"].values())

"""From clustered notes to requests and from answers to candidates; and the stage that does both."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import polars as pl
import pytest

from nouns.post import MISLEADING, Completion, Note, Post
from synthesis.draft.draft import candidates_of, generate_whole, requests_for, seed_for
from synthesis.draft.prompts import draft_request
from synthesis.draft.stage import draft_requests_json
from synthesis.generation.scripted import Scripted
from synthesis.settings import ClusterNotesSettings, DraftCandidatesSettings
from tests.calling import as_run, cluster_notes, draft_candidates
from tests.synthesis.world import bridge_notes, note, write_parameters, write_snapshot
from texts.note import canonical_urls, note_length

SETTINGS = DraftCandidatesSettings()
SPANISH = [
    note(81, "El puente de Halden no fue cerrado por el alcalde. El ingeniero lo cerró el 3 de marzo. https://condado.example/puente", 8),
    note(82, "La grieta en la viga norte mide 14 cm, según los inspectores del condado. https://noticias.example/grieta", 8),
]  # fmt: skip
NOTES = [*bridge_notes(), *SPANISH]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    snapshot = write_snapshot(root / "snapshot", NOTES, texts={1: "The mayor closed our bridge!"}, languages={8: "es"})
    parameters = write_parameters(root / "fit", NOTES)
    (root / "clusters").mkdir()
    settings = ClusterNotesSettings(embedder="hashing")
    cluster_notes(root / "clusters", settings, snapshot=snapshot, parameters=parameters)
    return {"snapshot": snapshot, "parameters": parameters, "clusters": root / "clusters"}


def _draft(tmp_path, world, name="out", settings=SETTINGS, **more):
    out = tmp_path / name
    out.mkdir()
    counts = draft_candidates(out, settings, **world, **more)
    return out, counts, pl.read_parquet(out / "candidates.parquet")


def test_every_candidate_names_the_notes_it_rests_on_and_none_of_the_other_stance(tmp_path, world):
    _, counts, candidates = _draft(tmp_path, world)
    assert counts["in"] == counts["out"] + sum(counts["rejected"].values())
    assert counts["out"] == len(candidates) > 4
    texts = {n.note_id: n.text for n in NOTES}
    for row in candidates.iter_rows(named=True):
        sources = [texts[i] for i in row["source_note_ids"]]
        assert canonical_urls([row["text"]]) <= canonical_urls(sources)
        assert all(any(word in row["text"] for word in source.split(". ")) for source in sources)
        assert 15 not in row["source_note_ids"]
        assert 13 not in row["source_note_ids"]
        assert note_length(row["text"]) <= 280
        assert row["writer"] == "extractive"


def test_a_spanish_post_gets_spanish_candidates(tmp_path, world):
    candidates = _draft(tmp_path, world)[2].filter(pl.col("post_id") == 8)
    assert set(candidates["language"]) == {"es"}
    assert all("puente" in text or "grieta" in text for text in candidates["text"])


def test_equal_texts_of_a_post_are_kept_once(tmp_path, world):
    candidates = _draft(tmp_path, world)[2]
    assert candidates.select("post_id", "text").is_duplicated().sum() == 0
    assert candidates["candidate_id"].is_unique().all()


def test_posts_one_by_one_give_the_rows_of_all_posts_together(tmp_path, world):
    together = _draft(tmp_path, world)[2]
    parts = [_draft(tmp_path, world, name=f"part{post}", posts=[post])[2] for post in (1, 8)]
    assert pl.concat(parts).equals(together)


def test_two_runs_write_equal_bytes(tmp_path, world):
    first, second = _draft(tmp_path, world)[0], _draft(tmp_path, world, name="again")[0]
    for name in ("candidates.parquet", "prompts.parquet", "failures.parquet"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_no_posts_give_empty_tables_with_equal_columns(tmp_path, world):
    _, counts, empty = _draft(tmp_path, world, name="none", posts=[])
    assert counts["in"] == counts["out"] == 0
    assert empty.schema == _draft(tmp_path, world)[2].schema


def test_every_candidate_leads_to_its_prompt(tmp_path, world):
    out, _, candidates = _draft(tmp_path, world)
    prompts = pl.read_parquet(out / "prompts.parquet")
    assert set(candidates["request_id"]) <= set(prompts["request_id"])
    assert prompts["prompt_sha256"].str.len_chars().unique().to_list() == [64]


def test_a_dry_run_prints_the_requests_and_calls_no_model(world):
    settings = replace(SETTINGS, backend="openai", base_url="http://127.0.0.1:9/v1", model="m")
    lines = [json.dumps(entry) for entry in draft_requests_json(settings, as_run(**world), seed=5)]
    assert 2 <= len(lines) <= 2 * settings.subsets
    assert all(isinstance(json.loads(line)["post_id"], str) for line in lines)


def _items(world):
    from synthesis.draft.stage import read_items

    return list(read_items(as_run(**world), None))


def test_a_post_needs_few_requests_and_no_two_draws_share_a_seed(world):
    requests = [r for item in _items(world) for r in requests_for(item, SETTINGS, samples=4, seed=7)]
    seeds = [r.seed + draw for r in requests for draw in range(r.n)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(sum(r.post_id == item.post.post_id for r in requests) for item in _items(world)) <= SETTINGS.subsets


def test_neighbouring_seeds_leave_room_for_thousands_of_draws():
    seeds = sorted(seed_for(0, "draft", post, "1,2") for post in range(2000))
    assert min(b - a for a, b in itertools.pairwise(seeds)) >= 4096
    assert seed_for(1, "draft") != seed_for(2, "draft")


def test_answers_are_accounted_for_text_by_text(world):
    item = _items(world)[0]
    request = next(requests_for(item, SETTINGS, samples=5, seed=0))
    texts = ('{"note": "The dam held. https://a.example"}', "The dam held. https://a.example", '{"note": "broken o')
    drafted = candidates_of([(request, Completion(request.request_id, texts, "m", failure="timeout: 3 of 5 came"))], {})
    assert [c.text for c in drafted.candidates] == ["The dam held. https://a.example"]
    assert drafted.accounts == {"asked": 5, "kept": 1, "same_text": 1, "unreadable_answer": 1, "no_answer": 2}
    assert drafted.failures[0].reason_code == "timeout"
    assert drafted.candidates[0].source_note_ids == tuple(n.note_id for n in request.sources)


def test_an_id_names_post_text_writer_and_parent(world):
    item = _items(world)[0]
    request = next(requests_for(item, SETTINGS, samples=1, seed=0))
    answer = Completion(request.request_id, ("The dam held, says the county.",), "m")

    def one(**more):
        return candidates_of([(request, answer)], {}, **more).candidates[0].candidate_id

    assert one() == one(round=1)
    assert one() != one(parents={request.request_id: "p"})


class TestBrokenOffReplies:
    def ask(self, answers, room=1):
        """Candidates of one request for two texts that a model answers with `answers` (per call: texts, finish reasons)."""
        given = iter(answers)

        def script(request):
            texts, reasons = next(given)
            return Completion(request.request_id, texts, "m", finish_reasons=reasons)

        writer = Scripted(script)
        note = Note(1, 10, "The photo is from 2019. https://news.example/photo", MISLEADING)
        request = draft_request(Post(10), "c", (note,), SETTINGS, language="en", n=2, seed=0)
        found, paid, again = generate_whole(writer, [request], lambda post: room)
        drafted = candidates_of([(request, found[request.request_id])], {1: "c"})
        return drafted, writer.requests, paid, again

    def test_half_a_reply_is_asked_for_once_more_with_more_room(self):
        drafted, requests, paid, again = self.ask(
            [(("Whole.", "Half of a"), ("stop", "length")), (("Now whole.",), ("stop",))]
        )
        assert [c.text for c in drafted.candidates] == ["Whole.", "Now whole."]
        assert [r.n for r in requests] == [2, 1]
        assert requests[1].max_tokens == 2 * requests[0].max_tokens
        assert (len(paid), len(again)) == (2, 1)
        assert drafted.failures == ()

    @pytest.mark.parametrize("why", ["length", "abort"])
    def test_what_stays_broken_is_no_candidate_and_the_reason_says_why(self, why):
        drafted, *_ = self.ask([(("Whole.", "Half of a"), ("stop", why)), (("Half again and",), (why,))])
        assert [c.text for c in drafted.candidates] == ["Whole."]
        assert drafted.accounts == {"asked": 2, "kept": 1, "cut_off": 1}
        assert why in drafted.failures[0].reason
        assert drafted.failures[0].reason_code == "cut_off"

    def test_no_call_is_made_that_the_post_has_no_budget_for(self):
        drafted, requests, *_ = self.ask([(("Whole.", "Half of a"), ("stop", "length"))], room=0)
        assert len(requests) == 1
        assert len(drafted.candidates) == 1

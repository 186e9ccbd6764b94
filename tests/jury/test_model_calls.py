"""A language model in the whole per-post path: what it is asked, how often, and what its answers decide."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import polars as pl
import pytest

from jury.select.baseline import summarise
from jury.settings import JudgeCandidatesSettings, SelectWinnersSettings
from nouns.errors import InputError
from nouns.post import Completion
from synthesis.generation import BACKENDS
from synthesis.generation.recorded import read_calls
from synthesis.generation.scripted import Scripted, echo
from synthesis.judge.exam import _of_spec
from synthesis.settings import CheckCandidatesSettings, DraftCandidatesSettings, ReviseCandidatesSettings
from synthesis.spec import note_spec
from tests.calling import check_candidates, draft_candidates, judge_candidates, revise_candidates, select_winners
from tests.jury.world import PlantedRater, World
from texts.note import note_length

JUDGE = JudgeCandidatesSettings(n_jurors=80, n_appeal=80)
WRITER = DraftCandidatesSettings(backend="scripted", model="m")
LONG = "The harbour office said the same in its report of that day, which anybody can read. "
FACTS = (
    "The ferry Aurelia was built in 1974 at the yard of Lindow. https://ferry.example/aurelia",
    "Divers found the rudder of the ferry broken on the eastern bank. https://divers.example/rudder",
    "The harbour of Lindow has been closed to passengers since 1990. https://lindow.example/harbour",
    "No passenger was hurt when the ferry ran aground, says the coast guard. https://guard.example/log",
)
POSTS = {post: {"notes": {10 * post + k: (0.05, 0.0) for k in range(len(FACTS))}} for post in range(101, 105)}


def good_answers() -> dict[str, str]:
    return {p.id: p.good_answer for p in note_spec().principles if p.question}


def competent(request) -> dict[str, str]:
    """A judge that knows the note spec's examples and tells whether a text stands in its sources."""
    answers = good_answers()
    known = {q.finalist.text: q for p in note_spec().principles if p.question for q in _of_spec(p) if not q.good}
    wrong = []
    if request.parent_text in known:
        wrong = [known[request.parent_text].principle]
    elif request.post_id == 0 and not any(request.parent_text in note.text for note in request.sources):
        wrong = (
            []
            if any(request.parent_text == q for q in GOOD_EXAMPLES)
            else ["support.entailment", "support.contradiction"]
        )
    return answers | {name: "no" if answers[name] == "yes" else "yes" for name in wrong}


GOOD_EXAMPLES = {q.finalist.text for p in note_spec().principles if p.question for q in _of_spec(p) if q.good}


class Writer:
    """Joins whole notes of its prompt, all such texts are liked; the first of each prompt is too long. Shortens when asked."""

    def __init__(self, refuses: str = "") -> None:
        self.refuses = refuses

    def __call__(self, request):
        if request.purpose == "judge":
            bad = {"neutral.no_opinion": "yes"} if self.refuses and self.refuses in request.parent_text else {}
            return [json.dumps({"answers": competent(request) | bad})]
        if request.purpose == "shorten":
            return [request.parent_text.replace(LONG, "")]
        texts = [note.text for note in request.sources]
        if request.purpose == "revise":
            return [f"{texts[-1]} {request.parent_text}"]
        return [3 * LONG + texts[0], *(f"{texts[i % len(texts)]} {texts[0]}" for i in range(1, request.n))]


def liking(text: str) -> tuple[float, float]:
    """Written texts are liked better than notes, longer ones a little more."""
    return (0.05, 0.0) if text in FACTS else (0.2 + 0.0005 * len(text), 0.0)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Runs draft, check, judge, revise and select into directories below `tmp_path`; gives their counts."""
    world = World(tmp_path / "world", POSTS)
    monkeypatch.setattr("tests.jury.world.truth_of", liking)
    file = world.root / "snapshot" / "notes.parquet"
    notes = pl.read_parquet(file)
    notes.with_columns(summary=pl.Series([FACTS[note % 10] for note in notes["noteId"]])).write_parquet(file)
    clusters = world.root / "clusters" / "clusters.parquet"  # every note makes a claim of its own
    placed = pl.read_parquet(clusters)
    placed.with_columns(cluster_id="c" + pl.col("note_id").cast(pl.String)).write_parquet(clusters)

    def run(script, name="run", recorded=None, draft=WRITER, check=None, revise=None, scripts=None):
        monkeypatch.setitem(BACKENDS, "scripted", scripts or (lambda settings: Scripted(script)))
        root = tmp_path / name
        dirs = {stage: root / stage for stage in ("candidates", "checks", "verdicts", "revisions", "selections")}
        for directory in dirs.values():
            directory.mkdir(parents=True)
        check = check or CheckCandidatesSettings(min_rubric=0.0)
        given = world.inputs("snapshot", "parameters", "clusters")
        counts = {"draft": draft_candidates(dirs["candidates"], draft, recorded=recorded, **given)}
        given |= world.inputs("jury") | {"candidates": dirs["candidates"], "checks": dirs["checks"]}
        wanted = {key: given[key] for key in ("snapshot", "clusters", "candidates")}
        counts["check"] = check_candidates(dirs["checks"], check, **wanted)
        judge_candidates(dirs["verdicts"], JUDGE, model=PlantedRater(), **given)
        given["verdicts"] = dirs["verdicts"]
        more = {"judge_settings": JUDGE, "model": PlantedRater()}
        counts["revise"] = revise_candidates(
            dirs["revisions"],
            revise or ReviseCandidatesSettings(),
            draft_settings=draft,
            check_settings=check,
            recorded=recorded,
            **given,
            **more,
        )
        counts["select"] = select_winners(
            dirs["selections"], SelectWinnersSettings(minimum_score=0.0), revisions=dirs["revisions"], **given, **more
        )
        return root, counts

    return run


def calls_of(root):
    return [call for file in sorted(root.rglob("calls.jsonl.zst")) for call in read_calls(file)]


def test_a_post_costs_at_most_ten_calls_with_the_default_settings(path):
    root, counts = path(Writer())
    calls = calls_of(root)
    by_post = Counter(call["post_id"] for call in calls)
    exam = by_post.pop("0")  # the judge's examination is no post's
    assert 10 <= exam <= 60
    assert set(by_post) == {str(post) for post in POSTS}
    assert 8 <= max(by_post.values()) <= 10
    purposes = Counter((call["post_id"], call["purpose"]) for call in calls)
    assert {purpose for _, purpose in purposes} == {"draft", "shorten", "revise", "judge"}
    for post in by_post:
        assert purposes[post, "draft"] <= 4
        assert purposes[post, "shorten"] == 1
        assert purposes[post, "revise"] <= 2
        assert purposes[post, "judge"] <= 3
    assert counts["draft"]["calls"] + counts["revise"]["calls"] == len(calls)


def test_a_smaller_budget_is_kept_by_leaving_revisions_out(path):
    root, counts = path(Writer(), draft=replace(WRITER, max_calls=7), revise=ReviseCandidatesSettings(rounds=2))
    by_post = Counter(call["post_id"] for call in calls_of(root) if call["post_id"] != "0")
    assert max(by_post.values()) <= 7
    failures = pl.read_parquet(root / "revisions" / "failures.parquet")
    assert set(failures["reason_code"]) == {"call_budget"}
    assert counts["revise"]["in"] == counts["revise"]["out"] + sum(counts["revise"]["rejected"].values())


def test_a_draft_that_is_too_long_comes_back_shortened_with_its_parent_named(path):
    root, _ = path(Writer())
    rows = pl.read_parquet(root / "candidates" / "candidates.parquet")
    short = rows.filter(pl.col("prompt_version") == "shorten-v2")
    texts = dict(rows.select("candidate_id", "text").iter_rows())
    assert short.height == len(POSTS)
    for row in short.iter_rows(named=True):
        assert note_length(texts[row["parent_id"]]) > 280 >= note_length(row["text"])
    assert not rows.select("post_id", "text").is_duplicated().any()


def test_no_candidate_wins_that_the_model_was_not_asked_about_or_refused(path):
    root, _ = path(Writer())
    lines = [json.loads(line) for line in (root / "selections" / "selections.jsonl").open()]
    answers = pl.read_parquet(root / "revisions" / "checks.parquet").filter(pl.col("check") == "judge")
    asked = set(answers["candidate_id"])
    won = {line["candidate_id"] for line in lines if line["candidate_id"]}
    assert won
    assert won <= asked
    assert answers.group_by("post_id").agg(pl.col("candidate_id").n_unique())["candidate_id"].max() <= 3
    refused, _ = path(Writer(refuses="Lindow"), name="refused")
    lines = [json.loads(line) for line in (refused / "selections" / "selections.jsonl").open()]
    assert {line["outcome"] for line in lines} == {"abstained"}
    assert {line["reason_code"] for line in lines} == {"nothing_passed_checks"}
    losers = pl.read_parquet(refused / "selections" / "losers.parquet")
    assert any("judge" in reason for reason in losers["reason"])


def test_a_run_is_replayed_from_its_record_to_the_byte_without_the_model(path):
    first, _ = path(Writer())

    def nobody(request):
        raise AssertionError(f"asked again: {request.purpose}")

    again, _ = path(nobody, name="again", recorded=first)
    for name in (
        "candidates/candidates.parquet",
        "revisions/candidates.parquet",
        "revisions/checks.parquet",
        "selections/selections.jsonl",
    ):
        assert (first / name).read_bytes() == (again / name).read_bytes(), name


def test_judging_can_be_switched_off_and_is_off_for_the_writer_without_weights(path):
    root, counts = path(Writer(), check=CheckCandidatesSettings(min_rubric=0.0, judge="off"))
    assert {call["purpose"] for call in calls_of(root)} == {"draft", "shorten", "revise"}
    assert counts["revise"]["examined"] == 0
    root, counts = path(echo, name="extractive", draft=DraftCandidatesSettings())
    assert calls_of(root) == []
    assert "calls" not in counts["revise"]


def stone(answer):
    """A writer whose judging is `answer(request)`, whatever is asked."""

    def script(request):
        return answer(request) if request.purpose == "judge" else Writer()(request)

    return script


def says_no(request):
    names = request.schema["properties"]["answers"]["properties"]
    return [json.dumps({"answers": dict.fromkeys(names, "no")})]


def refused(request):
    return Completion(
        request.request_id, (), "m", failure="bad_request: HTTP 400: maximum context length is 4096 tokens"
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (says_no, "chance"),
        (lambda r: [json.dumps({"answers": good_answers()})], "same verdict on every text"),
        (lambda r: ["Bananas are yellow."], "could be read"),
        (refused, "maximum context length is 4096"),
    ],
    ids=["always no", "always good", "nonsense", "HTTP 400"],
)
def test_a_judge_that_cannot_tell_is_not_used_and_costs_no_winner(path, answer, said):
    root, counts = path(stone(answer))
    winners = [json.loads(line)["outcome"] for line in (root / "selections" / "selections.jsonl").open()].count(
        "winner"
    )
    _, off = path(Writer(), name="off", check=CheckCandidatesSettings(min_rubric=0.0, judge="off"))
    assert winners == off["select"]["out"] > 0
    notices = counts["revise"]["notices"]
    assert [notice["level"] for notice in notices] == ["warned"]
    assert said in notices[0]["text"]
    assert "is not used" in notices[0]["text"]
    assert pl.read_parquet(root / "revisions" / "checks.parquet").filter(pl.col("check") == "judge").height == 0


def test_what_the_judges_answers_are_worth_stands_in_the_counts_by_principle(path):
    _, counts = path(Writer())
    marks = counts["revise"]["judge"]
    assert marks["asked"] == marks["read"] > 20
    for name, row in marks["by_principle"].items():
        assert row["good"] > 0
        assert row["bad"] > 0
        assert (row["good_told"], row["bad_told"]) == (row["good"], row["bad"]), name
    assert counts["revise"]["notices"][0]["level"] == "told"


def test_an_answer_about_a_finalist_that_cannot_be_read_is_not_told_as_a_failure(path):
    def judge(request):
        return ["?"] if request.post_id else [json.dumps({"answers": competent(request)})]

    root, counts = path(stone(judge))
    lines = [json.loads(line) for line in (root / "selections" / "selections.jsonl").open()]
    assert {line["reason_code"] for line in lines} == {"judge_unreadable"}
    assert all("gave no answer" in line["reason"] for line in lines)
    losers = pl.read_parquet(root / "selections" / "losers.parquet")
    assert not losers.filter(pl.col("decided_by") == "failed_check")["reason"].str.contains("judge").any()
    assert [n["level"] for n in counts["select"]["notices"]] == ["warned"]


def test_judge_and_writer_may_be_two_models(path, monkeypatch):
    asked = Counter()

    def script(settings):
        def answer(request):
            asked[settings.model, request.purpose == "judge"] += 1
            return Writer()(request)

        return Scripted(answer)

    root, _ = path(None, draft=replace(WRITER, judge_model="examiner"), scripts=script)
    assert asked["examiner", True] > 0
    assert asked["m", False] > 0
    assert asked["m", True] == asked["examiner", False] == 0
    assert (root / "revisions" / "judge" / "calls.jsonl.zst").exists()


def test_judging_without_a_model_that_can_is_refused(path):
    with pytest.raises(InputError, match="extractive"):
        path(echo, draft=DraftCandidatesSettings(), check=CheckCandidatesSettings(judge="on"))


def test_the_model_is_set_against_the_extractive_writer_before_the_appeal_jury(path):
    root, _ = path(Writer())
    rows = pl.read_parquet(root / "selections" / "baseline.parquet")
    assert rows["post_id"].to_list() == sorted(POSTS)
    made = pl.concat(
        [pl.read_parquet(root / name / "candidates.parquet") for name in ("candidates", "revisions")]
    ).select("candidate_id", "writer", "text")
    writer_of = {name: writer for name, writer, _ in made.iter_rows()}
    text_of = {name: text for name, _, text in made.iter_rows()}
    for row in rows.iter_rows(named=True):
        assert writer_of[row["model_candidate_id"]] == "scripted"
        assert writer_of[row["baseline_candidate_id"]] == "extractive"
        planted = liking(text_of[row["model_candidate_id"]])[0] - liking(text_of[row["baseline_candidate_id"]])[0]
        assert row["model_appeal"] - row["baseline_appeal"] == pytest.approx(planted, abs=0.05)
    found = summarise(rows)
    assert found["both"] == found["posts"] == len(POSTS)
    gain = (rows["model_appeal"] - rows["baseline_appeal"]).to_numpy()
    assert found["difference"]["value"] == pytest.approx(gain.mean(), abs=1e-4)
    assert found["difference"]["lo"] <= found["difference"]["value"] <= found["difference"]["hi"]
    assert found["share_better"]["value"] == ((gain > 0) + 0.5 * (gain == 0)).mean()


def test_a_run_of_one_writer_has_nothing_to_compare(path):
    root, _ = path(echo, draft=DraftCandidatesSettings())
    rows = pl.read_parquet(root / "selections" / "baseline.parquet")
    assert rows.height == 0
    assert summarise(rows) is None

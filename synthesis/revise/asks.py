"""The writing room as `revise_candidates` needs it: asks become requests, requests candidates, candidates are checked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl

from nouns.errors import InputError
from nouns.run import Run, read_rows
from nouns.stage import Tools
from synthesis.generation.refusals import Refusals
from synthesis.revise.revise import Ask, Written
from synthesis.settings import CheckCandidatesSettings, DraftCandidatesSettings


class SynthesisRoom:
    """Drafts and checks with the functions, settings and writing model of the draft and check stages."""

    def __init__(
        self,
        generator: Any,
        items: dict[int, Any],
        run: Run,
        draft_settings: Any,
        check_settings: Any,
        seed: int,
        left: Mapping[int, int] | None = None,
        judge: Any = None,
        tools: Tools | None = None,
    ) -> None:
        """`judge`: the judging model, None for the writing one. `left`: calls that each post may still make for revisions; posts that are not in it may make any number."""
        self._generator, self._items = generator, items
        self._run = run
        self._draft_settings, self._check_settings = draft_settings, check_settings
        self._seed = seed
        self._left = dict(left or {})
        self._tools = tools or Tools()
        self._spent: Counter[str] = Counter()
        self._judge = judge or generator
        self.notices: list[dict[str, str]] = []
        self.marks: dict[str, Any] = {}
        self._refusals = Refusals()

    @property
    def spent(self) -> Mapping[str, int]:
        return self._spent

    def refused(self) -> dict[str, Any]:
        return self._refusals.counts()

    def _generate(self, requests: Sequence[Any], generator: Any = None) -> dict[str, Any]:
        """Completions by request id, broken-off ones asked for once more; calls and tokens of a language model are counted."""
        from synthesis.draft.draft import enter_costs, generate_whole

        answers, completions, again = generate_whole(
            generator or self._generator, requests, lambda post: self._left.get(post, 1)
        )
        for request in again:
            self._left[request.post_id] = self._left.get(request.post_id, 1) - 1
        if generator is not None or self._draft_settings.backend != "extractive":
            enter_costs(completions, [*requests, *again], self._spent, self._tools)
        return answers

    def _affordable(self, asks: Sequence[Ask], made: Written) -> list[Ask]:
        """The asks that a post's budget of calls still has room for, best first as they come; the others are failures."""
        paid = []
        for ask in asks:
            post, name = ask.parent["post_id"], ask.parent["candidate_id"]
            if self._left.get(post, 1) > 0:
                if post in self._left:
                    self._left[post] -= 1
                paid.append(ask)
            else:
                reason = f"call_budget: the post's {self._draft_settings.max_calls} calls are spent or set aside"
                made.failures.append(
                    {"request_id": f"revise-{name}", "post_id": post, "reason_code": "call_budget", "reason": reason}
                )
        return paid

    def revise(self, asks: Sequence[Ask]) -> Written:
        """One request for each ask, all of a round in one batch; a parent's sources are the only ones offered."""
        from synthesis.draft.draft import candidates_of, revision_request
        from synthesis.draft.stage import candidate_row, prompt_row

        made = Written([], [], [])
        planned = []
        for ask in self._affordable(asks, made):
            item = self._items[ask.parent["post_id"]]
            wanted = {note.note_id: note for note in item.notes}
            sources = [wanted[note] for note in ask.parent["source_note_ids"] or () if note in wanted]
            request = revision_request(
                item,
                sources,
                ask.parent["text"],
                ask.feedback,
                self._draft_settings,
                n=ask.n,
                seed=self._seed + ask.round,
            )
            planned.append((ask, item, request))
        completions = self._generate([request for _, _, request in planned])
        for completion in completions.values() if self._draft_settings.backend != "extractive" else ():
            self._refusals.add(completion)
        self._refusals.gate(self._draft_settings.max_refused, "revise_candidates")
        by_post: dict[int, list[Any]] = defaultdict(list)
        for ask, item, request in planned:
            made.prompts.append(prompt_row(request))
            if request.request_id in completions:
                by_post[request.post_id].append((ask, item, request, completions[request.request_id]))
        for post in sorted(by_post):
            rows = by_post[post]
            item = rows[0][1]
            drafted = candidates_of(
                [(request, completion) for _, _, request, completion in rows],
                {placed.note_id: placed.cluster_id for placed in item.placed},
                parents={request.request_id: ask.parent["candidate_id"] for ask, _, request, _ in rows},
                round=rows[0][0].round,
                language=item.language,
            )
            made.candidates.extend(candidate_row(candidate) for candidate in drafted.candidates)
            made.failures.extend(dict(failure.__dict__) for failure in drafted.failures)
        return made

    def check(self, candidates: Path, out: Path, posts: Sequence[int]) -> None:
        from synthesis.check.stage import check_candidates

        drafted = {**self._run.directories, "draft_candidates": candidates}
        check_candidates(Run(self._run.run_id, drafted, posts=tuple(posts)), self._check_settings, out, Tools())

    def finalists(self) -> int:
        return self._check_settings.judge_finalists if model_judges(self._draft_settings, self._check_settings) else 0

    def examine(self, candidates: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The judge is examined first; one that is not up to it is not asked, and `notices` and `marks` say so."""
        from synthesis.judge.exam import exam, exam_requests, mark
        from synthesis.judge.judge import Finalist, read_verdicts
        from synthesis.judge.judge import questions_for as request_for
        from synthesis.spec import note_spec

        finalists = []
        for row in candidates:
            item = self._items[row["post_id"]]
            wanted = {note.note_id: note for note in item.notes}
            notes = tuple(wanted[note] for note in row["source_note_ids"] or () if note in wanted)
            finalists.append(Finalist(row["candidate_id"], row["text"], item.post, notes, item.language))
        spec = note_spec()
        questions = exam(spec, finalists)
        requests = exam_requests(questions, spec, self._draft_settings)
        answers = self._generate(requests, self._judge)
        marks = mark(questions, requests, answers, spec)
        self.marks = {"asked": marks.asked, "read": marks.read, "by_principle": marks.counts()}
        name = self._draft_settings.judge_model or self._draft_settings.model or "the writing model"
        why = marks.refused()
        if why:
            failed = next((c.failure for c in answers.values() if c.failure), None)
            said = f" It said: {failed[:200]}" if failed and not marks.read else ""
            self.notices.append(
                {
                    "level": "warned",
                    "text": f"The judging model ({name}) was examined and is not used: {why}.{said} Texts are chosen by the checks and "
                    "the jury alone; give another model with draft_candidates.judge_model, or set check_candidates.judge = 'off'.",
                }
            )
            return []
        able = marks.principles()
        self.notices.append(
            {
                "level": "told",
                "text": f"The judging model ({name}) was examined: balanced accuracy {marks.accuracy:.2f} on {marks.read} answers of known "
                f"outcome; it is asked about {', '.join(able)}.",
            }
        )
        asked = replace(
            spec, principles=tuple(p if p.id in able else replace(p, question=None) for p in spec.principles)
        )
        requests = [request_for(finalist, asked, self._draft_settings) for finalist in finalists]
        results = read_verdicts(finalists, requests, self._generate(requests, self._judge), asked)
        post_of = {finalist.candidate_id: finalist.post.post_id for finalist in finalists}
        return [asdict(result) | {"post_id": post_of[result.candidate_id]} for result in results]


def model_judges(draft_settings: Any, check_settings: Any) -> bool:
    """Whether a language model answers the note spec's questions. Raises `InputError` where one must and there is none."""
    writes = draft_settings.backend != "extractive" or bool(draft_settings.judge_model)
    if check_settings.judge == "on" and not writes:
        raise InputError(
            "settings.check_candidates.judge = 'on' needs a writing model that can answer questions; the back end is 'extractive'. "
            "Set settings.draft_candidates.backend to a language model or judge_model to one that judges, or judge = 'auto'."
        )
    return check_settings.judge != "off" and writes


def judge_settings(settings: DraftCandidatesSettings) -> DraftCandidatesSettings:
    """The settings of the model that judges, where it is another than the one that writes."""
    backend = "openai" if settings.backend == "extractive" else settings.backend
    address = settings.judge_base_url or settings.base_url
    return replace(
        settings, backend=backend, base_url=address, model=settings.judge_model, adapter="", model_revision=""
    )


def calls_left(candidates: Path, posts: Sequence[int], draft_settings: Any, reserved: int) -> dict[int, int]:
    """Per post the calls that its drafts and the `reserved` ones leave of `max_calls`; empty for a writer that costs none.

    Counted are the prompts of the drafting stage that went to the model, not their twins for the extractive writer.
    """
    if draft_settings.backend == "extractive":
        return {}
    prompts = read_rows(candidates, "prompts", posts).filter(~pl.col("request_id").str.ends_with("-x"))
    used = dict(prompts.group_by("post_id").len().iter_rows())
    return {post: draft_settings.max_calls - used.get(post, 0) - reserved for post in posts}


def open_writing_room(
    out: Path, run: Run, draft_settings: DraftCandidatesSettings, check_settings: CheckCandidatesSettings, tools: Tools
) -> SynthesisRoom:
    """The writing room with the writing model of the settings; the extractive one needs no weights and no server."""
    from synthesis.draft.stage import read_items

    reserved = check_settings.judge_finalists if model_judges(draft_settings, check_settings) else 0
    if draft_settings.backend == "extractive":
        from synthesis.generation.extractive import Extractive

        generator: Any = Extractive(draft_settings.max_length)
    else:
        from synthesis.generation import open_generator

        generator = open_generator(
            draft_settings, recorded=run.given.get("recorded"), store=tools.calls, calls=out / "calls.jsonl.zst"
        )
        draft_settings = generator.fitted(draft_settings)
    judge = None
    if draft_settings.judge_model and reserved:
        from synthesis.generation import open_generator

        (out / "judge").mkdir()
        judge = open_generator(
            judge_settings(draft_settings),
            recorded=run.given.get("recorded"),
            store=tools.calls,
            calls=out / "judge" / "calls.jsonl.zst",
        )
    items = {item.post.post_id: item for item in read_items(run, run.posts)}
    left = calls_left(run.path("draft_candidates"), run.posts or (), draft_settings, reserved)
    return SynthesisRoom(generator, items, run, draft_settings, check_settings, tools.seed, left, judge, tools)

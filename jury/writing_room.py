"""The writing room as `revise_candidates` needs it: asks become requests, requests candidates, candidates are checked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jury.revise_stage import Written
from jury.revising import Ask


class SynthesisRoom:
    """Drafts and checks with the functions, settings and writing model of the draft and check stages."""

    def __init__(
        self,
        generator: Any,
        items: dict[int, Any],
        snapshot: Path,
        clusters: Path,
        draft_settings: Any,
        check_settings: Any,
        seed: int,
    ) -> None:
        self._generator, self._items = generator, items
        self._snapshot, self._clusters = snapshot, clusters
        self._draft_settings, self._check_settings = draft_settings, check_settings
        self._seed = seed

    def revise(self, asks: Sequence[Ask]) -> Written:
        """One request for each ask, all of a round in one batch; a parent's sources are the only ones offered."""
        from synthesis.draft_stage import candidate_row, prompt_row
        from synthesis.drafting import candidates_of, revision_request

        planned = []
        for ask in asks:
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
        completions = {c.request_id: c for c in self._generator.generate([request for _, _, request in planned])}
        made = Written([], [], [])
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
        from synthesis.stages import check_candidates

        how: dict[str, Any] = {}
        if getattr(self._check_settings, "judge", False):
            how["generator"] = self._generator
        check_candidates(
            out,
            self._check_settings,
            snapshot=self._snapshot,
            clusters=self._clusters,
            candidates=candidates,
            posts=posts,
            **how,
        )


def open_writing_room(
    out: Path,
    snapshot: Path,
    parameters: Path,
    clusters: Path,
    posts: Sequence[int],
    recorded: Path | None,
    journal: Path | None,
    draft_settings: Any,
    check_settings: Any,
    seed: int,
) -> SynthesisRoom:
    """The writing room with the writing model of the settings; the extractive one needs no weights and no server."""
    from synthesis.draft_stage import read_items
    from synthesis.settings import CheckCandidatesSettings, DraftCandidatesSettings

    draft_settings = draft_settings or DraftCandidatesSettings()
    if draft_settings.backend == "extractive":
        from synthesis.generation.extractive import Extractive

        generator: Any = Extractive(draft_settings.max_length)
    else:
        from synthesis.generation import open_generator

        generator = open_generator(draft_settings, recorded=recorded, journal=journal, calls=out / "calls.jsonl.zst")
    items = {item.post.post_id: item for item in read_items(snapshot, clusters, parameters, posts)}
    return SynthesisRoom(
        generator, items, snapshot, clusters, draft_settings, check_settings or CheckCandidatesSettings(), seed
    )

"""What a change of the note spec makes a run do again."""

from __future__ import annotations

from pathlib import Path

import synthesis
from nouns.stages import ALL_STAGES
from pipeline.code import stage_code

SPEC = Path(synthesis.__file__).parent / "note_spec.toml"


def codes() -> dict[str, str]:
    stage_code.cache_clear()
    return {stage: stage_code(stage) for stage in ALL_STAGES}


def test_a_changed_note_spec_repeats_the_checks_and_the_revisions_but_no_draft_and_no_jury(monkeypatch):
    before = codes()
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"\n" if path == SPEC else b""))
    after = codes()
    monkeypatch.undo()
    changed = {stage for stage in ALL_STAGES if after[stage] != before[stage]}
    assert {"check_candidates", "revise_candidates"} <= changed
    assert not changed & {"draft_candidates", "train_jury", "judge_candidates", "select_winners", "cluster_notes"}
    assert codes() == before

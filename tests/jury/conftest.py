from __future__ import annotations

import pytest

from feedback.settings import BuildPairsSettings
from jury.settings import JudgeCandidatesSettings, SelectWinnersSettings
from synthesis.settings import ReviseCandidatesSettings
from tests.calling import build_pairs, judge_candidates, revise_candidates, select_winners
from tests.jury.world import PlantedRater, PlantedWriter, World

JUDGE = JudgeCandidatesSettings(n_jurors=60, n_appeal=60)


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A small run of the jury's stages on the planted world, up to the pairs (in `pairs`)."""
    posts = {
        1000 + p: {
            "notes": {10 * p + 1: (0.1, 0.0), 10 * p + 2: (0.05, 0.1)},
            "candidates": {f"p{p}c{i}": (0.35 - 0.08 * i, 0.0) for i in range(4)},
            "failed": [f"p{p}c3"],
        }
        for p in range(4)
    }
    world = World(tmp_path_factory.mktemp("world"), posts)
    inputs = ("snapshot", "parameters", "jury", "clusters", "candidates", "checks")
    model, how = PlantedRater(0.005), {"judge_settings": JUDGE}
    judge_candidates(world.root / "verdicts", JUDGE, **world.inputs(*inputs), model=model)
    revise_candidates(
        world.root / "revisions",
        ReviseCandidatesSettings(finalists=1),
        **world.inputs(*inputs, "verdicts"),
        **how,
        model=model,
        writing=PlantedWriter(gain=0.06),
    )
    select_winners(
        world.root / "selections",
        SelectWinnersSettings(minimum_score=0.0),
        **world.inputs(*inputs, "verdicts", "revisions"),
        **how,
        model=model,
    )
    (world.root / "pairs").mkdir()
    build_pairs(
        world.root / "pairs",
        BuildPairsSettings(kto_desirable_quantile=0.5),
        **world.inputs("snapshot", "clusters", "candidates", "checks", "verdicts", "revisions", "selections"),
    )
    return world

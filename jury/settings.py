"""Settings of the jury room's stages. Units and sources beside every field; all have a default."""

from __future__ import annotations

from dataclasses import dataclass

from jury.train.settings import TrainJurySettings
from nouns.stage import speed

__all__ = [
    "JudgeCandidatesSettings",
    "SelectWinnersSettings",
    "TrainJurySettings",
]


AGGREGATOR_NAMES = ("bridging_intercept", "gaussian", "worst_side", "group_aware", "schulze", "mean")
"""Keys of `jury.judge.aggregate.AGGREGATORS` (a test compares them), written here so that settings import no arithmetic."""

COMPOSITIONS = ("electorate", "balanced", "uniform", "custom")
"""Ways to compose a jury, see `jury/judge/draw.py`."""


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} = {value!r} is not known; choose one of {', '.join(known)}.")


@dataclass(frozen=True)
class JudgeCandidatesSettings:
    """Who judges, and which score counts."""

    n_jurors: int = 1000  # jurors; at 1,000 the draw's noise is 0.005 on the score (facts.md section 5)
    n_appeal: int = 1000  # jurors of the second jury, which hears the winner again
    appeal_model: str = "gold"  # whose predictions the second jury votes by: gold (other raters, other encoder) | proxy
    composition: str = "electorate"  # electorate (by activity) | balanced | uniform (the paper's) | custom
    bin_edges: tuple[float, ...] = ()  # custom only: ascending cuts of the factor line
    bin_shares: tuple[float, ...] = ()  # custom only: share of the jury in each part, one more than edges, sum 1
    pool: str = "proxy"  # which raters the jury may come from; the appeal is drawn from all others
    aggregator: str = "bridging_intercept"  # whose score counts; the others are written beside it
    seed: int = 1  # added to the run's seed, so that a jury can be redrawn alone
    batch: int = speed(512)  # texts rated together

    def __post_init__(self) -> None:
        _one_of("aggregator", self.aggregator, AGGREGATOR_NAMES)
        _one_of("composition", self.composition, COMPOSITIONS)
        _one_of("appeal_model", self.appeal_model, ("proxy", "gold"))


@dataclass(frozen=True)
class SelectWinnersSettings:
    """When a candidate may win. The rules are X's gates, a bar, and being better than what is there."""

    max_factor: float = 0.50  # |note factor| must be below it (X, facts.md section 2)
    net_helpful_share: float = 0.05  # helpful minus not helpful on each sign of the factor, share of all jurors (X)
    minimum_score: float = 0.0  # bridging intercept below which nothing wins; 0.40 is X's Helpful
    caution: float = 0.5  # standard deviations (within the post) taken off a score when candidates are ranked
    confidence: float = 0.80  # one-sided; the winner must beat the best existing note with this probability
    # Score by which the winner must be predicted better than the best existing note, X's scale: of a near-copy the jury may be sure that it is
    # better by 0.002, and nobody would notice. As BuildPairsSettings.minimum_gap.
    minimum_gain: float = 0.02
    minimum_language_notes: int = (
        10  # notes of a text's language the jury must have learnt from; 0 trusts it in any language
    )
    appeal_must_confirm: bool = True  # the second jury, too, must prefer the winner to the best existing note

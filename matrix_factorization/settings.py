"""Settings of this room's stages. Every field has its unit and where the value comes from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from matrix_factorization.model.penalties import Regularisation
from nouns.stage import speed
from nouns.x import HELPFUL_AT, HELPFUL_FACTOR, X_GLOBAL_INTERCEPT

MOST_EXTRA_FACTORS = 20
"""More are refused: a rater's system grows with the cube, and the pilot data hold one factor in all."""


_RULES_OF_2022 = (
    "InitialNMR", "GeneralCRH", "GeneralCRNH", "NmCRNH", "GeneralCRHInertia", "TagFilter", "CRHSuperThreshold", "ElevatedCRHInertia",
)  # fmt: skip
_RULES_SINCE = (
    "UcbCRNH", "RatioCRNH", "FilterLargeFactor", "MinMinorityRaters", "RaterBalance", "NoHighVolIntercept", "NoCorrelatedIntercept",
)  # fmt: skip
_SUPER_THRESHOLD = ("CRHSuperThreshold", "ElevatedCRHInertia")  # switched off on 13 July 2026

# X's status rules by the month in which they stood so: which act, and thresholds where they differ from StatusSettings. Read from
# communitynotes at 22 December 2022 (static/sourcecode/constants.py, note_ratings.py) and at 17 July 2026 (mf_core_scorer.py, note_ratings.py).
SCORING_RULES: dict[str, tuple[frozenset[str], dict[str, float]]] = {
    "2022-12": (frozenset(_RULES_OF_2022), {}),
    "2026-07": (frozenset(_RULES_OF_2022 + _RULES_SINCE) - frozenset(_SUPER_THRESHOLD), {}),
}


@dataclass(frozen=True)
class StatusSettings:
    # Names in brackets are communitynotes' (mf_base_scorer.py, mf_core_scorer.py). Intercepts in rating units.
    min_ratings: int = 5  # ratings needed for any status [minRatingsNeeded]
    helpful_intercept: float = HELPFUL_AT  # [crhThreshold]
    helpful_inertia: float = 0.01  # how far a note that is Helpful may fall below before it loses it [inertiaDelta]
    tag_outlier_intercept: float = 0.50  # needed by notes with an outlying not-helpful tag [crhSuperThreshold]
    largest_factor: float = HELPFUL_FACTOR  # a Helpful note's factor, absolute [factorThreshold]
    not_helpful_intercept: float = -0.05  # [crnhThresholdIntercept]
    not_helpful_slope: float = -0.80  # [crnhThresholdNoteFactorMultiplier]
    not_helpful_upper_bound: float = (
        -0.04
    )  # pseudo-rating upper bound under it: Not Helpful [crnhThresholdUCBIntercept]
    not_misleading_intercept: float = -0.15  # for notes that say the post is fine [crnhThresholdNMIntercept]
    ratio_each_side: float = 0.40  # mean helpfulness on each side at most [is_crnh_ratio]
    ratio_average: float = 0.30  # and their average at most
    ratio_min_raters: int = 3  # raters on each side at least
    min_net_helpful: int = 4  # helpful minus not helpful on each side, at least [minMinorityNetHelpfulRatings]
    enough_net_helpful: int = 10  # from here on no share is asked for [RequireRaterBalance]
    min_net_share: float = 0.05  # net helpful of the weaker side / all ratings of the note [minMinorityNetHelpfulRatio]
    baseline_intercept: float = 0.37  # without the most active, and without correlated raters [crhThresholdNoHighVol]


@dataclass(frozen=True)
class FitRatersSettings:
    # Who is fitted together: 'core' (X's Core: 13 modelling groups and raters without one), 'expansion' (with the Expansion groups) or
    # 'all'. The other raters are folded in. communitynotes constants.py, coreGroups and expansionGroups.
    population: str = "core"
    # X's status rules as they stood in that month: '2022-12' or '2026-07'. Thresholds set in `status` come before the month's.
    scoring_rules: str = "2026-07"
    # Penalty weights of the objective. communitynotes matrix_factorization.py, constructor defaults.
    regularisation: Regularisation = field(default_factory=Regularisation)
    # Thresholds of the status rules. communitynotes mf_base_scorer.py, mf_core_scorer.py, scoring_rules.py.
    status: StatusSettings = field(default_factory=StatusSettings)
    # Ratings a note needs to be fitted and to get a status. communitynotes mf_base_scorer.py, minNumRatersPerNote.
    min_ratings_per_note: int = 5
    # Ratings a rater must have made to be fitted. communitynotes mf_base_scorer.py, minNumRatingsPerRater.
    min_ratings_per_rater: int = 10
    # Who is left out of the final round. 'x': X's rule; 'evidence': only raters shown to be unhelpful by enough valid ratings or
    # by their own notes; 'off': nobody, one round; 'auto': 'x' if the median fitted rater has `helpfulness_min_valid` valid
    # ratings, else 'evidence'. Measured on birdwatch-2021 (README, "The helpfulness filter on little data").
    helpfulness_filter: str = "auto"
    # Valid ratings from which on an agreement ratio is taken for evidence. Ratings.
    helpfulness_min_valid: int = 5
    # Agreement with outcomes on valid ratings, at least. communitynotes mf_base_scorer.py, minRaterAgreeRatio.
    min_rater_agree_ratio: float = 0.66
    # Helpful share minus 5 x not-helpful share of an author's notes, at least. minCRHVsCRNHRatio.
    min_crh_vs_crnh_ratio: float = 0.0
    # Mean intercept of an author's notes, at least. minMeanNoteScore.
    min_mean_note_score: float = 0.05
    # Estimated remaining decrease of the objective at which the solver stops, relative. X stops at about 1e-5.
    tolerance: float = 1e-9
    # Sweeps at most; 10 to 30 are usual.
    max_sweeps: int = 300
    # Descents from random factors beside the deterministic one; the best is kept, the spread reported.
    random_starts: int = 3
    # Above so many ratings only the deterministic start is used. Ratings.
    random_start_limit: int = 5_000_000
    # Probability content of `lower` and `upper` in notes.parquet.
    interval: float = 0.90
    # Raters' weights: 'none' (X's core model) or 'quality' (arXiv 2604.11224, see weighting.py).
    rater_weights: str = "none"
    # Score in the column `intercept`: 'intercept' (matrix factorisation) or 'gaussian' (see gaussian.py).
    score: str = "intercept"
    # Factors to try beyond the one that everything else rests on; 0 leaves it out. Their models lie beside the tables
    # (rater_factors.parquet, note_factors.parquet), and fit.json says what each adds. See several.py.
    extra_factors: int = 0
    # Repeated random splits for the held-out error; 0 leaves it out.
    held_out_splits: int = 3
    # Share of ratings held out in each split.
    held_out_share: float = 0.1
    # Diagnostics that refit (held-out error, stability) are left out above so many ratings. Ratings.
    diagnostics_limit: int = 2_000_000
    # Start of every random stream of this stage.
    seed: int = 0
    # Threads of the compiled kernels; 0 takes the processors allowed. Never changes the result.
    threads: int = speed(0)
    # Ratings per note of the fit the raters come from, for adopted parameters only, whose files do not say: 0 takes X's, see nouns/x.py.
    adopted_ratings_per_note: float = 0.0
    # Global intercept that goes with adopted parameters whose files do not say. nouns/x.py.
    adopted_global_intercept: float = X_GLOBAL_INTERCEPT
    # Pictures of the fit (PNG).
    plots: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.extra_factors <= MOST_EXTRA_FACTORS:
            raise ValueError(f"extra_factors = {self.extra_factors} is not between 0 and {MOST_EXTRA_FACTORS}.")
        for name, choices in (("scoring_rules", SCORING_RULES), ("population", ("core", "expansion", "all"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} = {getattr(self, name)!r} is not one of {', '.join(choices)}.")

    @property
    def acting_rules(self) -> frozenset[str]:
        return SCORING_RULES[self.scoring_rules][0]

    @property
    def thresholds(self) -> StatusSettings:
        """Those of the month, except where `status` says something else than its defaults."""
        default, given = asdict(StatusSettings()), asdict(self.status)
        chosen = {name: value for name, value in given.items() if value != default[name]}
        return StatusSettings(**(default | SCORING_RULES[self.scoring_rules][1] | chosen))


__all__ = ["SCORING_RULES", "FitRatersSettings", "StatusSettings"]

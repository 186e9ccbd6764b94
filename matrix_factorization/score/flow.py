"""The whole scoring flow: which ratings are fitted, two rounds of fitting, who counts, and parameters for everybody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from matrix_factorization.foldin import FoldedIn, fold_in_notes, fold_in_raters
from matrix_factorization.kernels import loops as kernels
from matrix_factorization.model.objective import NoteParameters, Parameters, RaterParameters, predictions
from matrix_factorization.model.ratings import VALUE_OF_CODE, RatingTable, from_indices
from matrix_factorization.score.correlated import correlated_raters
from matrix_factorization.score.diagnostics import (
    Component,
    effective_numbers,
    held_out_error,
    identification,
    orient_components,
    stability,
)
from matrix_factorization.score.gaussian import HELPFUL_SCORE, gaussian_scores
from matrix_factorization.score.helpfulness import Helpfulness, rater_helpfulness, survivors_on_evidence, valid_ratings
from matrix_factorization.score.intervals import normal_interval, pseudo_rating_bounds
from matrix_factorization.score.statuses import (
    HELPFUL,
    NOT_HELPFUL,
    STATUSES,
    NoteEvidence,
    Statuses,
    StatusSettings,
    final_statuses,
    provisional_statuses,
)
from matrix_factorization.score.weighting import quality_weights
from matrix_factorization.settings import FitRatersSettings
from matrix_factorization.solve.exact import ExactSolver, Factorization
from nouns.errors import InputError
from nouns.snapshot import newest_time
from nouns.x import CAPTURE_SHARE

DAY_MILLIS = 24 * 3600 * 1000


@dataclass(frozen=True)
class RatingEvents:
    """All ratings in time order within each note: `note_index` ascends, `created_at` ascends within a note; (n_ratings,) each.

    `note_ids` (n_notes,) int64 and `rater_ids` (strings) ascend and name the indices. `value` in {0, 0.5, 1}.
    """

    note_ids: np.ndarray
    rater_ids: pl.Series
    note_index: np.ndarray
    rater_index: np.ndarray
    value: np.ndarray
    created_at: np.ndarray


@dataclass(frozen=True)
class NoteFacts:
    """What is known of the notes beside ratings, one entry per note of the events.

    `misleading`: the note says its post misleads (unknown: True). `created_at`, `status_at` (first status): milliseconds as float, NaN
    unknown or never. `author`: rater index or -1. `was_helpful`: status before. `post`: id of the post (notes of unknown post: any distinct ids).
    `locked`: index into `STATUSES` of the locked status, -1 for none.
    """

    misleading: np.ndarray
    created_at: np.ndarray
    status_at: np.ndarray
    author: np.ndarray
    was_helpful: np.ndarray
    post: np.ndarray
    locked: np.ndarray | None = None


@dataclass(frozen=True)
class UnfittedRaters:
    """Raters without parameters as a group: what is known of one before any of his own ratings is looked at.

    `mean_intercept`: how much more generous they are than the model without a rater (rating units). `weight`: what a rating by one of them counts
    for beside one by a fitted rater, the ratio of the two error variances, at most 1; 0 if nothing is known of them.
    """

    mean_intercept: float
    weight: float


@dataclass(frozen=True)
class Completed:
    """Parameters and evidence of every note and rater of the events, in index order.

    `note_source`, `rater_source`: 'fitted', 'adopted', 'folded_in' (other side frozen), 'folded_in_twice' (a note whose raters are all folded in
    themselves) or 'prior' (a rater none of whose notes has parameters: 0, 0).
    """

    notes: FoldedIn
    note_source: np.ndarray
    raters: FoldedIn
    rater_source: np.ndarray
    unfitted: UnfittedRaters
    evidence: NoteEvidence
    statuses: Statuses
    lower: np.ndarray
    upper: np.ndarray
    pseudo_lower: np.ndarray


@dataclass(frozen=True)
class Frozen:
    """What stays fixed while everybody else is folded in: parameters with NaN where unknown, mu, and the ratios of their fit."""

    raters: RaterParameters
    notes: NoteParameters
    source: str
    global_intercept: float
    ratings_per_note: float
    ratings_per_rater: float
    residual_variance: float
    rater_weight: np.ndarray | None = None  # of each rater's ratings; None: 1


@dataclass(frozen=True)
class Scoring:
    """Everything the flow found, see `outputs.py` for the tables."""

    events: RatingEvents
    table: RatingTable  # ratings of the final fit
    in_fit_notes: np.ndarray  # (n_notes,) bool
    in_fit_raters: np.ndarray
    factorization: Factorization
    first_round: Factorization
    frozen: Frozen
    completed: Completed
    helpfulness: Helpfulness
    components: list[Component]
    diagnostics: dict[str, Any]
    helpfulness_rule: str  # 'x', 'evidence' or 'off': what 'auto' chose
    rejected: dict[str, int]
    warnings: list[str] = field(default_factory=list)


FITTED, ADOPTED, FOLDED_IN, FOLDED_IN_TWICE, PRIOR = "fitted", "adopted", "folded_in", "folded_in_twice", "prior"
TagOutliers = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def score(
    events: RatingEvents,
    facts: NoteFacts,
    settings: FitRatersSettings,
    tag_outliers: TagOutliers | None = None,
    progress: Callable[..., None] = lambda *a, **k: None,
    members: np.ndarray | None = None,
) -> Scoring:
    """Run X's flow (README, "The flow") on all ratings and give parameters to every note and every rater that occurs.

    `tag_outliers(note_factor, rater_factor, helpful)` tells which notes carry an outlying not-helpful tag; `None`: none does.
    `members`: (n_raters,) bool, who is fitted together; the others are folded in afterwards, the notes fixed. `None`: everybody.
    Degenerate input (nothing survives the filters) is fitted unfiltered, with a warning.
    """
    warnings: list[str] = []
    n_notes, n_raters = len(events.note_ids), len(events.rater_ids)
    whole = from_indices(events.note_index, events.rater_index, events.value, events.note_ids, events.rater_ids, False)
    pool = whole
    if members is not None:
        pool = whole.keep(np.ones(n_notes, bool), members)
        if pool.n_ratings == 0:
            warnings.append(
                "No rating was made by a rater of the population to be fitted; all raters were fitted together."
            )
            pool, members = whole, None
    inside = np.ones(n_raters, bool) if members is None else members
    rejected = {"note_with_few_ratings": 0, "rater_with_few_ratings": 0, "rater_below_helpfulness": 0}

    notes_in, kept = peel(pool, settings.min_ratings_per_note, settings.min_ratings_per_rater)
    raters_in = inside.copy()
    raters_in[inside] = kept
    if not notes_in.any():
        warnings.append(
            f"No note is left when raters need {settings.min_ratings_per_rater} and notes {settings.min_ratings_per_note} ratings; "
            "all ratings were fitted without these filters."
        )
        notes_in, raters_in = pool.note_degree() > 0, inside
    rejected["note_with_few_ratings"] = int(pool.note_degree()[~notes_in].sum())
    rejected["rater_with_few_ratings"] = int(
        np.count_nonzero(notes_in[events.note_index] & (inside & ~raters_in)[events.rater_index])
    )
    if members is not None:
        rejected["rater_outside_population"] = whole.n_ratings - pool.n_ratings
    first_table = whole.keep(notes_in, raters_in)
    solver = ExactSolver(
        regularisation=settings.regularisation,
        tolerance=settings.tolerance,
        max_sweeps=settings.max_sweeps,
        random_starts=settings.random_starts,
        random_start_limit=settings.random_start_limit,
        threads=settings.threads or None,
    )
    progress(f"first round: {first_table.n_ratings:,} ratings of {first_table.n_notes:,} notes")
    first = solver.fit(first_table, rng=np.random.default_rng(settings.seed))

    # Outcomes of the first round, on every note it fitted, measure the raters.
    n_ratings = pool.note_degree()
    note_intercept, note_factor = _spread(first.parameters.notes, notes_in)
    provisional = provisional_statuses(
        _evidence(whole, note_intercept, note_factor, np.full(n_raters, np.nan), facts, n_ratings),
        settings.thresholds,
        settings.acting_rules,
    )
    outcome = (provisional.status == STATUSES.index(HELPFUL)).astype(np.int8) - (
        provisional.status == STATUSES.index(NOT_HELPFUL)
    )
    helpfulness = rater_helpfulness(
        note_index=events.note_index,
        rater_index=events.rater_index,
        value=events.value,
        valid=valid_ratings(events.note_index, events.created_at, facts.created_at, facts.status_at),
        note_status=outcome,
        note_intercept=note_intercept,
        note_author=facts.author,
        n_raters=n_raters,
        min_agree_ratio=settings.min_rater_agree_ratio,
        min_crh_vs_crnh=settings.min_crh_vs_crnh_ratio,
        min_mean_note_score=settings.min_mean_note_score,
    )
    table, factorization, survivors = first_table, first, raters_in
    rule = settings.helpfulness_filter
    if rule not in ("auto", "x", "evidence", "off"):
        raise InputError(f"helpfulness_filter = {rule!r} is not known; choose 'auto', 'x', 'evidence' or 'off'.")
    if rule == "auto":
        evidence_each = float(np.median(helpfulness.n_valid[raters_in])) if raters_in.any() else 0.0
        rule = "x" if evidence_each >= settings.helpfulness_min_valid else "evidence"
    if rule != "off":
        survivors = raters_in & (
            helpfulness.above_threshold
            if rule == "x"
            else survivors_on_evidence(helpfulness, settings.min_rater_agree_ratio, settings.helpfulness_min_valid)
        )
        if not survivors.any():
            survivors = raters_in
            warnings.append("Nobody passes the helpfulness filter; the final round is the first one.")
    rater_weight = None
    if settings.rater_weights == "quality":
        rater_weight = np.ones(n_raters)
        rater_weight[raters_in] = quality_weights(first_table, first.parameters)
        first_table = first_table.with_rater_weights(rater_weight[raters_in])
        table = first_table
    elif settings.rater_weights != "none":
        raise InputError(f"rater_weights = {settings.rater_weights!r} is not known; choose 'none' or 'quality'.")
    if not np.array_equal(survivors, raters_in) or rater_weight is not None:
        filtered = first_table.keep(np.ones(first_table.n_notes, bool), survivors[raters_in])
        rated = filtered.note_degree() > 0
        table = filtered.keep(rated, np.ones(filtered.n_raters, bool))
        rejected["rater_below_helpfulness"] = first_table.n_ratings - table.n_ratings
        begin = Parameters(
            _pick_raters(first.parameters.raters, survivors[raters_in]),
            NoteParameters(first.parameters.notes.intercept[rated], first.parameters.notes.factor[rated]),
            first.parameters.global_intercept,
        )
        notes_in = notes_in.copy()
        notes_in[np.flatnonzero(notes_in)[~rated]] = False
        progress(f"final round: {table.n_ratings:,} ratings of {table.n_notes:,} notes")
        factorization = solver.fit(table, start=begin)
    oriented, components = orient_components(table, factorization.parameters)
    factorization = replace(factorization, parameters=oriented)
    if len(components) > 1:
        warnings.append(
            f"The ratings fall into {len(components)} unconnected parts (the largest has {components[0].n_ratings:,} of {table.n_ratings:,} "
            "ratings): signs and scales of factors cannot be compared between parts; in each the larger group of raters is negative."
        )
    diagnostics = diagnose(table, factorization, solver, settings)
    warnings += diagnostics.get("identification", {}).get("warnings", [])
    frozen = Frozen(
        raters=RaterParameters(*_spread_raters(factorization.parameters.raters, survivors)),
        notes=NoteParameters(*_spread(factorization.parameters.notes, notes_in)),
        source=FITTED,
        global_intercept=factorization.parameters.global_intercept,
        ratings_per_note=table.n_ratings / max(table.n_notes, 1),
        ratings_per_rater=table.n_ratings / max(table.n_raters, 1),
        residual_variance=residual_variance(table, factorization.parameters, solver),
        rater_weight=rater_weight,
    )
    return Scoring(
        events=events,
        table=table,
        in_fit_notes=notes_in,
        in_fit_raters=survivors,
        factorization=factorization,
        first_round=first,
        frozen=frozen,
        completed=complete(events, whole, facts, frozen, settings, tag_outliers, members),
        helpfulness=helpfulness,
        components=components,
        diagnostics=diagnostics,
        helpfulness_rule=rule,
        rejected=rejected,
        warnings=warnings,
    )


def complete(
    events: RatingEvents,
    whole: RatingTable,
    facts: NoteFacts,
    frozen: Frozen,
    settings: FitRatersSettings,
    tag_outliers: TagOutliers | None = None,
    members: np.ndarray | None = None,
) -> Completed:
    """X's final stage: raters and mu frozen, every note solved; then raters without parameters, intervals and statuses.

    `whole`: all ratings of `events`. A note that has frozen parameters of its own keeps them (a fitted note's equation has them as its
    solution anyway). The others are solved from all their raters: those with frozen parameters, and the `UnfittedRaters` with less weight.
    Raters not marked in `members` (`None`: everybody is) count for notes that no member rated, and never for a status.
    """
    n_notes = whole.n_notes
    mu, per_note, raters = frozen.global_intercept, frozen.ratings_per_note, frozen.raters
    rater_of, value = whole.by_note >> 2, VALUE_OF_CODE[whole.by_note & 3]
    weight = np.ones(len(value)) if frozen.rater_weight is None else frozen.rater_weight[rater_of]

    def notes_from(known: RaterParameters, weight: np.ndarray) -> FoldedIn:
        return fold_in_notes(
            whole.note_start, rater_of, value, known, mu, weight=weight,
            ratings_per_note=per_note, regularisation=settings.regularisation, residual_variance=frozen.residual_variance,
        )  # fmt: skip

    first = notes_from(raters, weight)
    given = ~np.isnan(frozen.notes.intercept) & ~np.isnan(frozen.notes.factor)
    first = _with_known(first, frozen.notes.intercept, frozen.notes.factor, given)

    # Raters outside the fit, from notes that enough known raters judged; where there is none, from any note with parameters.
    known_rater = ~np.isnan(raters.factor) & ~np.isnan(raters.intercept)
    judged = given | (first.n_ratings >= settings.min_ratings_per_note)
    unfitted = unfitted_raters(whole, first, judged, known_rater, frozen)
    note_of, rater_value = whole.by_rater >> 2, VALUE_OF_CODE[whole.by_rater & 3]

    def raters_from(usable: np.ndarray) -> FoldedIn:
        known = NoteParameters(np.where(usable, first.intercept, np.nan), np.where(usable, first.factor, np.nan))
        folded = fold_in_raters(
            whole.rater_start, note_of, rater_value, known, mu + unfitted.mean_intercept, ratings_per_rater=frozen.ratings_per_rater,
            regularisation=settings.regularisation, residual_variance=frozen.residual_variance,
        )  # fmt: skip
        return replace(folded, intercept=folded.intercept + unfitted.mean_intercept)

    everyone = raters_from(judged)
    everyone = _merge(everyone, raters_from(given | (first.n_ratings > 0)), everyone.n_ratings == 0)
    rater_source = np.where(known_rater, frozen.source, np.where(everyone.n_ratings > 0, FOLDED_IN, PRIOR))
    everyone = _with_known(everyone, raters.intercept, raters.factor, known_rater)
    everybody = RaterParameters(everyone.intercept, everyone.factor)
    degree = n_ratings = whole.note_degree()
    captured = None
    if members is not None:
        alien = ~members[rater_of]
        n_ratings = np.bincount(np.repeat(np.arange(n_notes), degree)[~alien], minlength=n_notes)
        captured = n_ratings >= CAPTURE_SHARE * degree
        weight = np.where(alien & np.repeat(n_ratings > 0, degree), 0.0, weight)
    folded = _merge(notes_from(everybody, weight * np.where(known_rater, 1.0, unfitted.weight)[rater_of]), first, given)
    # What the note's own parameters rest on: strangers count for notes outside the fit only.
    weight = weight * np.where(known_rater[rater_of], 1.0, np.where(np.repeat(given, degree), 0.0, unfitted.weight))

    bounds = pseudo_rating_bounds(
        whole.note_start, rater_of, value, everybody, mu,
        ratings_per_note=per_note, extremes=raters, regularisation=settings.regularisation, weight=weight,
    )  # fmt: skip

    def scores_without(left_out: np.ndarray) -> np.ndarray:
        if not left_out.any():
            return np.full(n_notes, np.nan)
        remaining = RaterParameters(np.where(left_out, np.nan, everybody.intercept), everybody.factor)
        return notes_from(remaining, weight).intercept

    correlated = np.zeros(whole.n_raters, bool)
    if whole.n_ratings <= settings.diagnostics_limit:
        correlated = correlated_raters(
            facts.post[events.note_index], events.rater_index, events.created_at, whole.n_raters
        )
    baselines = scores_without(most_active_raters(events)), scores_without(correlated)
    evidence = _evidence(
        whole, folded.intercept, folded.factor, raters.factor, facts, n_ratings, bounds.upper, baselines
    )
    evidence = replace(evidence, captured=captured)
    rules = settings.thresholds
    if tag_outliers is not None:
        on_track = evidence.misleading & (n_ratings >= rules.min_ratings)
        on_track &= folded.intercept >= rules.helpful_intercept - rules.helpful_inertia
        evidence = replace(evidence, tag_outlier=tag_outliers(folded.factor, raters.factor, on_track))
    if settings.score == "gaussian":
        gaussian = gaussian_scores(whole, raters.factor, author=facts.author)
        folded = replace(folded, intercept=gaussian.score, intercept_sd=gaussian.sd)
        rules = gaussian_rules(rules)
        without = np.full(n_notes, np.nan)
        evidence = replace(
            evidence, intercept=gaussian.score, upper=without, without_most_active=without, without_correlated=without
        )
    elif settings.score != "intercept":
        raise InputError(f"score = {settings.score!r} is not known; choose 'intercept' or 'gaussian'.")
    lower, upper = normal_interval(folded.intercept, folded.intercept_sd, settings.interval)
    return Completed(
        notes=folded,
        note_source=np.where(given, frozen.source, np.where(first.n_ratings > 0, FOLDED_IN, FOLDED_IN_TWICE)),
        raters=everyone,
        rater_source=rater_source,
        unfitted=unfitted,
        evidence=evidence,
        statuses=final_statuses(evidence, rules, settings.acting_rules),
        lower=lower,
        upper=upper,
        pseudo_lower=bounds.lower,
    )


def unfitted_raters(
    whole: RatingTable, notes: FoldedIn, judged: np.ndarray, known_rater: np.ndarray, frozen: Frozen
) -> UnfittedRaters:
    """What the ratings of notes marked in `judged` by raters not marked in `known_rater` say of such raters (README, "Raters outside the fit")."""
    chosen = ~known_rater[whole.by_note >> 2] & np.repeat(judged, whole.note_degree())
    note = np.repeat(np.arange(whole.n_notes), whole.note_degree())[chosen]
    rest = VALUE_OF_CODE[whole.by_note[chosen] & 3] - frozen.global_intercept - notes.intercept[note]
    if len(rest) == 0:
        return UnfittedRaters(0.0, 0.0)
    mean = float(np.mean(rest, dtype=np.float64))
    variance = float(np.mean(np.square(rest - mean, dtype=np.float64)))
    return UnfittedRaters(mean, min(frozen.residual_variance / variance, 1.0) if variance > 0 else 1.0)


def diagnose(
    table: RatingTable, factorization: Factorization, solver: ExactSolver, settings: FitRatersSettings
) -> dict[str, Any]:
    """JSON-able diagnostics of a fit; those that refit are left out above `diagnostics_limit` ratings."""
    found: dict[str, Any] = {"effective_numbers": effective_numbers(table)}
    held_out = None
    if table.n_ratings <= settings.diagnostics_limit:
        rng = np.random.default_rng([settings.seed, 1])
        held_out = held_out_error(table, solver, settings.held_out_splits, settings.held_out_share, rng)
        found["held_out"] = None if held_out is None else asdict(held_out)
        found["stability"] = stability(table, solver, factorization.parameters, settings.random_starts, rng)
    found["identification"] = identification(table, factorization.parameters, held_out)
    return found


def gaussian_rules(rules: StatusSettings) -> StatusSettings:
    """The thresholds X uses with its Gaussian score (`gaussian_scorer.py`): Helpful from 0.51 whatever the sides' net counts, Not Helpful by
    the ratio rule only."""
    return replace(
        rules,
        helpful_intercept=HELPFUL_SCORE,
        tag_outlier_intercept=1.0,
        largest_factor=np.inf,
        not_helpful_intercept=-0.5,
        not_helpful_slope=0.0,
        not_helpful_upper_bound=-0.5,
        not_misleading_intercept=-0.6,
        min_net_helpful=0,
        enough_net_helpful=0,
    )


def peel(table: RatingTable, min_ratings_per_note: int, min_ratings_per_rater: int) -> tuple[np.ndarray, np.ndarray]:
    """(notes, raters) that remain when notes, then raters, then notes again with too few ratings are removed; bool each.

    As X does, once there and back, so that the same ratings are fitted. Source: communitynotes `process_data.py`, `filter_ratings`.
    """
    notes, raters = np.empty(table.n_notes, bool), np.empty(table.n_raters, bool)
    kernels.peel(table.note_start, table.by_note, min_ratings_per_note, min_ratings_per_rater, notes, raters)
    return notes, raters


def most_active_raters(events: RatingEvents, quantile: float = 0.999, days: tuple[int, ...] = (7, 28)) -> np.ndarray:
    """(n_raters,) bool: raters above the `quantile` of ratings made in the last 7 or 28 days of the data.

    Nobody when fewer than 1,000 raters were active, where a quantile of 0.999 would only name the single most active one.
    Source: communitynotes `process_data.py`, `tag_high_volume_raters`.
    """
    active = np.zeros(len(events.rater_ids), bool)
    if len(events.created_at) == 0:
        return active
    newest = newest_time(pl.LazyFrame({"createdAtMillis": events.created_at})) or 0
    for span in days:
        recent = events.rater_index[events.created_at > newest - span * DAY_MILLIS]
        counts = np.bincount(recent, minlength=len(active))
        seen = counts[counts > 0]
        if len(seen) >= 1000:
            active |= counts > np.quantile(seen, quantile)
    return active


def residual_variance(table: RatingTable, parameters: Parameters, solver: ExactSolver) -> float:
    """Variance of one rating about its prediction, corrected for the parameters fitted; the spread that intervals are built on.

    The degrees of freedom are the trace of each row's smoother, rows of one side given the other, as in a fit by parts.
    """
    if table.n_ratings == 0:
        return 1.0 / 6.0  # ratings spread evenly over 0, 1/2, 1
    _, _, value = table.triples()
    error = float(np.sum(table.weights() * (value - predictions(table, parameters)) ** 2))
    ridge = solver.regularisation.ridges(table.n_ratings, table.n_raters, table.n_notes)
    freedom = 0.0
    for start, stream, other, own in (
        (table.note_start, table.by_note, parameters.raters, (ridge.note_intercept, ridge.note_factor)),
        (table.rater_start, table.by_rater, parameters.notes, (ridge.rater_intercept, ridge.rater_factor)),
    ):
        freedom += kernels.degrees_of_freedom(start, stream, other.factor, *own)
    return error / max(table.n_ratings - freedom, 0.1 * table.n_ratings)


def _evidence(
    table: RatingTable,
    intercept: np.ndarray,
    factor: np.ndarray,
    rater_factor: np.ndarray,
    facts: NoteFacts,
    n_ratings: np.ndarray,
    upper: np.ndarray | None = None,
    baselines: tuple[np.ndarray, np.ndarray] | None = None,
) -> NoteEvidence:
    counts = np.zeros((table.n_notes, 2, 3), np.int64)
    kernels.count_by_side(table.note_start, table.by_note, rater_factor, counts)
    unknown = np.full(table.n_notes, np.nan)
    return NoteEvidence(
        intercept=intercept,
        factor=factor,
        upper=unknown if upper is None else upper,
        counts=counts,
        n_ratings=n_ratings,
        misleading=facts.misleading,
        was_helpful=facts.was_helpful,
        locked=facts.locked,
        without_most_active=unknown if baselines is None else baselines[0],
        without_correlated=unknown if baselines is None else baselines[1],
        tag_outlier=np.zeros(table.n_notes, bool),
    )


def _spread(notes: NoteParameters, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return _spread_raters(RaterParameters(notes.intercept, notes.factor), where)


def _spread_raters(raters: RaterParameters, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Parameters on the rows marked True, NaN elsewhere."""
    intercept, factor = np.full(len(where), np.nan), np.full(len(where), np.nan)
    intercept[where], factor[where] = raters.intercept, raters.factor
    return intercept, factor


def _pick_raters(raters: RaterParameters, where: np.ndarray) -> RaterParameters:
    return RaterParameters(raters.intercept[where], raters.factor[where])


def _merge(first: FoldedIn, other: FoldedIn, where: np.ndarray) -> FoldedIn:
    """`other` on the rows marked True, `first` elsewhere."""
    return FoldedIn(*(np.where(where, b, a) for a, b in zip(_columns(first), _columns(other), strict=True)))


def _with_known(folded: FoldedIn, intercept: np.ndarray, factor: np.ndarray, where: np.ndarray) -> FoldedIn:
    return replace(
        folded, intercept=np.where(where, intercept, folded.intercept), factor=np.where(where, factor, folded.factor)
    )


def _columns(folded: FoldedIn) -> list[np.ndarray]:
    return [
        folded.intercept,
        folded.factor,
        folded.intercept_sd,
        folded.factor_sd,
        folded.n_ratings,
        folded.squared_error,
    ]

"""How well a trained jury predicts real ratings of notes it has never seen: `supernotes evaluate-jury`.

The protocol (README, section 6): for every target note its own ratings, status, counts and published parameters are hidden; the other
notes of its post are siblings with the ratings and parameters they have. A compared pair hides *both* notes, third notes are the siblings.
A rater's own ratings of siblings count only if they were made before the rating that is predicted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jury.judge.chance import AS_IS, helpful_chance
from jury.model.hierarchical import HierarchicalModel
from jury.model.topics import as_labels, topics_of_posts
from jury.records import SIDES, JudgedText, Jury, RaterModel, Ratings, Sibling, side_of
from jury.train.certainty import PAIR_GAP
from jury.train.foils import foil_table, notes_to_edit
from jury.train.measures import (
    EMPTY,
    auc_measure,
    calibration_measure,
    log_loss,
    mean_measure,
    spearman_measure,
)
from jury.train.table import TrainingData
from nouns.errors import InputError
from nouns.x import X_GLOBAL_INTERCEPT

Array = NDArray[Any]
MIN_FITTED = 5
"""Ratings by raters with parameters a target needs for an intercept folded in here, where none is published. X's own minimum."""
METRICS = (
    "rating_auc", "log_loss", "ece", "intercept_spearman", "factor_spearman", "pair_same_stance", "pair_cross_stance",
    "coverage_90", "crh_auc", "helpful_chance", "helpful_chance_auc", "rating_auc_without_history", "log_loss_without_history",
)  # fmt: skip
HELPFUL_STATUS = "CURRENTLY_RATED_HELPFUL"


@dataclass(frozen=True)
class EvaluationSet:
    """Labelled notes to judge: the tables, and what is known afterwards (`status`, `writer`, `topic`), used only to score and to slice.

    What a sibling's ratings may be: made before `moment` (milliseconds, one for all notes) and before the judged note's own entry of
    `moments` (n_notes,; the later of the two for a compared pair). None: no limit. An entry of 0 or less says the moment is not
    known; that note's siblings are then not limited.
    """

    data: TrainingData
    status: tuple[str | None, ...]
    writer: tuple[str | None, ...]
    truth_intercept: Array
    truth_factor: Array
    sibling_parameters: bool = True
    moment: int | None = None
    moments: NDArray[np.int64] | None = None
    topic: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Predictions:
    """One model's answers on an evaluation set. Rating arrays align with `rows` (rows of the rating table of target notes).

    helpful, helpful_plain: P(helpful) with and without the rater's own earlier ratings of siblings. pairs: arrays (first, second row of
    the note table) with the difference of predicted intercepts. Notes: predicted intercept, factor and the deviation of the intercept.
    """

    rows: NDArray[np.int64]
    helpful: Array
    helpful_plain: Array
    notes: NDArray[np.int64]
    intercept: Array
    factor: Array
    sd: Array
    pair_first: NDArray[np.int64]
    pair_second: NDArray[np.int64]
    pair_difference: Array
    pair_sd: Array
    chance: tuple[float, float] = AS_IS


# --------------------------------------------------------------------------------------------------------------- reading


def _table(path: Path) -> pl.DataFrame:
    """A table from Parquet or X's TSV; a directory means all its files of that kind."""
    path = Path(path)
    if path.is_dir():
        files = sorted([*path.glob("*.tsv"), *path.glob("*.parquet")])
        if not files:
            raise InputError(f"{path} holds neither .tsv nor .parquet files.")
        return pl.concat([_table(f) for f in files], how="diagonal_relaxed")
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    return pl.read_csv(path, separator="\t", quote_char=None, infer_schema_length=50_000)


def read_evaluation_set(
    notes: Path,
    ratings: Path | None = None,
    posts: Path | None = None,
    raters: Path | None = None,
    *,
    known_raters: pl.DataFrame | None = None,
    global_intercept: float = X_GLOBAL_INTERCEPT,
    as_of: int | None = None,
) -> EvaluationSet:
    """The tables of `evaluate-jury`. Rater parameters come from `raters`, else from the ratings' own columns, else `known_raters`.

    With `as_of` (milliseconds) siblings have only ratings made before it and no published parameters, which are later knowledge.
    Truth is what is published; where nothing is, intercepts are folded in from at least MIN_FITTED ratings.
    """
    from jury.train.data import assemble, read_raters
    from jury.train.extra_data import _raters_on_rows, _ratings

    frame = _table(Path(notes))
    missing = [c for c in ("noteId", "tweetId", "summary") if c not in frame.columns]
    if missing:
        raise InputError(
            f"{notes} has no column {missing[0]!r}; found {frame.columns}. A table of X's notes is expected."
        )
    frame = (
        frame.filter(pl.col("summary").is_not_null()).unique("noteId", keep="first", maintain_order=True).sort("noteId")
    )

    def first_of(names: Sequence[str], dtype: Any) -> pl.Expr:
        found = [pl.col(n).cast(dtype, strict=False) for n in names if n in frame.columns]
        return pl.coalesce(found) if found else pl.lit(None, dtype=dtype)

    frame = frame.with_columns(
        first_of(("coreNoteIntercept", "noteIntercept", "intercept"), pl.Float64).alias("intercept"),
        first_of(("coreNoteFactor1", "noteFactor1", "factor1", "factor"), pl.Float64).alias("factor"),
        first_of(("classification",), pl.String).fill_null("").alias("classification"),
        first_of(("finalRatingStatus", "ratingStatus", "currentStatus"), pl.String).alias("_status"),
        first_of(("writer",), pl.String).alias("_writer"),
        first_of(("topic",), pl.String).alias("_topic"),
        pl.lit(None, dtype=pl.Float64).alias("n_ratings"),
    )
    text = pl.DataFrame(schema={"tweetId": pl.Int64, "text": pl.String, "language": pl.String})
    if posts is not None:
        p = _table(Path(posts))
        language = next((c for c in ("language", "lang") if c in p.columns), None)
        text = p.select(
            pl.col("tweetId").cast(pl.Int64), pl.col("text").cast(pl.String),
            (pl.col(language).cast(pl.String) if language else pl.lit(None, dtype=pl.String)).alias("language"),
        ).unique("tweetId", keep="first", maintain_order=True)  # fmt: skip
    frame = (
        frame.drop([c for c in ("text", "language") if c in frame.columns])
        .join(text, on="tweetId", how="left")
        .sort("noteId")
    )

    empty = pl.DataFrame(
        schema={
            "noteId": pl.Int64,
            "raterParticipantId": pl.String,
            "createdAtMillis": pl.Int64,
            "helpfulness": pl.Float64,
        }
    )
    rated = _read_ratings(Path(ratings), _ratings) if ratings is not None else empty
    if raters is not None:
        people = read_raters(Path(raters))
    elif {"coreRaterIntercept", "coreRaterFactor1"} <= set(rated.columns):
        people = _raters_on_rows(rated)
    elif known_raters is not None:
        people = known_raters
    else:
        people = pl.DataFrame(
            schema={
                "raterParticipantId": pl.String,
                "intercept": pl.Float64,
                "factor1": pl.Float64,
                "n_ratings": pl.Int64,
            }
        )
    data = assemble(frame, rated, people, global_intercept=global_intercept, source="evaluation")
    truth_i, truth_f = data.intercept.copy(), data.factor.copy()
    folded_i, folded_f, count = fold_in_truth(data)
    use = ~np.isfinite(truth_i) & (count >= MIN_FITTED)
    truth_i[use], truth_f[use] = folded_i[use], folded_f[use]
    return EvaluationSet(
        data,
        tuple(frame["_status"].to_list()),
        tuple(frame["_writer"].to_list()),
        truth_i,
        truth_f,
        as_of is None,
        as_of,
        topic=tuple(frame["_topic"].to_list()) if "topic" in frame.columns else (),
    )


def _read_ratings(path: Path, reader: Callable[[Sequence[Path]], pl.DataFrame]) -> pl.DataFrame:
    if path.is_dir():
        return reader(sorted(path.glob("ratings*.tsv")) or sorted(path.glob("*.tsv")))
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    return reader([path])


def fold_in_truth(data: TrainingData, ratings_per_note: float = 20.0) -> tuple[Array, Array, NDArray[np.int64]]:
    """Intercept, factor and number of ratings of every note, folded in from the ratings at hand with the raters frozen."""
    from matrix_factorization.foldin import fold_in_notes
    from matrix_factorization.model.objective import RaterParameters

    count = np.bincount(data.rating_note, minlength=len(data))
    if len(data.value) == 0:
        return np.full(len(data), np.nan), np.full(len(data), np.nan), count
    order = np.argsort(data.rating_note, kind="stable")
    start = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    people = RaterParameters(data.rater_intercept[order], data.rater_factor[order])
    folded = fold_in_notes(
        start,
        np.arange(len(order)),
        data.value[order],
        people,
        data.global_intercept,
        ratings_per_note=ratings_per_note,
    )
    return folded.intercept, folded.factor, count


# ------------------------------------------------------------------------------------------------------------ predicting


class Hidden:
    """Serves every note of an evaluation set as a target or a sibling, and sees to it that a target's own ratings stay hidden.

    Without `published` a target is read as a candidate is, its links asked what they say.
    """

    def __init__(self, evaluation: EvaluationSet, published: bool = True) -> None:
        data = evaluation.data
        self.evaluation, self.data, self.published = evaluation, data, published
        order = np.argsort(data.rating_note, kind="stable")
        edges = np.searchsorted(data.rating_note[order], np.arange(len(data) + 1))
        self.rows_of = [order[edges[k] : edges[k + 1]] for k in range(len(data))]
        self.of_post: dict[int, list[int]] = defaultdict(list)
        for k, post in enumerate(data.post.tolist()):
            self.of_post[post].append(k)
        self._sibling: dict[tuple[int, int], Sibling] = {}

    def sibling(self, k: int, before: int = -1) -> Sibling:
        """Note k as a sibling, with the ratings made before `before` (-1: no limit beyond the evaluation's own)."""
        if (k, before) not in self._sibling:
            d = self.data
            rows = self.rows_of[k]
            if self.evaluation.moment is not None:
                rows = rows[d.created_at[rows] < self.evaluation.moment]
            if before >= 0:
                rows = rows[d.created_at[rows] < before]
            published = self.evaluation.sibling_parameters and np.isfinite(d.intercept[k])
            known = Ratings(
                tuple(d.rater_ids[u] for u in d.rater[rows]),
                d.rater_intercept[rows],
                d.rater_factor[rows],
                d.value[rows],
                d.created_at[rows],
            )
            self._sibling[k, before] = Sibling(
                int(d.note_id[k]), d.text[k], d.classification[k],
                float(d.intercept[k]) if published else None,
                float(d.factor[k]) if published and np.isfinite(d.factor[k]) else None,
                known,
            )  # fmt: skip
        return self._sibling[k, before]

    def target(self, k: int, hidden: Iterable[int] = ()) -> JudgedText:
        """Note k with the other notes of its post as siblings, those of `hidden` left out too."""
        d = self.data
        left_out = {k, *hidden}
        moments = self.evaluation.moments
        # A pair is compared when both are there; where one moment is unknown, nothing is cut.
        known = [int(moments[j]) for j in left_out] if moments is not None else [-1]
        before = max(known) if min(known) > 0 else -1
        # A note written after the moment is not there yet: that it will come says something of the post.
        limit = before if before >= 0 else self.evaluation.moment
        written = d.written_at if limit is not None else None
        others = tuple(
            self.sibling(j, before)
            for j in self.of_post[int(d.post[k])]
            if j not in left_out and (written is None or written[j] < limit)
        )
        return JudgedText(
            str(d.note_id[k]), d.text[k], d.classification[k], int(d.post[k]), d.post_text[k], d.language[k], others,
            published=self.published,
        )  # fmt: skip


def predict(model: RaterModel, hidden: Hidden, targets: NDArray[np.int64], standard_jury: Jury) -> Predictions:
    """Everything the metrics need from one model. `targets` are rows of the note table."""
    evaluation, data = hidden.evaluation, hidden.data
    texts = [hidden.target(int(k)) for k in targets]
    intercept, factor, sd = scores(model, texts, standard_jury)
    rows, helpful, plain = [], [], []
    for text, k in zip(texts, targets, strict=True):
        mine = hidden.rows_of[int(k)]
        if len(mine) == 0:
            continue
        rows.append(mine)
        ids = tuple(data.rater_ids[u] for u in data.rater[mine])
        i_u, f_u = data.rater_intercept[mine], data.rater_factor[mine]
        nobody = ("",) * len(mine)
        jury = Jury(nobody, i_u, f_u, data.global_intercept, "raters of the note", 0)
        if isinstance(model, HierarchicalModel):
            seated = model.seat(jury)
            judgement = model.judge([text])
            shift = model.history_shift(text, ids, i_u, f_u, data.created_at[mine].astype(np.float64))[:, None]
            plain.append(seated.respond(judgement, reasons=False).probabilities[:, 0, 2])
            helpful.append(seated.respond(judgement, shift, reasons=False).probabilities[:, 0, 2])
        else:
            chance = model.seat(jury).rate([text]).probabilities[:, 0, 2]
            plain.append(chance)
            helpful.append(chance)
    first, second = compared_pairs(evaluation, targets)
    pair_texts = [hidden.target(a, (b,)) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    pair_texts += [hidden.target(b, (a,)) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    pair_score = scores(model, pair_texts, standard_jury)[0] if pair_texts else np.zeros(0)
    # As pairs for training are weighed: by the errors of both within the post.
    within = (
        model.judge(pair_texts).sd_within if isinstance(model, HierarchicalModel) else np.full(len(pair_texts), np.nan)
    )
    join: Callable[..., Any] = lambda parts, kind: np.concatenate(parts).astype(kind) if parts else np.zeros(0, kind)  # noqa: E731
    return Predictions(
        join(rows, np.int64), join(helpful, np.float64), join(plain, np.float64), targets, intercept, factor, sd, first, second,
        pair_score[: len(first)] - pair_score[len(first) :], np.hypot(within[: len(first)], within[len(first) :]),
        model.chance if isinstance(model, HierarchicalModel) else AS_IS,
    )  # fmt: skip


def compared_pairs(
    evaluation: EvaluationSet, targets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of all pairs of target notes of one post whose true intercepts lie PAIR_GAP or more apart."""
    by_post: dict[int, list[int]] = defaultdict(list)
    for k in targets.tolist():
        if np.isfinite(evaluation.truth_intercept[k]):
            by_post[int(evaluation.data.post[k])].append(k)
    pairs = [
        (a, b)
        for rows in by_post.values()
        for x, a in enumerate(rows)
        for b in rows[x + 1 :]
        if abs(evaluation.truth_intercept[a] - evaluation.truth_intercept[b]) >= PAIR_GAP
    ]
    return np.array([p[0] for p in pairs], dtype=np.int64), np.array([p[1] for p in pairs], dtype=np.int64)


def scores(model: RaterModel, texts: Sequence[JudgedText], standard_jury: Jury) -> tuple[Array, Array, Array]:
    """Predicted intercept, factor and the intercept's deviation of each text: the model's own, or the bridging fit of a standard jury."""
    if isinstance(model, HierarchicalModel):
        judged = model.judge(texts)
        return judged.mean[:, 0], judged.mean[:, 1], judged.sd
    from matrix_factorization.foldin import bridging_scores

    seated = model.seat(standard_jury)
    parts = []
    for begin in range(0, len(texts), 64):
        rated = seated.rate(texts[begin : begin + 64])
        folded = bridging_scores(
            rated.expected(),
            standard_jury.intercept,
            standard_jury.factor,
            standard_jury.global_intercept,
            ratings_per_note=1.0,
        )
        parts.append(np.stack([folded.intercept, folded.factor, rated.sd]))
    joined = np.concatenate(parts, axis=1) if parts else np.zeros((3, 0))
    return joined[0], joined[1], joined[2]


# --------------------------------------------------------------------------------------------------------------- scoring


def score_predictions(
    evaluation: EvaluationSet,
    p: Predictions,
    bootstrap: int = 300,
    keep: NDArray[np.bool_] | None = None,
    keep_rating: NDArray[np.bool_] | None = None,
) -> dict[str, dict[str, Any]]:
    """All metrics; `keep` (n_notes of the table) restricts to a slice of notes, `keep_rating` (aligned with p.rows) to ratings."""
    data = evaluation.data
    keep = np.ones(len(data), dtype=bool) if keep is None else keep
    use = keep[data.rating_note[p.rows]]
    if keep_rating is not None:
        use &= keep_rating
    rows = p.rows[use]
    truth = (data.value[rows] > 0.75).astype(np.float64)
    post = data.post[data.rating_note[rows]]
    out: dict[str, dict[str, Any]] = {}
    for suffix, chance in (("", p.helpful[use]), ("_without_history", p.helpful_plain[use])):
        out["rating_auc" + suffix] = auc_measure(post, truth, chance, bootstrap)
        out["log_loss" + suffix] = mean_measure(post, log_loss(truth, chance), bootstrap)
    out["ece"] = calibration_measure(post, truth, p.helpful[use], bootstrap)
    if keep_rating is not None:
        return {name: out.get(name, dict(EMPTY)) for name in METRICS}

    mine = keep[p.notes]
    notes = p.notes[mine]
    i_true, f_true = evaluation.truth_intercept[notes], evaluation.truth_factor[notes]
    known = np.isfinite(i_true) & np.isfinite(p.intercept[mine])
    known_f = np.isfinite(f_true) & np.isfinite(p.factor[mine])
    note_post = data.post[notes]
    out["intercept_spearman"] = spearman_measure(note_post[known], i_true[known], p.intercept[mine][known], bootstrap)
    out["factor_spearman"] = spearman_measure(note_post[known_f], f_true[known_f], p.factor[mine][known_f], bootstrap)
    inside = np.abs(i_true - p.intercept[mine]) <= 1.6449 * p.sd[mine]
    sure = known & np.isfinite(p.sd[mine]) & (p.sd[mine] > 0)
    out["coverage_90"] = mean_measure(note_post[sure], inside[sure].astype(np.float64), bootstrap)
    status = np.array([evaluation.status[k] or "" for k in notes.tolist()], dtype=object)
    decided = status != ""
    crh = (status == HELPFUL_STATUS).astype(np.float64)
    out["crh_auc"] = auc_measure(note_post[decided], crh[decided], p.intercept[mine][decided], bootstrap)
    chance = helpful_chance(p.intercept[mine], p.sd[mine], p.factor[mine], p.chance)[decided]
    use = np.isfinite(chance)
    out["helpful_chance"] = calibration_measure(note_post[decided][use], crh[decided][use], chance[use], bootstrap)
    out["helpful_chance_auc"] = auc_measure(note_post[decided][use], crh[decided][use], chance[use], bootstrap)

    stance = data.stance()
    in_slice = keep[p.pair_first] & keep[p.pair_second]
    hit = pair_hits(evaluation, p)
    same = stance[p.pair_first] == stance[p.pair_second]
    for name, which in (("pair_same_stance", same & in_slice), ("pair_cross_stance", ~same & in_slice)):
        out[name] = mean_measure(data.post[p.pair_first[which]], hit[which], bootstrap)
    return {name: out.get(name, dict(EMPTY)) for name in METRICS}


def pair_hits(evaluation: EvaluationSet, p: Predictions) -> Array:
    """For each compared pair 1 where the order was right, 0 where it was wrong, a half where the model said nothing."""
    gap = evaluation.truth_intercept[p.pair_first] - evaluation.truth_intercept[p.pair_second]
    right = (np.sign(p.pair_difference) == np.sign(gap)).astype(np.float64)
    return np.where(np.abs(p.pair_difference) < 1e-12, 0.5, right)


def compare_pairs(
    evaluation: EvaluationSet, ours: Predictions, theirs: Predictions, name: str, bootstrap: int = 300
) -> list[dict[str, Any]]:
    """What a baseline orders better or worse, on the very same pairs: [{"pairs": "same_stance" | "cross_stance", "against", "value", "lo", "hi", "n"}].

    `value` is our share of right orders less the baseline's; the interval resamples posts.
    """
    stance = evaluation.data.stance()
    same = stance[ours.pair_first] == stance[ours.pair_second]
    gain = pair_hits(evaluation, ours) - pair_hits(evaluation, theirs)
    post = evaluation.data.post[ours.pair_first]
    return [
        {"pairs": kind, "against": name, **mean_measure(post[which], gain[which], bootstrap)}
        for kind, which in (("same_stance", same), ("cross_stance", ~same))
    ]


def flip_bins(evaluation: EvaluationSet, p: Predictions, bins: int = 5) -> list[dict[str, Any]]:
    """How often pairs were ordered wrongly beside how often that was foreseen: [{"lo", "hi", "n", "predicted", "observed", "observed_lo", "observed_hi"}].

    Compared pairs in bins of equal size by predicted chance of the other order, the normal's tail beyond the predicted difference; `lo` and `hi` are
    the bin's borders, the interval of `observed` resamples posts. Empty for a model that does not say how sure it is.
    """
    from scipy.special import ndtr

    known = np.isfinite(p.pair_sd) & (p.pair_sd > 0)
    first, second, difference = p.pair_first[known], p.pair_second[known], p.pair_difference[known]
    predicted = ndtr(-np.abs(difference) / p.pair_sd[known])
    wrong = difference * (evaluation.truth_intercept[first] - evaluation.truth_intercept[second]) < 0
    order = np.argsort(predicted, kind="stable")
    rows = []
    for part in np.array_split(order, min(bins, max(len(order) // 40, 1))) if len(order) else []:
        seen = mean_measure(evaluation.data.post[first[part]], wrong[part].astype(np.float64))
        rows.append({
            "lo": float(predicted[part].min()), "hi": float(predicted[part].max()), "n": len(part), "predicted": float(predicted[part].mean()),
            "observed": seen["value"], "observed_lo": seen["lo"], "observed_hi": seen["hi"],
        })  # fmt: skip
    return rows


def slices(evaluation: EvaluationSet, targets: NDArray[np.int64]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Named subsets of the notes: stance, number of siblings, language, writer, topic (by words where none is given)."""
    data = evaluation.data
    is_target = np.zeros(len(data), dtype=bool)
    is_target[targets] = True
    stance = data.stance()
    siblings = np.array([0] * len(data))
    _, inverse, count = np.unique(data.post, return_inverse=True, return_counts=True)
    siblings = count[inverse] - 1
    found: list[tuple[str, NDArray[np.bool_]]] = [
        ("stance: misleading", stance == 0),
        ("stance: not misleading", stance == 1),
        ("siblings: 0", siblings == 0),
        ("siblings: 1", siblings == 1),
        ("siblings: 2 to 4", (siblings >= 2) & (siblings <= 4)),
        ("siblings: 5 or more", siblings >= 5),
    ]
    topic = evaluation.topic or as_labels(
        data.post.tolist(), topics_of_posts(data.post.tolist(), data.text, data.post_text)
    )
    for name, values in (("language", data.language), ("writer", evaluation.writer), ("topic", topic)):
        labels = np.array([v or "" for v in values], dtype=object)
        common = [v for v in sorted(set(labels.tolist())) if v and int((labels == v).sum()) >= 30]
        found += [(f"{name}: {v}", labels == v) for v in common]
    return [(name, mask & is_target) for name, mask in found if int((mask & is_target).sum()) >= 10]


def evaluate_models(
    evaluation: EvaluationSet,
    model: RaterModel,
    baselines: Mapping[str, Any],
    standard_jury: Jury,
    targets: Sequence[int] | None = None,
    bootstrap: int = 300,
    progress=lambda *a, **k: None,
) -> tuple[dict[str, Any], Predictions]:
    """The object of interfaces.md, section "Judging the jury", for any model and baselines, and our model's predictions."""
    data = evaluation.data
    chosen = np.arange(len(data))
    if targets is not None:
        wanted = set(targets)
        chosen = np.array([k for k, n in enumerate(data.note_id.tolist()) if n in wanted], dtype=np.int64)
        if len(chosen) == 0:
            raise InputError(f"none of the {len(wanted)} target ids is a note with a text in the notes table.")
    hidden = Hidden(evaluation)
    progress("judging", 0, len(baselines) + 1)
    ours = predict(model, hidden, chosen, standard_jury)
    result: dict[str, Any] = {
        "n_ratings": len(ours.rows),
        "n_notes": len(chosen),
        "n_posts": len(np.unique(data.post[chosen])),
        "metrics": score_predictions(evaluation, ours, bootstrap),
        "p_flip": flip_bins(evaluation, ours),
        "pairs_against": [],
        "baselines": {},
        "slices": [],
    }
    for number, (name, baseline) in enumerate(baselines.items()):
        progress(f"baseline {name}", number + 1, len(baselines) + 1)
        theirs = predict(baseline, hidden, chosen, standard_jury)
        result["baselines"][name] = score_predictions(evaluation, theirs, bootstrap)
        result["pairs_against"] += compare_pairs(evaluation, ours, theirs, name, bootstrap)
    few = max(min(bootstrap, 100), 2)
    for name, mask in slices(evaluation, chosen):
        result["slices"].append({"slice": name, "metrics": score_predictions(evaluation, ours, few, keep=mask)})
    side = side_of(data.rater_factor[ours.rows]) if len(ours.rows) else np.zeros(0, dtype=np.int64)
    for s, name in enumerate(SIDES):
        if (side == s).any():
            metrics = score_predictions(evaluation, ours, few, keep_rating=side == s)
            result["slices"].append({"slice": f"raters: {name}", "metrics": metrics})
    return result, ours


def foils_of(
    evaluation: EvaluationSet,
    model: RaterModel,
    standard_jury: Jury,
    notes: int,
    passes: Callable[[JudgedText, JudgedText], bool] | None = None,
    targets: Sequence[int] | None = None,
    bootstrap: int = 300,
) -> list[dict[str, Any]]:
    """`foil_table` of at most `notes` notes of the set (`targets`: ids it is restricted to), each as it stands beside its siblings."""
    hidden = Hidden(evaluation)
    wanted = None if targets is None else set(targets)
    at = [k for k, n in enumerate(evaluation.data.note_id.tolist()) if wanted is None or n in wanted]
    # A negated note stands beside the note itself, with its ratings.
    texts = [replace(hidden.target(k), own_ratings=hidden.sibling(k).ratings) for k in at]
    return foil_table(
        lambda asked: scores(model, asked, standard_jury)[0], notes_to_edit(texts, notes), passes, bootstrap=bootstrap
    )


def evaluate_jury(
    jury: Path,
    *,
    notes: Path,
    ratings: Path | None = None,
    posts: Path | None = None,
    raters: Path | None = None,
    targets: Sequence[int] | None = None,
    as_of: int | None = None,
    model: str = "model",
    cache: Path | None = None,
    bootstrap: int = 300,
    foils: int = 100,
    passes: Callable[[JudgedText, JudgedText], bool] | None = None,
    progress=lambda *a, **k: None,
) -> dict[str, Any]:
    """Evaluate a trained jury directory on any labelled set; the JSON object of `supernotes evaluate-jury`.

    `foils` notes are edited as foils.py has it; `passes(foil, original)` says whether a foil passes the checks (None: not asked).
    """
    from jury.model.baselines import load_baselines
    from jury.model.store import load_model
    from jury.opened import open_jury

    directory = open_jury(jury)
    known = pl.DataFrame(
        {
            "raterParticipantId": list(directory.raters.rater_ids), "intercept": directory.raters.intercept,
            "factor1": directory.raters.factor, "n_ratings": directory.raters.n_ratings,
        },
        schema={"raterParticipantId": pl.String, "intercept": pl.Float64, "factor1": pl.Float64, "n_ratings": pl.Int64},
    )  # fmt: skip
    evaluation = read_evaluation_set(
        notes, ratings, posts, raters, known_raters=known, global_intercept=directory.global_intercept, as_of=as_of
    )
    trained = load_model(directory.path, model, cache)
    seats = standard_jury(directory.raters, directory.global_intercept)
    result, ours = evaluate_models(
        evaluation, trained, load_baselines(directory.path, trained.encoder), seats, targets, bootstrap, progress
    )
    result["as_candidates"] = as_candidates(evaluation, trained, ours, seats, bootstrap)
    progress("editing notes")
    result["foils"] = foils_of(evaluation, trained, seats, foils, passes, targets, bootstrap)
    return result


def as_candidates(
    evaluation: EvaluationSet, model: RaterModel, ours: Predictions, standard_jury: Jury, bootstrap: int = 300
) -> dict[str, Any]:
    """The same notes read as texts that nobody has published, whose links are asked: {"metrics", "level"}.

    `level`: mean intercepts of the notes whose true one is known, {"true", "published", "candidates", "n"}: the difference of the last two is what the jury
    takes off for links that nothing speaks for. Candidates of a run lose nothing of it: the notes they rest on give their links.
    """
    asked = predict(model, Hidden(evaluation, published=False), ours.notes, standard_jury)
    known = np.isfinite(evaluation.truth_intercept[ours.notes])
    means = {"true": evaluation.truth_intercept[ours.notes], "published": ours.intercept, "candidates": asked.intercept}
    level = {name: float(values[known].mean()) if known.any() else None for name, values in means.items()}
    return {"metrics": score_predictions(evaluation, asked, bootstrap), "level": level | {"n": int(known.sum())}}


def standard_jury(raters: Any, global_intercept: float, size: int = 200) -> Jury:
    """Raters at even steps of the factor line: the same small jury for every baseline's scores. Random draws have no place in a score."""
    order = np.argsort(raters.factor, kind="stable")
    if len(order) == 0:
        line = np.linspace(-0.8, 0.8, 41)
        return Jury(("",) * 41, np.zeros(41), line, global_intercept, "even line", 0)
    picked = order[np.linspace(0, len(order) - 1, min(size, len(order))).round().astype(np.int64)]
    return Jury(("",) * len(picked), raters.intercept[picked], raters.factor[picked], global_intercept, "even steps", 0)

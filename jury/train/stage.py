"""The stage `train_jury`: from a snapshot and fitted raters to a jury directory, with a report and a gate.

A jury directory holds

- `model.npz/.json`: the model trained on everything (used by `evaluate-jury` and `rate-text`);
- `proxy.npz/.json`, `gold.npz/.json`: two models from disjoint halves of the raters and with different encoders;
- `raters.parquet`: raterParticipantId, intercept, factor1, n_ratings, pool ('proxy' | 'gold');
- `jury.json`: global intercept, pools, what it was trained on; `report.json`, `report.html`, `*.png`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from jury.judge.draw import Raters, split_pools
from jury.model.baselines import BaselineModel, fit_baselines, save_baselines
from jury.model.encoders import Encoder, make_encoder
from jury.model.hierarchical import HierarchicalModel, Weights, published_noise
from jury.model.store import save_weights
from jury.model.topics import topics_of_posts
from jury.records import JudgedText
from jury.settings import TrainJurySettings
from jury.train.answers import without_own_post
from jury.train.certainty import folded_error, rating_variances
from jury.train.data import merge, read_global_intercept, read_raters, read_snapshot_data
from jury.train.evaluate import EvaluationSet, Hidden, Predictions, evaluate_models, foils_of, standard_jury
from jury.train.fit import MIN_LABELLED_NOTES, fit_hierarchical
from jury.train.reasons import values_report
from jury.train.report import write_html, write_plots
from jury.train.table import FitOptions, TrainingData
from jury.train.threads import on_one_thread
from matrix_factorization.reading import read_fit
from nouns.errors import GateFailed, InputError
from nouns.notices import notice
from nouns.run import Run
from nouns.stage import Counts, Tools
from nouns.tables import arrow
from texts.language import detect_language

POOLS = ("proxy", "gold")
_RATERS = arrow("jury_raters")


def train_jury(
    run: Run,
    settings: TrainJurySettings,
    out: Path,
    tools: Tools,
) -> Counts:
    """Train the jury of `snapshot` + `parameters` (+ `extra` labelled folders) into the empty directory `out`.

    The unit of `in` and `out` is a rating: `out` are those by raters with parameters of notes with text and fitted parameters.
    Raises GateFailed if the model loses to the rater-intercept baseline on held-out posts, InputError where there is too little to learn from.
    """
    snapshot, parameters = run.path("ingest"), run.path("fit_raters")
    extra, cache, progress = run.given.get("extra", ()), tools.vectors, tools.progress
    out = Path(out)
    data, counts = gather(settings, snapshot=snapshot, parameters=parameters, extra=extra)
    options = fit_options(settings)
    encoder = make_encoder(settings.encoder, cache)
    gold_encoder = make_encoder(settings.gold_encoder, cache)

    raters = read_raters(parameters)
    pool = split_pools(raters["raterParticipantId"].to_list())
    table = raters.select("raterParticipantId", "intercept", "factor1", "n_ratings").with_columns(
        pl.Series("pool", list(pool), dtype=pl.String)
    )
    pq.write_table(table.to_arrow().cast(_RATERS), out / "raters.parquet", compression="zstd")

    main = fit_hierarchical(data, encoder, options, progress)
    save_weights(main.weights, out, "model")
    gold_rater = np.array([p == "gold" for p in split_pools(data.rater_ids)], dtype=bool)
    for name, keep, its_encoder in (("proxy", ~gold_rater, encoder), ("gold", gold_rater, gold_encoder)):
        progress(f"training the {name} model")
        half = pool_labels(data, keep[data.rater]) if len(data.value) else data
        save_weights(fit_hierarchical(half, its_encoder, options).weights, out, name)

    if "chosen" in counts:  # a part of a rater's ratings tells less of the rater than the fit of all of them
        settings = replace(settings, refit_limit=0)
    report, prediction, evaluation, baselines = held_out_report(data, settings, encoder, options, progress)
    save_baselines(baselines, out)
    pictures = write_plots(out, evaluation, prediction) if settings.plots and prediction is not None else []
    report["training"] = counts
    (out / "report.json").write_text(
        json.dumps(report, indent=1, sort_keys=True, default=float) + "\n", encoding="utf-8"
    )
    write_html(out / "report.html", report, pictures)
    facts = {
        "global_intercept": data.global_intercept,
        "ratings_per_note": read_fit(parameters)[1],
        "pools": {name: int(sum(p == name for p in pool)) for name in POOLS},
        "models": ["model", "proxy", "gold"],
        "sources": {s: int(sum(x == s for x in data.source)) for s in sorted(set(data.source))},
        "trained_on": main.facts,
        "languages": spoken(data),
        "gate": report["gate"],
        "order": report.get("order", {"better": None, "reason": report["gate"]["reason"]}),
        "foils_met": {row["foil"]: row["met"] for row in report["evaluation"].get("foils", [])},
    }
    (out / "jury.json").write_text(json.dumps(facts, indent=1, sort_keys=True, default=float) + "\n", encoding="utf-8")
    if not report["gate"]["passed"]:
        raise GateFailed(report["gate"]["reason"])
    return counts | {"gate": report["gate"]}


def spoken(data: TrainingData) -> dict[str, int]:
    """How many labelled or rated notes there are in each language, by ISO 639-1 code, most first; 'und' where nobody can tell."""
    known = np.isfinite(data.intercept) | (np.bincount(data.rating_note, minlength=len(data)) > 0)
    found = Counter(detect_language(data.text[i]) or "und" for i in np.flatnonzero(known))
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def fit_options(settings: TrainJurySettings) -> FitOptions:
    """What the stage's settings say about fitting."""
    return FitOptions(**{field.name: getattr(settings, field.name) for field in fields(FitOptions)})


@on_one_thread
def held_out_report(
    data: TrainingData,
    settings: TrainJurySettings,
    encoder: Encoder,
    options: FitOptions,
    progress=lambda *a, **k: None,
) -> tuple[dict[str, Any], Predictions | None, EvaluationSet, dict[str, BaselineModel]]:
    """Train without the newest posts of the snapshot, judge them: report, our predictions, what was judged, and baselines trained on all.

    Posts are split by tweetId over all folders. Raters are fitted again without the held-out posts, where the snapshot has enough ratings;
    held-out siblings are known by their ratings only, through those raters.
    """
    own = np.array([s == "snapshot" for s in data.source], dtype=bool)
    rated = np.bincount(data.rating_note, minlength=len(data)) > 0
    posts = np.unique(data.post[own & rated])
    newest = posts[len(posts) - max(round(len(posts) * settings.held_out_share), 1) :]
    testing = np.isin(data.post, newest)
    train, test, refitted = split_and_refit(data, testing, settings.refit_limit)
    truth_i, truth_f = test.intercept.copy(), test.factor.copy()
    test = replace(test, intercept=np.full(len(test), np.nan), factor=np.full(len(test), np.nan))
    evaluation = EvaluationSet(
        test,
        (None,) * len(test),
        (None,) * len(test),
        truth_i,
        truth_f,
        sibling_parameters=False,
        moments=test.written_at,
    )
    everything = train_baselines(data, encoder)
    empty: dict[str, Any] = {"n_ratings": 0, "n_notes": 0, "n_posts": 0, "metrics": {}, "baselines": {}, "slices": []}
    protocol = (
        f"Held out: the newest {settings.held_out_share:.0%} of the snapshot's rated posts ({len(newest)}), split by tweetId. "
        + (
            "Raters were fitted again without them. "
            if refitted
            else "Too few ratings to fit raters without them: rater parameters saw these posts. "
            if settings.refit_limit
            else "Raters were fitted on all ratings, of which those of chosen posts are held here: their parameters saw these posts. "
        )
        + "Siblings are known by their ratings only"
        + (", those made before the judged note was written" if test.written_at is not None else "")
        + "; a note's own ratings are never an input."
    )
    report: dict[str, Any] = {
        "protocol": protocol,
        "evaluation": empty,
        "values": values_report(
            data, topics_of_posts(data.post.tolist(), data.text, data.post_text), bootstrap=min(settings.bootstrap, 200)
        ),
    }
    try:
        trial = fit_hierarchical(train, encoder, options)
    except InputError as problem:
        report["gate"] = {"passed": True, "reason": f"Not tested: without the held-out posts {problem}"}
        return report, None, evaluation, everything
    model = HierarchicalModel(trial.weights, encoder)
    baselines = train_baselines(train, encoder)
    seats = Raters(
        train.rater_ids, *_rater_table(train), np.zeros(len(train.rater_ids), dtype=np.int64)
    ).take(np.unique(train.rater))  # fmt: skip
    result, prediction = evaluate_models(
        evaluation, model, baselines, standard_jury(seats, data.global_intercept), None, settings.bootstrap, progress
    )
    result["foils"] = foils_of(
        evaluation,
        model,
        standard_jury(seats, data.global_intercept),
        settings.foil_notes,
        bootstrap=settings.bootstrap,
    )
    report["evaluation"] = result
    report["gate"] = gate(result, len(newest), settings.gate_min_posts)
    report["order"] = order_earned(result)
    report["effective_jurors"] = effective_jurors(prediction, trial.weights)
    return report, prediction, evaluation, everything


def gate(result: dict[str, Any], n_posts: int, enough: int) -> dict[str, Any]:
    """Passed unless the jury's log-loss is worse than the rater intercept's; few held-out posts only warn."""
    ours, theirs = result["metrics"]["log_loss"]["value"], result["baselines"]["rater_intercept"]["log_loss"]["value"]
    if ours is None or theirs is None:
        return {"passed": True, "reason": "Not tested: no rating by a known rater of a held-out note."}
    said = f"log-loss on {n_posts} held-out posts is {ours:.3f}, that of the rater intercepts alone {theirs:.3f}"
    level = result["metrics"].get("ece", {"value": None})
    known = {name: b["ece"]["value"] for name, b in result["baselines"].items() if "ece" in b}
    best = min(((v, name) for name, v in known.items() if v is not None), default=(1.0, ""))
    spoilt = level["value"] is not None and level["value"] > SMALL_MISS and (level["lo"] or 0.0) > best[0] + 0.01
    if ours <= theirs and spoilt and n_posts >= enough:
        return {
            "passed": False,
            "reason": f"The jury's shares are off by {level['value']:.3f} on average on {n_posts} held-out posts (calibration error), those of "
            f"{best[1]} by {best[0]:.3f}: what it calls likely happens too rarely or too often. Train it with fewer --extra folders, or on more "
            "ratings of this snapshot, and look at report.html.",
        }
    if ours <= theirs:
        return {"passed": True, "reason": f"The jury's {said}."}
    if n_posts < enough:
        return {
            "passed": True,
            "reason": f"Warning: the jury's {said}, which is worse; {n_posts} posts are too few to tell (fewer than {enough}).",
        }
    return {
        "passed": False,
        "reason": f"The jury's {said}: it predicts worse than not reading the notes at all and must not judge. "
        "Give it more posts with several rated notes (or --extra folders), and look at report.html.",
    }


SMALL_MISS = 0.03
"""Calibration error that is not held against a jury: that of a perfect one on a few hundred ratings."""


def order_earned(result: dict[str, Any]) -> dict[str, Any]:
    """Whether the jury orders notes of a post and stance better than every baseline: {"better": yes, no or None where nobody can tell, "reason"}."""
    rows = [r for r in result["pairs_against"] if r["pairs"] == "same_stance" and r["lo"] is not None]
    if not rows:
        return {"better": None, "reason": "No two held-out notes of one post and stance were received differently."}
    worst = min(rows, key=lambda r: r["lo"])
    said = (
        f"On {worst['n']} held-out pairs of notes of one post and stance the jury is right more often than {worst['against'].replace('_', ' ')} by "
        f"{worst['value']:+.3f} [{worst['lo']:+.3f}, {worst['hi']:+.3f}]"
    )
    if worst["lo"] > 0:
        return {"better": True, "reason": f"{said}, and more often than every other baseline."}
    return {
        "better": False,
        "reason": f"{said}: its order of texts of one post is not shown to be better than that baseline's.",
    }


def effective_jurors(prediction: Predictions, weights: Weights) -> dict[str, float]:
    """How many independent real raters would know a note's intercept as well as the model does: rating variance / model variance."""
    if len(prediction.sd) == 0:
        return {"median": 0.0}
    typical = published_noise(np.array([np.nan]), weights.rating_variance, weights.factor_second_moment)[0, 0]
    latent = np.maximum(prediction.sd**2 - typical, 1e-6)
    return {"median": float(np.median(weights.answer_variance / latent)), "rating_variance": weights.answer_variance}


def split_and_refit(data: TrainingData, testing: np.ndarray, limit: int) -> tuple[TrainingData, TrainingData, bool]:
    """Training and test notes; in both, the snapshot's raters (and the training labels) come from a fit that saw training posts only.

    Without enough ratings (or with too many, `limit`) parameters stay as they are and the third value is False.
    """
    from jury.train.extra_data import fit_ratings

    own = np.array([s == "snapshot" for s in data.source], dtype=bool)
    mine = own[data.rating_note]
    learn = mine & ~testing[data.rating_note]
    train, test = data.notes_where(~testing), data.notes_where(testing)
    if not 1000 <= int(learn.sum()) <= limit:
        return train, test, False
    names = pl.Series("raterParticipantId", [data.rater_ids[u] for u in data.rater[learn]])
    frame = pl.DataFrame(
        {"noteId": data.note_id[data.rating_note[learn]], "raterParticipantId": names, "helpfulness": data.value[learn]}
    )
    raters, notes, level = fit_ratings(frame)
    if len(raters) < 20 or len(notes) < 2 * MIN_LABELLED_NOTES:
        return train, test, False
    known = {r: k for k, r in enumerate(raters["raterParticipantId"].to_list())}
    where = np.array([known.get(r, -1) for r in data.rater_ids], dtype=np.int64)
    intercept, factor = raters["intercept"].to_numpy(), raters["factor1"].to_numpy()
    # The sign of a fit is arbitrary: turned to agree with the parameters the rest of the data came with.
    old, _ = _rater_table(data)
    both = (where >= 0) & np.isfinite(old)
    old_factor = _rater_table(data)[1]
    if both.any() and float(np.dot(old_factor[both], factor[where[both]])) < 0:
        factor = -factor
        notes = notes.with_columns(-pl.col("factor"))
    fitted = {int(n): k for k, n in enumerate(notes["noteId"].to_list())}

    def moved(part: TrainingData, labels: bool) -> TrainingData:
        ours = np.array([s == "snapshot" for s in part.source], dtype=bool)[part.rating_note]
        index = where[part.rater]
        keep = ~ours | (index >= 0)
        new_i = np.where(ours, intercept[np.maximum(index, 0)] + level - data.global_intercept, part.rater_intercept)
        new_f = np.where(ours, factor[np.maximum(index, 0)], part.rater_factor)
        part = replace(part, rater_intercept=new_i, rater_factor=new_f).ratings_where(keep)
        if not labels:
            return part
        at = np.array(
            [fitted.get(int(n), -1) if s == "snapshot" else -2 for n, s in zip(part.note_id, part.source, strict=True)]
        )

        def pick(column: str, old: np.ndarray) -> np.ndarray:
            found = np.where(at >= 0, notes[column].to_numpy()[np.maximum(at, 0)], np.nan)
            return np.where(at == -2, old, found)

        return replace(
            part,
            intercept=pick("intercept", part.intercept),
            factor=pick("factor", part.factor),
            n_ratings=pick("n_ratings", part.n_ratings),
        )

    return moved(train, True), moved(test, False), True


def _rater_table(data: TrainingData) -> tuple[np.ndarray, np.ndarray]:
    """Intercept and factor by index of `rater_ids`; NaN for raters without a rating."""
    intercept, factor = np.full(len(data.rater_ids), np.nan), np.full(len(data.rater_ids), np.nan)
    intercept[data.rater], factor[data.rater] = data.rater_intercept, data.rater_factor
    return intercept, factor


def training_texts(data: TrainingData) -> tuple[list[JudgedText], np.ndarray]:
    """Every rated note with its siblings (their labels, or else their ratings), and for each rating the place of its note."""
    everything = EvaluationSet(data, (None,) * len(data), (None,) * len(data), data.intercept, data.factor)
    hidden = Hidden(everything)
    rated = np.unique(data.rating_note)
    place = np.full(len(data), -1)
    place[rated] = np.arange(len(rated))
    return [hidden.target(int(k)) for k in rated], place[data.rating_note]


def train_baselines(data: TrainingData, encoder: Encoder) -> dict[str, BaselineModel]:
    data = without_own_post(data)
    texts, place = training_texts(data)
    return fit_baselines(
        texts, place, data.rater_intercept, data.rater_factor, data.value, data.global_intercept, encoder
    )


def gather(
    settings: TrainJurySettings, *, snapshot: Path, parameters: Path, extra: Sequence[Path] = ()
) -> tuple[TrainingData, dict[str, Any]]:
    """All training data of the stage, and its counts."""
    from jury.train.extra_data import read_extra
    from nouns.snapshot import read_table

    own, chosen = read_snapshot_data(snapshot, parameters, settings.max_ratings, settings.max_notes)
    folders = [*(Path(e) for e in settings.extra), *(Path(e) for e in extra)]
    data = merge([own, *read_extra(folders)]) if folders else own
    n_in = int(read_table(snapshot, "ratings", ["noteId"]).select(pl.len()).collect().item())
    labelled = np.isfinite(own.intercept) & np.isfinite(own.factor)
    used = int(labelled[own.rating_note].sum())
    left_out = chosen["left_out"]["ratings"] if chosen else 0
    no_label = int(len(own.value) - used)
    counts = {
        "in": n_in,
        "out": used,
        "rejected": {
            "rater_without_parameters_or_note_without_text": n_in - left_out - len(own.value),
            "note_without_parameters": no_label,
        }
        | ({"post_not_chosen": left_out} if chosen else {}),
        "notes": len(data),
        "labelled_notes": int((np.isfinite(data.intercept) & np.isfinite(data.factor)).sum()),
        "global_intercept": read_global_intercept(parameters),
    }
    if chosen:
        kept, left = chosen["kept"], chosen["left_out"]
        text = (
            f"The jury learns from {kept['ratings']:,} ratings of {kept['notes']:,} notes on {kept['posts']:,} posts; {left['ratings']:,} ratings "
            f"of {left['notes']:,} notes on {left['posts']:,} other posts are left out. More memory: train_jury.max_ratings, train_jury.max_notes."
        )
        counts |= {"chosen": chosen, "notices": [notice("told", "train_jury", text)]}
    return data, counts


def pool_labels(data: TrainingData, keep: np.ndarray) -> TrainingData:
    """The data as one pool of raters saw it: only their ratings, and labels folded in from them with the raters frozen.

    Notes of labelled folders keep their labels: those rest on ratings that are not at hand, by raters of neither pool. A note of the
    snapshot of which the pool made fewer than three ratings loses its label, unless hardly any label were left.
    """
    from matrix_factorization.foldin import fold_in_notes
    from matrix_factorization.model.objective import RaterParameters, Regularisation

    mine = data.ratings_where(keep)
    ours = np.array([s == "snapshot" for s in data.source], dtype=bool)
    had_ratings = ours & (np.bincount(data.rating_note, minlength=len(data)) > 0)
    per_note = float(max(len(data.value) / max(int(had_ratings.sum()), 1), 1.0))
    order = np.argsort(mine.rating_note, kind="stable")
    count = np.bincount(mine.rating_note, minlength=len(data))
    start = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    folded = fold_in_notes(
        start, np.arange(len(order)), mine.value[order],
        RaterParameters(mine.rater_intercept[order], mine.rater_factor[order]), data.global_intercept,
        ratings_per_note=per_note / 2.0, regularisation=Regularisation(),
    )  # fmt: skip
    labelled = np.isfinite(data.intercept) & np.isfinite(data.factor)
    enough = count >= 3
    if int((labelled & (enough | ~had_ratings)).sum()) < 2 * MIN_LABELLED_NOTES:
        return mine
    intercept, factor, n = data.intercept.copy(), data.factor.copy(), data.n_ratings.copy()
    intercept[had_ratings] = np.where(labelled & enough, folded.intercept, np.nan)[had_ratings]
    factor[had_ratings] = np.where(labelled & enough, folded.factor, np.nan)[had_ratings]
    n[had_ratings] = count[had_ratings]
    # Half the raters, hardly shrunk: such a label errs two to three times as much as one of X's on as many ratings (measured on two disjoint
    # halves of birdwatch-2021). Taken for better than it is, its error would count as something that sets notes of one post apart.
    error = folded_error(mine.rating_note, mine.rater_factor, len(data), per_note / 2.0)[:, 0]
    relabelled = replace(mine, intercept=intercept, factor=factor, n_ratings=n)
    fitted, answer = rating_variances(relabelled)
    told = fitted * published_noise(count, 1.0, 1.0)[:, 0]
    weight = np.where(had_ratings, np.clip(told / np.maximum(answer * error, 1e-9), 0.05, 1.0), data.weight)
    return replace(relabelled, weight=weight)

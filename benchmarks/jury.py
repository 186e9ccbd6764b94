"""What the jury costs and how well it predicts: `python -m benchmarks.jury [--data DIR] [--encoder minilm|hashing|none]`.

JSON lines, one per measurement. Without `--data`: speed of the rater model's response (embedding and reading of the texts apart),
1,000 jurors x 101 texts. With `--data` (the folder that holds birdwatch-2021, notes-2025-26, ...):

- `forward`: train on birdwatch-2021 before T, judge posts first noted after T, raters refitted without them, siblings by their ratings only;
- `grouped`: five folds of notes-2025-26 by post, trained on the rest and on the other folders; labelled optimistic (X's rater parameters saw
  every post, and raters rated every note of a post);
- `learning`: a tenth to all of the posts of the folders, order on pairs left out and on a folder left out, extrapolated to X's full file;
- `best_of_n`: on posts of birdwatch-2021 left out of training, up to 1,024 candidates a post recombined from the sentences of its notes; the
  pick of the proxy jury among the first N, as the gold jury (other raters, other encoder) scores it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jury.model.encoders import Encoder, NoEncoder, make_encoder
from jury.model.features import MISLEADING
from jury.model.hierarchical import HierarchicalModel
from jury.records import JudgedText, Jury, Sibling
from jury.settings import TrainJurySettings
from jury.train.data import merge
from jury.train.evaluate import (
    EvaluationSet,
    Hidden,
    Predictions,
    compared_pairs,
    predict,
    score_predictions,
    slices,
    standard_jury,
)
from jury.train.extra_data import read_folder
from jury.train.fit import deal_folds, fit_hierarchical
from jury.train.measures import mean_measure
from jury.train.stage import fit_options, held_out_report, train_baselines
from jury.train.table import FitOptions, TrainingData

ALL = ("notes-2025-26", "birdwatch-2021", "notes-2021-23", "posts-2025", "camps-2026")


def emit(**entry: Any) -> None:
    """One JSON line with what makes a measurement comparable."""
    machine = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    print(json.dumps(entry | machine, default=float), flush=True)


def best_of(work, repeats: int) -> float:
    """Seconds of the fastest repetition: the machine's noise only ever adds."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def speed(n_jurors: int = 1000, n_texts: int = 101) -> None:
    """Response of 1,000 jurors to 101 texts, with and without reasons; judging the texts."""
    from tests.jury.model.planted import make_world

    world = make_world(seed=1)
    weights = fit_hierarchical(world.data, NoEncoder(), FitOptions(blocks=("form", "relations"))).weights
    model = HierarchicalModel(weights, NoEncoder())
    rng = np.random.default_rng(0)
    jury = Jury(("",) * n_jurors, rng.normal(0, 0.1, n_jurors), rng.uniform(-0.8, 0.8, n_jurors), 0.17, "bench", 0)
    siblings = tuple(Sibling(k, f"Note {k} says so. https://example.org/{k}", MISLEADING, 0.2, 0.1) for k in range(5))
    texts = [
        JudgedText(
            str(k), f"Candidate {k}: according to records {k}. https://example.org/{k}", MISLEADING, siblings=siblings
        )
        for k in range(n_texts)
    ]
    seated = model.seat(jury)
    judgement = model.judge(texts)
    size = {"n_jurors": n_jurors, "n_texts": n_texts}
    emit(
        name="judge",
        seconds=best_of(lambda: model.judge(texts), 5),
        note="posterior of every text; form features cached, no encoder",
        **size,
    )
    emit(
        name="respond",
        seconds=best_of(lambda: seated.respond(judgement, reasons=False), 30),
        target_seconds=0.002,
        **size,
    )
    emit(
        name="respond_with_reasons",
        seconds=best_of(lambda: seated.respond(judgement), 30),
        target_seconds=0.010,
        **size,
    )


def forward(data_dir: Path, encoder: Encoder, share: float, bootstrap: int) -> None:
    """The clean test: forward in time on birdwatch-2021."""
    folder = read_folder(data_dir / "birdwatch-2021")
    data = replace(folder, source=["snapshot"] * len(folder))
    settings = TrainJurySettings(held_out_share=share, bootstrap=bootstrap)
    options = fit_options(settings)
    report, _, _, _ = held_out_report(data, settings, encoder, options)
    emit(name="forward", encoder=encoder.name, protocol=report["protocol"], gate=report["gate"], **report["evaluation"])


def grouped(
    data_dir: Path, encoder: Encoder, folders: tuple[str, ...], folds: int, bootstrap: int, baselines: bool
) -> None:
    """Folds of notes-2025-26 by post; every other folder loses the posts of the fold, too."""
    own = read_folder(data_dir / "notes-2025-26")
    own = replace(own, source=["snapshot"] * len(own))
    data = merge([own, *(read_folder(data_dir / f) for f in folders if f != "notes-2025-26")])
    status = read_status(data_dir / "notes-2025-26", data)
    settings = TrainJurySettings()
    options = fit_options(settings)
    mine = np.array([s == "snapshot" for s in data.source])
    fold = deal_folds(data.post, folds, 17)
    collected: dict[str, list[Predictions]] = {}
    blind = EvaluationSet(data, status[0], status[1], data.intercept, data.factor, sibling_parameters=False, moment=0)
    evaluation = EvaluationSet(
        data, status[0], status[1], data.intercept, data.factor, topic=read_topics(data_dir / "notes-2025-26", data)
    )
    hidden, unseen = Hidden(evaluation), Hidden(blind)
    for k in range(folds):
        train: TrainingData = data.notes_where(fold != k)
        fitted = fit_hierarchical(train, encoder, options)
        models: dict[str, Any] = {"jury": HierarchicalModel(fitted.weights, encoder)}
        if baselines:
            models |= train_baselines(train, encoder)
        targets = np.flatnonzero(mine & (fold == k))
        jury = standard_jury_of(train)
        collected.setdefault("text_only", []).append(predict(models["jury"], unseen, targets, jury))
        for name, model in models.items():
            collected.setdefault(name, []).append(predict(model, hidden, targets, jury))
    results = {name: join(parts) for name, parts in collected.items()}
    ours, text_only = results.pop("jury"), results.pop("text_only")
    emit(
        name="grouped", encoder=encoder.name, folders=list(folders), folds=folds, protocol="by post on notes-2025-26; optimistic",
        metrics=score_predictions(evaluation, ours, bootstrap),
        baselines={n: score_predictions(evaluation, p, bootstrap) for n, p in results.items()},
        text_only=score_predictions(evaluation, text_only, bootstrap),
        slices=[{"slice": n, "metrics": score_predictions(evaluation, ours, 50, keep=m)} for n, m in slices(evaluation, ours.notes)],
        best_of_post=pick_loss(evaluation, ours, text_only.intercept),
    )  # fmt: skip


def learning(data_dir: Path, encoder: Encoder, folders: tuple[str, ...], judged: str) -> None:
    """From a tenth to all posts of the folders: order on posts left out by folds and on `judged`, which is left out altogether; extrapolated.

    Two curves through the shares of same-stance pairs left out, straight in the logarithm of the number of posts with several notes and with a
    ceiling (c - a / sqrt(n)), say between what lies at a hundred thousand of them, as X's full file has.
    """
    first, *rest = (f for f in folders if f != judged)
    own = read_folder(data_dir / first)
    data = merge([replace(own, source=["snapshot"] * len(own)), *(read_folder(data_dir / f) for f in rest)])
    other = read_folder(data_dir / judged)
    evaluation = EvaluationSet(other, *read_status(data_dir / judged, other), other.intercept, other.factor)
    posts = np.random.default_rng(0).permutation(np.unique(data.post))
    several, right = [], []
    for share in (0.1, 0.2, 0.4, 0.7, 1.0):
        train = data.notes_where(np.isin(data.post, posts[: round(len(posts) * share)]))
        fitted = fit_hierarchical(train, encoder, fit_options(TrainJurySettings()))
        notes = train.notes_where(np.isfinite(train.intercept))
        nothing = (None,) * len(notes)
        left_out = EvaluationSet(notes, nothing, nothing, notes.intercept, notes.factor)
        first_of, second_of = compared_pairs(left_out, np.arange(len(notes)))
        same = notes.stance()[first_of] == notes.stance()[second_of]
        a, b = first_of[same], second_of[same]
        cold = fitted.folded.cold[:, 0]
        hit = mean_measure(
            notes.post[a], ((cold[a] - cold[b]) * (notes.intercept[a] - notes.intercept[b]) > 0).astype(float)
        )
        there = predict(
            HierarchicalModel(fitted.weights, encoder),
            Hidden(evaluation),
            np.arange(len(other)),
            standard_jury_of(train),
        )
        metrics = score_predictions(evaluation, there, 100)
        crowded = int((np.unique(notes.post, return_counts=True)[1] > 1).sum())
        several.append(crowded)
        right.append(hit["value"])
        emit(
            name="learning",
            share=share,
            posts_with_several_notes=crowded,
            pairs_left_out=hit,
            judged=judged,
            metrics=metrics,
        )
    n, y = np.array(several, float), np.array(right, float)
    far = 100_000
    straight = np.polyfit(np.log10(n), y, 1, w=np.sqrt(n))
    ceiling = np.polyfit(1 / np.sqrt(n), y, 1, w=np.sqrt(n))
    emit(
        name="learning_extrapolated", posts_with_several_notes=far,
        straight=float(np.polyval(straight, np.log10(far))), ceiling=float(np.polyval(ceiling, 1 / np.sqrt(far))),
    )  # fmt: skip


def best_of_n(data_dir: Path, encoder: Encoder, n_posts: int, most: int = 1024, seed: int = 5) -> None:
    """Proxy and gold score of the proxy's best of the first N candidates, mean over posts; what gold loses after its peak."""
    from jury.judge.draw import split_pools
    from jury.train.stage import pool_labels

    folder = read_folder(data_dir / "birdwatch-2021")
    data = replace(folder, source=["snapshot"] * len(folder))
    rng = np.random.default_rng(seed)
    rated = np.bincount(data.rating_note, minlength=len(data)) > 0
    misleading = data.stance() == 0
    posts, count = np.unique(data.post[rated & misleading], return_counts=True)
    chosen = np.sort(rng.choice(posts[count >= 4], n_posts, replace=False))
    testing = np.isin(data.post, chosen)
    train = data.notes_where(~testing)
    options = fit_options(TrainJurySettings())
    gold_rater = np.array([p == "gold" for p in split_pools(data.rater_ids)])
    models, views = {}, {}
    for name, keep, its in (("proxy", ~gold_rater, encoder), ("gold", gold_rater, make_encoder("hashing"))):
        models[name] = HierarchicalModel(
            fit_hierarchical(pool_labels(train, keep[train.rater]), its, options).weights, its
        )
        view = data.ratings_where(keep[data.rater])
        nothing = np.full(len(data), np.nan)
        none = (None,) * len(data)
        views[name] = Hidden(EvaluationSet(view, none, none, nothing, nothing, sibling_parameters=False))
    sizes = [2**k for k in range(int(np.log2(most)) + 1)]
    curves: dict[str, list[list[float]]] = {"proxy": [], "gold": []}
    for post in chosen:
        rows = [k for k in views["proxy"].of_post[int(post)] if misleading[k]]
        candidates = recombined([data.text[k] for k in rows], most, rng)
        if len(candidates) < most // 2:
            continue
        score = {}
        for name, model in models.items():
            siblings = tuple(views[name].sibling(k) for k in views[name].of_post[int(post)])
            texts = [JudgedText(str(j), c, MISLEADING, siblings=siblings) for j, c in enumerate(candidates)]
            score[name] = model.judge(texts).mean[:, 0]
        # Ten orders of the same candidates, so that a small N is not one lucky draw.
        orders = [rng.permutation(len(candidates)) for _ in range(10)]
        picks = [[o[: min(n, len(o))][np.argmax(score["proxy"][o[: min(n, len(o))]])] for o in orders] for n in sizes]
        for name in curves:
            curves[name].append([float(score[name][p].mean()) for p in picks])
    proxy, gold = (np.array(curves[n]) for n in ("proxy", "gold"))
    lost = gold.mean(axis=0).max() - gold.mean(axis=0)[-1] if len(gold) else float("nan")
    draws = [gold[rng.integers(0, len(gold), len(gold))].mean(axis=0) for _ in range(300)] if len(gold) else []
    spread = np.quantile([d.max() - d[-1] for d in draws], [0.025, 0.975]) if draws else [float("nan")] * 2
    emit(
        name="best_of_n", encoder=encoder.name, n_posts=len(gold), sizes=sizes, proxy=proxy.mean(axis=0).round(4).tolist(),
        gold=gold.mean(axis=0).round(4).tolist(), gold_lost_after_peak=float(lost), lost_interval=list(spread), target=0.005,
    )  # fmt: skip


def recombined(notes: list[str], most: int, rng: np.random.Generator) -> list[str]:
    """Distinct texts of one to four sentences of the notes, at most 280 characters as X counts them, in random order."""
    from texts.note import clean_text, note_length, split_sentences

    sentences = []
    for note in notes:
        text = clean_text(note)
        sentences += [text[s.start : s.end].strip() for s in split_sentences(text)]
    sentences = list(dict.fromkeys(s for s in sentences if len(s) > 3))
    found: dict[str, None] = {}
    for _ in range(20 * most):
        if len(found) >= most or not sentences:
            break
        size = int(rng.integers(1, 5))
        picked = rng.choice(len(sentences), min(size, len(sentences)), replace=False)
        text = " ".join(sentences[k] for k in picked)
        if note_length(text) <= 280:
            found.setdefault(text)
    return list(found)


def standard_jury_of(data: TrainingData) -> Jury:
    from jury.judge.draw import Raters

    used = np.unique(data.rater)
    intercept, factor = np.zeros(len(data.rater_ids)), np.zeros(len(data.rater_ids))
    intercept[data.rater], factor[data.rater] = data.rater_intercept, data.rater_factor
    pool = Raters(
        tuple(data.rater_ids[u] for u in used), intercept[used], factor[used], np.ones(len(used), dtype=np.int64)
    )
    return standard_jury(pool, data.global_intercept)


def join(parts: list[Predictions]) -> Predictions:
    """Predictions of several folds as one."""
    names = [n for n in Predictions.__dataclass_fields__ if n != "chance"]
    return Predictions(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names}, chance=parts[0].chance)


def pick_loss(evaluation: EvaluationSet, p: Predictions, score: np.ndarray) -> dict[str, float]:
    """Mean true intercept lost by picking a post's note: the predicted best, at random, the longest with a link. Posts with two or more.

    `score` (aligned with p.notes) must come from the texts alone: every note of the post is hidden, or siblings rank them backwards.
    """
    from jury.model.features import read_text
    from texts.note import note_length

    data = evaluation.data
    lost: dict[str, list[float]] = {"jury": [], "random": [], "longest_with_link": []}
    posts = data.post[p.notes]
    for post in np.unique(posts):
        rows = np.flatnonzero((posts == post) & np.isfinite(evaluation.truth_intercept[p.notes]))
        if len(rows) < 2:
            continue
        truth = evaluation.truth_intercept[p.notes[rows]]
        texts = [data.text[k] for k in p.notes[rows]]
        length = [note_length(t) + 1000 * float(bool(read_text(t).domains)) for t in texts]
        lost["jury"].append(truth.max() - truth[np.argmax(score[rows])])
        lost["random"].append(truth.max() - truth.mean())
        lost["longest_with_link"].append(truth.max() - truth[np.argmax(length)])
    return {name: float(np.mean(v)) if v else float("nan") for name, v in lost.items()} | {"n_posts": len(lost["jury"])}


def read_status(folder: Path, data: TrainingData) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
    import polars as pl

    frame = pl.read_csv(folder / "notes_scored.tsv", separator="\t", quote_char=None, infer_schema_length=50_000)
    known = {n: (s, w) for n, s, w in frame.select("noteId", "finalRatingStatus", "writer").iter_rows()}
    return tuple(known.get(int(n), (None, None))[0] for n in data.note_id), tuple(
        known.get(int(n), (None, None))[1] for n in data.note_id
    )


def read_topics(folder: Path, data: TrainingData) -> tuple[str | None, ...]:
    import polars as pl

    frame = pl.read_csv(folder / "topics.tsv", separator="\t", quote_char=None)
    known = dict(frame.select("tweetId", "topic").iter_rows())
    return tuple(known.get(int(p)) for p in data.post)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="folder with the labelled data sets; without it only speed is measured"
    )
    parser.add_argument("--encoder", default="minilm", choices=("minilm", "hashing", "none"))
    parser.add_argument("--cache", type=Path, help="where embeddings are remembered")
    parser.add_argument("--folders", nargs="*", default=list(ALL), help="folders to train on in the grouped test")
    parser.add_argument(
        "--tests", nargs="*", default=["forward", "grouped"], choices=("forward", "grouped", "best_of_n", "learning")
    )
    parser.add_argument("--judged", default="notes-2025-26", help="folder left out altogether in the test of learning")
    parser.add_argument("--posts", type=int, default=12, help="posts of the best-of-N test")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--share", type=float, default=0.3, help="share of posts after T in the forward test")
    parser.add_argument("--bootstrap", type=int, default=300)
    parser.add_argument("--no-baselines", action="store_true")
    args = parser.parse_args()
    if args.data is None:
        speed()
        return
    encoder = make_encoder(args.encoder, args.cache)
    if "forward" in args.tests:
        forward(args.data, encoder, args.share, args.bootstrap)
    if "best_of_n" in args.tests:
        best_of_n(args.data, encoder, args.posts)
    if "learning" in args.tests:
        learning(args.data, encoder, tuple(args.folders), args.judged)
    if "grouped" in args.tests:
        grouped(args.data, encoder, tuple(args.folders), args.folds, args.bootstrap, not args.no_baselines)


if __name__ == "__main__":
    main()

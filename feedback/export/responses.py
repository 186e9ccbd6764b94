"""How each seat of the jury would rate each text: the jury asked again, juror by juror."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from feedback.settings import ExportSettings
from jury.judge.context import read_contexts
from jury.judge.stage import open_bench, seat_juries
from jury.settings import JudgeCandidatesSettings
from nouns.run import Run
from nouns.stage import Tools

POSTS_AT_ONCE = 100


def responses(
    run: Run, settings: ExportSettings, judging: JudgeCandidatesSettings, tools: Tools, posts: Sequence[int]
) -> Iterator[pl.DataFrame]:
    """Rows of the config `responses`, some posts at a time: every text of a pair before the run's own jury.

    Of the jury `settings.responses_jurors` seats are told, at equal steps along the factor line. Texts that an analyst wrote
    are not asked about. A juror is a seat number: the same seat for every text, and no rater's id.
    """
    jury, parameters = run.path("train_jury"), run.path("fit_raters")
    main, _ = seat_juries(judging, jury, parameters, tools.seed)
    bench = open_bench(main, judging, jury, parameters, tools.vectors, tools.rater_model)
    order = np.argsort(bench.jury.factor, kind="stable")
    step = np.linspace(0, len(order) - 1, min(settings.responses_jurors, len(order))).round().astype(int)
    seats = np.sort(order[np.unique(step)])
    paired = pl.read_parquet(run.path("build_pairs") / "pairs.parquet", columns=["post_id", "chosen_id", "rejected_id"])
    for start in range(0, len(posts), POSTS_AT_ONCE):
        some = list(posts[start : start + POSTS_AT_ONCE])
        tools.progress("asking jurors", start, len(posts))
        mine = paired.filter(pl.col("post_id").is_in(some))
        ids = set(mine["chosen_id"]) | set(mine["rejected_id"])
        if not ids:
            continue
        contexts = read_contexts(run.path("ingest"), parameters, run.path("cluster_notes"), some)
        texts = []
        for row in run.with_posts(some).candidates().filter(pl.col("candidate_id").is_in(ids)).iter_rows(named=True):
            if row["post_id"] in contexts:
                about = (row["classification"], row["language"], row["source_note_ids"] or ())
                judged = contexts[row["post_id"]].judged_candidate(row["candidate_id"], row["text"], *about)
                texts.append((row["candidate_id"], judged))
        for context in contexts.values():
            texts += [(f"note-{n}", context.judged_note(n)) for n in sorted(context.own) if f"note-{n}" in ids]
        if not texts:
            continue
        p = bench.seated.rate([judged for _, judged in texts]).probabilities[seats].transpose(1, 0, 2).reshape(-1, 3)
        n = len(seats)
        yield pl.DataFrame(
            {
                "text_id": np.repeat([name for name, _ in texts], n),
                "post_id": np.repeat([judged.post_id for _, judged in texts], n),
                "juror_id": [f"seat-{seat:04d}" for seat in seats] * len(texts),
                "juror_factor": np.tile(bench.jury.factor[seats], len(texts)),
                "juror_intercept": np.tile(bench.jury.intercept[seats], len(texts)),
                "p_not_helpful": p[:, 0].astype(np.float64),
                "p_somewhat_helpful": p[:, 1].astype(np.float64),
                "p_helpful": p[:, 2].astype(np.float64),
            }
        )

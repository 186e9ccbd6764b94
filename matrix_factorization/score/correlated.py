"""Raters who keep rating the same posts within minutes of each other."""

from __future__ import annotations

import numpy as np
import polars as pl

# communitynotes post_selection_similarity.py, constructor defaults.
WINDOW_MILLIS = 20 * 60 * 1000
LEAST_POSTS = 10
PSEUDOCOUNTS_PMI = 500
PSEUDOCOUNTS_SHARE = 10
LEAST_NPMI = 0.55
LEAST_SHARE = 0.40


def correlated_raters(post: np.ndarray, rater_index: np.ndarray, created_at: np.ndarray, n_raters: int) -> np.ndarray:
    """(n_raters,) bool: raters in a pair that rated conspicuously many posts within twenty minutes of each other.

    `post`, `rater_index`, `created_at` (milliseconds): one per rating. A pair counts when its joint posts are 40 % of the less active one's (plus
    ten), or their normalised pointwise mutual information reaches 0.55; only raters of at least ten posts are compared. X keeps one rater
    of each clique; we leave the whole pair out of the baseline, which asks for a little more. Source: communitynotes
    `post_selection_similarity.py`.
    """
    flagged = np.zeros(n_raters, bool)
    rows = (
        pl.LazyFrame({"post": post, "rater": rater_index.astype(np.int64), "at": created_at})
        .group_by("post", "rater")
        .agg(pl.col("at").min())
        .sort("post", "rater")
        .collect()
    )
    totals = np.bincount(rows["rater"].to_numpy(), minlength=n_raters)
    busy = rows.filter(pl.Series(totals[rows["rater"].to_numpy()] >= LEAST_POSTS)).lazy()
    pairs = (
        busy.join(busy, on="post", suffix="_other")
        .filter(
            (pl.col("rater") < pl.col("rater_other")) & ((pl.col("at") - pl.col("at_other")).abs() <= WINDOW_MILLIS)
        )
        .group_by("rater", "rater_other")
        .agg(pl.len().alias("joint"))
        .filter(pl.col("joint") > 1)
        .collect()
    )
    left, right = pairs["rater"].to_numpy(), pairs["rater_other"].to_numpy()
    joint, n = pairs["joint"].to_numpy().astype(np.float64), float(rows.height)
    share = joint / (np.minimum(totals[left], totals[right]) + PSEUDOCOUNTS_SHARE)
    with np.errstate(divide="ignore", invalid="ignore"):
        pmi = np.log(joint * n / ((totals[left] + PSEUDOCOUNTS_PMI) * (totals[right] + PSEUDOCOUNTS_PMI)))
        npmi = pmi / -np.log(joint / n)
    suspicious = (share >= LEAST_SHARE) | (npmi >= LEAST_NPMI)
    flagged[left[suspicious]] = True
    flagged[right[suspicious]] = True
    return flagged

"""Drawing a jury from raters with known parameters, spread over the factor line.

A draw is systematic: raters are laid along the factor line, each as long as the chance it should have, and a comb of
equidistant teeth is laid over them from a random start. Every stretch of the line is so represented in proportion
(implicit stratification), which leaves less to chance than independent draws: the mean factor of the jury varies by
about one tooth instead of one standard error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jury.records import SIDES, Jury, side_of
from jury.settings import COMPOSITIONS
from nouns.errors import InputError


class Raters(NamedTuple):
    """Raters with parameters; parallel arrays of length n. `pool` says which jury may use a rater."""

    rater_ids: tuple[str, ...]
    intercept: NDArray[np.float64]
    factor: NDArray[np.float64]
    n_ratings: NDArray[np.int64]
    pool: tuple[str, ...] = ()

    def take(self, rows: NDArray[np.int64]) -> Raters:
        ids, pool = self.rater_ids, self.pool
        return Raters(
            tuple(ids[i] for i in rows),
            self.intercept[rows],
            self.factor[rows],
            self.n_ratings[rows],
            tuple(pool[i] for i in rows) if pool else (),
        )


class Draw(NamedTuple):
    """A jury, how many jurors were asked for, and a sentence where the pool could not give them ('' otherwise)."""

    jury: Jury
    asked: int
    remark: str


def split_pools(rater_ids: Sequence[str]) -> tuple[str, ...]:
    """'proxy' or 'gold' for each rater, by a hash of the id: about half each, the same on every machine and every day."""
    return tuple(
        "gold" if hashlib.blake2b(name.encode(), digest_size=1, person=b"pool").digest()[0] & 1 else "proxy"
        for name in rater_ids
    )


def systematic_sample(
    weight: NDArray[np.float64], n: int, order: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Rows of `n` different items, drawn with chances proportional to `weight`, spread evenly along `order`.

    weight, order : (N,). Items whose share of n exceeds one are certain and enter once; the rest share what is left.
    Returns the rows in ascending order; all rows with positive weight if there are not more than `n`.
    """
    weight = np.asarray(weight, dtype=np.float64)
    positive = np.flatnonzero(weight > 0)
    if len(positive) <= n:
        return positive
    chance = np.zeros(len(weight))
    certain = np.zeros(len(weight), dtype=bool)
    while True:
        free = (weight > 0) & ~certain
        chance[free] = weight[free] * ((n - certain.sum()) / weight[free].sum())
        over = free & (chance >= 1.0)
        if not over.any():
            break
        certain |= over
    chance[certain] = 1.0
    # Equal factors are ordered by row, so that the draw depends on the data alone.
    line = np.lexsort((np.arange(len(weight)), order))
    ends = np.cumsum(chance[line])
    teeth = rng.random() + np.arange(n)
    picked = line[np.minimum(np.searchsorted(ends, teeth, side="right"), len(line) - 1)]
    rows = np.unique(picked)
    if len(rows) < n:  # rounding at the end of the line made two teeth meet: take the nearest free neighbours
        rest = np.setdiff1d(positive, rows)
        rows = np.sort(np.concatenate([rows, rest[: n - len(rows)]]))
    return rows


def draw_jury(
    raters: Raters,
    n: int,
    *,
    composition: str = "electorate",
    seed: int = 0,
    global_intercept: float = 0.0,
    edges: Sequence[float] = (),
    shares: Sequence[float] = (),
) -> Draw:
    """A jury of at most `n` different raters.

    composition : 'electorate' - chances by activity, so that the jury looks like the people who rate;
        'balanced' - as many with a negative as with a non-negative factor; 'uniform' - every rater alike (the paper's);
        'custom' - `edges` (k - 1 ascending cuts of the factor line) and `shares` (k, summing to one).
    A pool too small for a composition gives a smaller jury with the shares kept, never a lopsided one; `remark` says so.
    Raises InputError for no raters, an unknown composition, or a bin of the composition in which nobody is.
    """
    if composition not in COMPOSITIONS:
        raise InputError(f"The jury's composition {composition!r} is not known; choose from {', '.join(COMPOSITIONS)}.")
    if n < 1:
        raise InputError(f"A jury of {n} jurors was asked for; ask for at least one.")
    if not len(raters.rater_ids):
        raise InputError("No rater has parameters, so no jury can be drawn; fit raters on more ratings or adopt X's.")
    rng = np.random.default_rng(seed)
    factor, activity = raters.factor, np.maximum(raters.n_ratings, 1).astype(np.float64)
    if composition in ("electorate", "uniform"):
        weight = activity if composition == "electorate" else np.ones_like(factor)
        rows = systematic_sample(weight, n, factor, rng)
        remark = "" if len(rows) == n else f"{n} jurors were asked for, but the pool has only {len(rows)} raters."
    else:
        if composition == "balanced":
            edges, shares = (0.0,), (0.5, 0.5)
        rows, remark = _draw_bins(factor, n, tuple(edges), tuple(shares), rng)
    drawn = raters.take(rows)
    return Draw(Jury(drawn.rater_ids, drawn.intercept, drawn.factor, global_intercept, composition, seed), n, remark)


def _draw_bins(
    factor: NDArray[np.float64], n: int, edges: tuple[float, ...], shares: tuple[float, ...], rng: np.random.Generator
) -> tuple[NDArray[np.int64], str]:
    if len(shares) != len(edges) + 1 or list(edges) != sorted(set(edges)):
        raise InputError(
            f"A custom jury needs ascending edges and one share more than edges; got {edges} and {shares}."
        )
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise InputError(f"The shares of a custom jury must be at least zero and sum to one; got {shares}.")
    bin_of = np.searchsorted(np.array(edges), factor, side="right")
    available = np.bincount(bin_of, minlength=len(shares))
    wanted = np.array(shares)
    empty = np.flatnonzero((available == 0) & (wanted > 0))
    if len(empty):
        raise InputError(
            f"No rater lies in part {int(empty[0])} of the factor line (cuts {edges}), but the jury wants "
            f"{wanted[empty[0]]:.0%} of its jurors from there; change the bins or use composition 'electorate'."
        )
    asked = wanted > 0
    size = min(n, int(np.floor(np.min(available[asked] / wanted[asked]) + 1e-9)))
    counts = _largest_remainder(wanted * max(size, 1))
    rows = [
        np.flatnonzero(bin_of == k)[systematic_sample(np.ones(available[k]), int(counts[k]), factor[bin_of == k], rng)]
        for k in range(len(shares))
        if counts[k] > 0
    ]
    chosen = np.sort(np.concatenate(rows))
    if len(chosen) == n:
        return chosen, ""
    return chosen, f"{n} jurors were asked for; keeping the shares {shares}, the pool gives {len(chosen)}."


def _largest_remainder(quota: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole numbers next to the quotas with the same (rounded) sum; the largest fractions are rounded up, ties by order."""
    whole = np.floor(quota + 1e-9).astype(np.int64)
    left = round(float(quota.sum())) - int(whole.sum())
    for k in np.argsort(-(quota - whole), kind="stable")[:left]:
        whole[k] += 1
    return whole


def draw_two(
    raters: Raters, n: int, n_appeal: int, *, main_pool: str = "proxy", **how: object
) -> tuple[Draw, Draw | None]:
    """The jury of a run from `main_pool` and a second one for appeals from all other pools: no rater sits in both.

    Raters without pools are shared out by a hash of their id. The appeal is None when no other pool has a rater.
    """
    pool = np.array(raters.pool or split_pools(raters.rater_ids))
    if not (pool == main_pool).any():
        raise InputError(
            f"No rater is in the pool {main_pool!r}; the pools are {', '.join(sorted(set(pool.tolist())))}."
        )
    main = draw_jury(raters.take(np.flatnonzero(pool == main_pool)), n, **how)  # type: ignore[arg-type]
    others = np.flatnonzero((pool != main_pool) & (pool != ""))
    if not len(others):
        return main, None
    how = dict(how)
    how["seed"] = int(how.get("seed", 0)) + 1  # type: ignore[call-overload]
    return main, draw_jury(raters.take(others), n_appeal, **how)  # type: ignore[arg-type]


def describe(draw: Draw) -> dict[str, object]:
    """What the manifest says of a jury: size asked and drawn, composition, seed, jurors per side, effective number."""
    jury = draw.jury
    sides = np.bincount(side_of(jury.factor), minlength=3)
    return {
        "asked": draw.asked,
        "n_jurors": len(jury),
        "composition": jury.composition,
        "seed": jury.seed,
        "sides": {side: int(k) for side, k in zip(SIDES, sides, strict=True)},
        "mean_factor": round(float(jury.factor.mean()), 6),
        "remark": draw.remark,
    }

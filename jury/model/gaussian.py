"""The Gaussian algebra of the hierarchical model, one post at a time or many posts of equal size at once.

A post has n notes with latent intercepts and factors. For one of the two parameters, the covariance between notes a and b is

    K[a, b] = S[stance a, stance b] + tau² · exp(-(1 - cos(a, b)) / ell) · [same stance] + nu · [a = b]          (README, eq. 3)

`S` (2, 2) is what the post's notes share, by stance; `tau²` is shared by notes that say similar things; `nu` is each note's own.
Observed parameters have an error variance R that depends on the number of ratings behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Kernel:
    """Variances of one parameter (intercept or factor), in squared rating units; `length` is a cosine distance."""

    misleading: float
    not_misleading: float
    correlation: float
    similar: float
    length: float
    note: float

    def shared(self) -> Array:
        """S, (2, 2): covariance of the post effects of the two stances."""
        cross = self.correlation * np.sqrt(self.misleading * self.not_misleading)
        return np.array([[self.misleading, cross], [cross, self.not_misleading]])

    def similarity(self, cosine: Array, same: Array) -> Array:
        """The text-similarity part, same shape as `cosine`; `same` is true where the stances agree."""
        return np.where(same, self.similar * np.exp((np.clip(cosine, -1.0, 1.0) - 1.0) / self.length), 0.0)

    def between(self, stance_a: Array, stance_b: Array, cosine: Array) -> Array:
        """Prior covariance of notes a and *other* notes b of one post, (..., n_a, n_b)."""
        a, b = np.asarray(stance_a)[..., :, None], np.asarray(stance_b)[..., None, :]
        return self.shared()[a, b] + self.similarity(cosine, a == b)

    def variance(self, stance: Array) -> Array:
        """Prior variance of single notes, the shape of `stance`."""
        return np.diag(self.shared())[stance] + self.similar + self.note

    def vector(self) -> Array:
        return np.array([
            np.log(self.misleading), np.log(self.not_misleading), np.arctanh(self.correlation),
            np.log(self.similar), np.log(self.length), np.log(self.note),
        ])  # fmt: skip

    @staticmethod
    def from_vector(v: Array) -> Kernel:
        low, high = 1e-5, 2.0
        return Kernel(
            float(np.clip(np.exp(v[0]), low, high)),
            float(np.clip(np.exp(v[1]), low, high)),
            float(np.clip(np.tanh(v[2]), -0.98, 0.98)),
            float(np.clip(np.exp(v[3]), low, high)),
            float(np.clip(np.exp(v[4]), 0.05, 5.0)),
            float(np.clip(np.exp(v[5]), low, high)),
        )


@dataclass(frozen=True)
class PostBatch:
    """G posts of n notes each: `rows` (G, n) positions in the note table, `stance` (G, n), `cosine` (G, n, n)."""

    rows: NDArray[np.int64]
    stance: NDArray[np.int64]
    cosine: Array

    def covariance(self, kernel: Kernel, noise: Array) -> Array:
        """Covariance of the observed parameters, (G, n, n): K + diag(R). `noise` is per row of the note table."""
        cov = kernel.between(self.stance, self.stance, self.cosine)
        own = np.arange(self.rows.shape[1])
        cov[:, own, own] += kernel.note + noise[self.rows]
        return cov


def batch_posts(
    post: NDArray[np.int64], stance: NDArray[np.int64], unit: NDArray[np.float32], largest: int = 24
) -> list[PostBatch]:
    """Posts grouped by their number of notes. `unit` (n_notes, d) are unit embeddings (d may be 0: cosine 0 everywhere).

    A post with more than `largest` notes is cut into pieces that are treated as if they were different posts.
    """
    order = np.argsort(post, kind="stable")
    sizes: dict[int, list[NDArray[np.int64]]] = {}
    if len(post) == 0:
        return []
    edges = np.flatnonzero(np.diff(post[order])) + 1
    for rows in np.split(order, edges):
        for start in range(0, len(rows), largest):
            piece = rows[start : start + largest]
            sizes.setdefault(len(piece), []).append(piece)
    batches = []
    for size in sorted(sizes):
        rows = np.stack(sizes[size])
        vectors = unit[rows].astype(np.float64)
        batches.append(PostBatch(rows, stance[rows], vectors @ vectors.transpose(0, 2, 1)))
    return batches


def whiten(batches: Sequence[PostBatch], kernel: Kernel, noise: Array, columns: Array) -> Array:
    """Columns (n_notes, d) multiplied by the inverse Cholesky factor of their post's covariance, (n_notes, d)."""
    out = np.zeros(columns.shape, dtype=np.float64)
    for batch in batches:
        factor = np.linalg.cholesky(batch.covariance(kernel, noise))
        out[batch.rows] = np.linalg.solve(factor, columns[batch.rows])
    return out


def negative_log_likelihood(batches: Sequence[PostBatch], kernel: Kernel, noise: Array, residual: Array) -> float:
    """-log p(residual | kernel), constants left out."""
    total = 0.0
    for batch in batches:
        factor = np.linalg.cholesky(batch.covariance(kernel, noise))
        z = np.linalg.solve(factor, residual[batch.rows][..., None])[..., 0]
        total += 0.5 * float((z * z).sum()) + float(np.log(np.diagonal(factor, axis1=1, axis2=2)).sum())
    return total


def likelihood_and_gradient(
    batches: Sequence[PostBatch], v: Array, noise: Array, residual: Array
) -> tuple[float, NDArray[np.float64]]:
    """`negative_log_likelihood` of the kernel with `Kernel.vector()` v, and its gradient in v (6,); zero where a value is at its limit.

    With P = C^-1 and alpha = P r, the derivative along dC is half the sum of (P - alpha alphaT) * dC.
    """
    kernel = Kernel.from_vector(v)
    scale = float(np.sqrt(kernel.misleading * kernel.not_misleading))
    cross = kernel.correlation * scale
    total, gradient = 0.0, np.zeros(6)
    for batch in batches:
        own = np.arange(batch.rows.shape[1])
        covariance = batch.covariance(kernel, noise)
        factor = np.linalg.cholesky(covariance)
        precision = np.linalg.inv(covariance)
        r = residual[batch.rows]
        alpha = np.einsum("gij,gj->gi", precision, r)
        total += 0.5 * float((alpha * r).sum()) + float(np.log(np.diagonal(factor, axis1=1, axis2=2)).sum())
        weight = precision - alpha[:, :, None] * alpha[:, None, :]
        first, second = batch.stance[:, :, None] == 1, batch.stance[:, None, :] == 1
        same = first == second
        between = 0.5 * cross * float(weight[~same].sum())
        similar = kernel.similarity(batch.cosine, same)
        distance = (1.0 - np.clip(batch.cosine, -1.0, 1.0)) / kernel.length
        gradient += 0.5 * np.array([
            kernel.misleading * float(weight[~first & ~second].sum()) + between,
            kernel.not_misleading * float(weight[first & second].sum()) + between,
            (1.0 - kernel.correlation**2) * scale * float(weight[~same].sum()),
            float((weight * similar).sum()),
            float((weight * similar * distance).sum()),
            kernel.note * float(weight[:, own, own].sum()),
        ])  # fmt: skip
    limited = np.abs(kernel.vector() - v) > 1e-9
    return total, np.where(limited, 0.0, gradient)


def fit_kernel(
    batches: Sequence[PostBatch], noise: Array, residual: Array, start: Kernel, has_embedding: bool
) -> Kernel:
    """The kernel of largest marginal likelihood, with weak log-normal priors around `start` that settle what few posts cannot."""
    from scipy.optimize import minimize

    anchor = start.vector()
    # Standard deviations of the prior on the logarithms: wide for variances, narrow for the length scale.
    width = np.array([1.5, 1.5, 1.0, 1.5, 0.7, 1.5])
    free = np.array([True, True, True, has_embedding, has_embedding, True])

    def loss(x: Array) -> tuple[float, Array]:
        v = anchor.copy()
        v[free] = x
        value, gradient = likelihood_and_gradient(batches, v, noise, residual)
        pull = (v - anchor) / width
        return value + 0.5 * float((pull**2).sum()), (gradient + pull / width)[free]

    found = minimize(
        loss,
        anchor[free],
        jac=True,
        method="L-BFGS-B",
        bounds=[(a - 5, a + 4) for a in anchor[free]],
        options={"maxiter": 40},
    )
    best = anchor.copy()
    best[free] = found.x
    return Kernel.from_vector(best)


def leave_one_out(batches: Sequence[PostBatch], kernel: Kernel, noise: Array, residual: Array) -> tuple[Array, Array]:
    """For every note: mean and variance of its latent residual given the *other* notes of its post, each (n_notes,).

    Closed form of Gaussian processes: with P = (K + R)^-1, mean = r - [P r] / P_aa and variance = 1 / P_aa - R_a.
    """
    mean, variance = np.zeros(len(residual)), np.zeros(len(residual))
    for batch in batches:
        precision = np.linalg.inv(batch.covariance(kernel, noise))
        diagonal = np.diagonal(precision, axis1=1, axis2=2)
        r = residual[batch.rows]
        mean[batch.rows] = r - np.einsum("gij,gj->gi", precision, r) / diagonal
        variance[batch.rows] = 1.0 / diagonal - noise[batch.rows]
    return mean, np.maximum(variance, 1e-6)


@dataclass(frozen=True)
class SiblingPosterior:
    """What the siblings of one post say, ready to be applied to any text of that post.

    Over the stacked parameters [intercepts, factors] of n siblings: `weights` (2n,) = (I + L K)^-1 (b - L m) and
    `gain` (2n, 2n) = (I + L K)^-1 L, where L holds the information of their ratings and published parameters.
    """

    stance: NDArray[np.int64]
    weights: Array
    gain: Array


def condition(
    kernels: tuple[Kernel, Kernel],
    stance: NDArray[np.int64],
    cosine: Array,
    mean: Array,
    information: Array,
    score: Array,
) -> SiblingPosterior:
    """Posterior ingredients from n siblings.

    mean (n, 2) prior means; information (n, 2, 2) and score (n, 2) of each sibling's evidence: exp(-½ tᵀ A t + bᵀ t).
    A sibling without evidence has zeros there and changes nothing.
    """
    n = len(stance)
    prior = np.zeros((2 * n, 2 * n))
    for q, kernel in enumerate(kernels):
        block = kernel.between(stance, stance, cosine)
        block[np.arange(n), np.arange(n)] += kernel.note
        prior[q * n : (q + 1) * n, q * n : (q + 1) * n] = block
    evidence = np.zeros((2 * n, 2 * n))
    own = np.arange(n)
    for p in range(2):
        for q in range(2):
            evidence[p * n + own, q * n + own] = information[:, p, q]
    flat_mean, flat_score = mean.T.reshape(-1), score.T.reshape(-1)
    system = np.eye(2 * n) + evidence @ prior
    solved = np.linalg.solve(system, np.column_stack([flat_score - evidence @ flat_mean, evidence]))
    return SiblingPosterior(stance, solved[:, 0], solved[:, 1:])


def predict(
    kernels: tuple[Kernel, Kernel],
    posterior: SiblingPosterior,
    stance: NDArray[np.int64],
    cosine: Array,
    same_note: Array,
    mean: Array,
) -> tuple[Array, Array, Array]:
    """Means (T, 2), covariances (T, 2, 2) and the covariance's share that all texts of the post and stance have in common.

    cosine (T, n) to the siblings; `same_note` (T, n) is 1 where a text *is* that sibling (its own evidence then counts in full).
    The common share, (T,), is the posterior covariance of the text's intercept with another text of its stance that resembles
    nothing: what remains uncertain about the post, not about the wording.
    """
    n = len(posterior.stance)
    # Siblings with the same words have note effects of their own, so a text that equals k of them can follow only their mean:
    # 1 for each would claim more covariance than there is variance, and the posterior variance would turn negative.
    same_note = same_note / np.maximum(same_note.sum(axis=1, keepdims=True), 1.0)
    rows = []
    shared_rows = []
    for kernel in kernels:
        cross = kernel.between(stance, posterior.stance, cosine) + kernel.note * same_note
        rows.append(cross)
        shared_rows.append(kernel.shared()[stance][:, posterior.stance])
    k_i, k_f = rows
    moved = np.stack([mean[:, 0] + k_i @ posterior.weights[:n], mean[:, 1] + k_f @ posterior.weights[n:]], axis=1)
    cov = np.zeros((len(stance), 2, 2))
    gain = posterior.gain
    parts = ((k_i, slice(0, n)), (k_f, slice(n, 2 * n)))
    for p, (kp, sp) in enumerate(parts):
        for q, (kq, sq) in enumerate(parts):
            cov[:, p, q] = -np.einsum("ti,ij,tj->t", kp, gain[sp, sq], kq, optimize=True)
        cov[:, p, p] += kernels[p].variance(stance)
    common = np.diag(kernels[0].shared())[stance] - np.einsum(
        "ti,ij,tj->t", k_i, gain[:n, :n], shared_rows[0], optimize=True
    )
    cov = 0.5 * (cov + cov.transpose(0, 2, 1))
    return moved, cov, np.clip(common, 0.0, None)


def difference_variance(
    kernel: Kernel,
    posterior: SiblingPosterior,
    stance: tuple[NDArray[np.int64], NDArray[np.int64]],
    cosine: tuple[Array, Array],
    same_note: tuple[Array, Array],
    cosine_between: Array,
    same_text: Array,
) -> Array:
    """Variance of the difference of two texts' intercepts, (T,): text t of the first set against text t of the second.

    The pairs are of stance (T,), cosine (T, n) to the siblings and `same_note` (T, n), as in `predict`; `cosine_between` (T,) is that of
    the two texts, `same_text` (T,) 1 where they are the same. What both share (post, similar words, the siblings' evidence) cancels: a text
    against itself has variance 0, and two texts of one post that resemble each other in nothing have nearly the sum of both variances within.
    """
    n = len(posterior.stance)
    rows = []
    for s, c, own in zip(stance, cosine, same_note, strict=True):
        own = own / np.maximum(own.sum(axis=1, keepdims=True), 1.0)
        rows.append(kernel.between(s, posterior.stance, c) + kernel.note * own)
    shared = kernel.shared()
    together = (
        shared[stance[0], stance[1]]
        + kernel.similarity(cosine_between, stance[0] == stance[1])
        + kernel.note * same_text
    )
    prior = kernel.variance(stance[0]) + kernel.variance(stance[1]) - 2.0 * together
    # The evidence speaks of the difference through what it says of the two apart: a quadratic form in the difference of their rows.
    row = rows[0] - rows[1]
    learnt = np.einsum("ti,ij,tj->t", row, posterior.gain[:n, :n], row, optimize=True)
    return np.maximum(prior - learnt, 0.0)

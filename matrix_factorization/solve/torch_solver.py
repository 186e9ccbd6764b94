"""The exact sweep in torch, for GPUs: the same algorithm as `solver.py`, sums over ratings as two sparse matrix products."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np

from matrix_factorization.kernels import loops as kernels
from matrix_factorization.model.objective import NoteParameters, Parameters, RaterParameters, Regularisation
from matrix_factorization.model.ratings import RatingTable
from matrix_factorization.solve.exact import (
    Factorization,
    Start,
    divided_notes,
    larger_group_negative,
    seed_start,
)


@dataclass(frozen=True)
class TorchSolver:
    """Alternating exact solves with the gauge step on a torch device.

    `dtype` is that of the sums ('float64', or 'float32' for speed on a GPU). Matches `ExactSolver` to rounding; one start only.
    With A the 0/1 pattern and R the values of the rating matrix, all sums of a half sweep are A [x, f, x f, f^2] and R f.
    """

    regularisation: Regularisation = field(default_factory=Regularisation)
    tolerance: float = 1e-8
    max_sweeps: int = 200
    device: str = "cpu"
    dtype: str = "float64"

    def fit(
        self, ratings: RatingTable, start: Parameters | None = None, rng: np.random.Generator | None = None
    ) -> Factorization:
        import torch

        kind = getattr(torch, self.dtype)
        begin = start or seed_start(ratings, divided_notes(ratings, 1)[0])
        ridge = self.regularisation.ridges(ratings.n_ratings, ratings.n_raters, ratings.n_notes)
        by_note = _Side(
            torch, ratings.note_start, ratings.by_note, ratings.note_weight, ratings.n_raters, self.device, kind
        )
        by_rater = _Side(
            torch, ratings.rater_start, ratings.by_rater, ratings.rater_weight, ratings.n_notes, self.device, kind
        )

        def put(x: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(np.asarray(x), dtype=kind, device=self.device)

        a, f = put(begin.raters.intercept), put(begin.raters.factor)
        b, g = put(begin.notes.intercept), put(begin.notes.factor)
        mu, weight = float(begin.global_intercept), float(by_note.count.sum())
        c, s, t, beta = 1.0, 0.0, 0.0, 0.0
        drops: list[float] = []
        converged, scale = False, 0.1 * max(ratings.n_ratings, 1)
        while len(drops) < self.max_sweeps and not converged:
            b, g = b - s * g + beta, (g + t) / c
            b, g, drop, _ = by_note.solve(a, f, b, g, mu, ridge.note_intercept, ridge.note_factor)
            a, f, fall, residual = by_rater.solve(b, g, a, f, mu, ridge.rater_intercept, ridge.rater_factor)
            drop += fall
            curvature = weight + ridge.global_intercept
            step = (residual - ridge.global_intercept * mu) / curvature
            mu += step
            drop += curvature * step * step
            c, s, t, alpha, beta, fall = kernels.gauge_step(_moments(a, f), _moments(b, g), mu, np.array(ridge))
            a, f = a - t * f + alpha, c * (f + s)
            mu -= s * t + alpha + beta
            drops.append(drop + fall)
            if len(drops) > 1:
                rate = min(max(drops[-1] / drops[-2], 0.0), 0.99) if drops[-2] > 0 else 0.0
                remaining = drops[-1] * rate / (1.0 - rate) / scale
                converged = remaining <= self.tolerance or drops[-1] / scale <= 1e-15
        b, g = b - s * g + beta, (g + t) / c
        columns = [x.double().cpu().numpy() for x in (a, f, b, g)]
        parameters = Parameters(RaterParameters(*columns[:2]), NoteParameters(*columns[2:]), mu)
        loss = by_note.squared_error(a, f, b, g, mu) + ridge.global_intercept * mu * mu
        for r, x in zip(ridge[:4], (a, f, b, g), strict=True):
            loss += r * float((x.double() ** 2).sum())
        loss /= max(ratings.n_ratings, 1)
        losses = loss + np.concatenate((np.cumsum(np.array(drops)[::-1])[::-1], [0.0])) / max(ratings.n_ratings, 1)
        return Factorization(
            larger_group_negative(parameters),
            loss,
            losses,
            (Start("seed" if start is None else "given", loss, len(drops)),),
            converged,
            f"{len(drops)} sweeps on {self.device} in {self.dtype}.",
        )


def _moments(i, f) -> np.ndarray:
    i, f = i.double(), f.double()
    return np.array([len(i), *(float(x) for x in (i.sum(), f.sum(), i @ i, i @ f, f @ f))])


class _Side:
    """One direction of the table on the device: pattern and values as sparse matrices, and the sums they give."""

    def __init__(self, torch, start: np.ndarray, stream: np.ndarray, weight, n_columns: int, device: str, kind) -> None:
        n_rows = len(start) - 1
        columns = torch.as_tensor((stream >> 2).astype(np.int32), device=device)
        rows = torch.as_tensor(start.astype(np.int32 if start[-1] < 2**31 else np.int64), device=device)
        code = torch.as_tensor((stream & 3).astype(np.uint8), device=device)
        w = torch.ones(len(stream), dtype=kind, device=device)
        if weight is not None:
            w = torch.as_tensor(weight, device=device).to(kind)
        values = code.to(kind) * 0.5 * w
        shape = (n_rows, n_columns)
        self._torch = torch
        with (
            warnings.catch_warnings()
        ):  # torch calls its CSR layout beta; what we use of it, a matrix product, is settled
            warnings.simplefilter("ignore")
            self._pattern = torch.sparse_csr_tensor(rows, columns, w, shape, device=device, check_invariants=False)
            self._values = torch.sparse_csr_tensor(rows, columns, values, shape, device=device, check_invariants=False)
        ones = torch.ones((n_columns, 1), dtype=kind, device=device)
        self.count = (self._pattern @ ones)[:, 0]
        self._sum_r = (self._values @ ones)[:, 0]
        self._sum_rr = float((values.double() * code.double()).sum() * 0.5)

    def _sums(self, x, f):
        stacked = self._pattern @ self._torch.stack([x, f, x * f, f * f, x * x], dim=1)
        return (*stacked.unbind(1), self._values @ self._torch.stack([x, f], dim=1))

    def solve(self, x, f, i_old, g_old, mu, ridge_i, ridge_g):
        """(intercepts, factors, decrease of the objective in sums, sum of residuals) with the other side (x, f) held fixed."""
        sx, sf, sxf, sff, _, r = self._sums(x, f)
        sy = self._sum_r - sx - mu * self.count
        syf = r[:, 1] - sxf - mu * sf
        a11, a22 = self.count + ridge_i, sff + ridge_g
        det = a11 * a22 - sf * sf
        i, g = (a22 * sy - sf * syf) / det, (a11 * syf - sf * sy) / det
        di, dg = (i - i_old).double(), (g - g_old).double()
        drop = float((a11 * di * di + 2 * sf * di * dg + a22 * dg * dg).sum())
        residual = float((sy - self.count * i - sf * g).double().sum())
        return i, g, drop, residual

    def squared_error(self, x, f, i, g, mu) -> float:
        """Sum of weighted squared errors, from sums of squares and products."""
        sx, sf, sxf, sff, sxx, r = (z.double() for z in self._sums(x, f))
        i, g = i.double() + mu, g.double()
        n, sr = self.count.double(), self._sum_r.double()
        cross = i * sr + r[:, 0] + g * r[:, 1]
        square = n * i * i + sxx + g * g * sff + 2 * i * sx + 2 * i * g * sf + 2 * g * sxf
        return self._sum_rr - 2 * float(cross.sum()) + float(square.sum())

"""X's own way to the minimum: full-batch Adam with its learning rates, clipping and stopping rule. The parity twin."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from matrix_factorization.model.objective import (
    NoteParameters,
    Parameters,
    RaterParameters,
    Regularisation,
    objective,
)
from matrix_factorization.model.ratings import RatingTable
from matrix_factorization.solve.exact import Factorization, Start, larger_group_negative


@dataclass(frozen=True)
class AdamSolver:
    """Gradient descent as X runs it, to compare with; the exact solver is faster and goes lower.

    Xavier-uniform factors and zero intercepts, learning rate 1.0 (0.2 from a given `start`), gradient norm clipped at 1, float32, one step per pass
    over all ratings; ends when the loss moves by at most `convergence`, or rises after epoch 100. `losses` has one entry per epoch.
    Differs from X only in that the rows' parameters are gathered by `index_select`, six times faster than an embedding's backward pass.
    Source: communitynotes `matrix_factorization.py` (`_fit_model`, `_create_mf_model`) and `model.py`.
    """

    regularisation: Regularisation = field(default_factory=Regularisation)
    convergence: float = 1e-7
    cold_learning_rate: float = 1.0
    warm_learning_rate: float = 0.2
    max_epochs: int = 3000
    freeze_raters: bool = False

    def fit(
        self, ratings: RatingTable, start: Parameters | None = None, rng: np.random.Generator | None = None
    ) -> Factorization:
        import torch

        rng = rng or np.random.default_rng(0)
        note, rater, value = (torch.from_numpy(array) for array in ratings.triples())
        value = value.float()
        weight = torch.from_numpy(ratings.weights()).float()
        sums = self.regularisation.ridges(ratings.n_ratings, ratings.n_raters, ratings.n_notes)
        ridge = [r / ratings.n_ratings for r in sums]
        begin = start or _xavier(ratings, rng)
        variables = [
            torch.tensor(np.asarray(x, dtype=np.float32), requires_grad=True)
            for x in (
                begin.raters.intercept,
                begin.raters.factor,
                begin.notes.intercept,
                begin.notes.factor,
                [begin.global_intercept],
            )
        ]
        a, f, b, g, mu = variables
        free = [b, g] if self.freeze_raters else variables
        for variable in variables:
            variable.requires_grad_(any(variable is other for other in free))
        optimiser = torch.optim.Adam(free, lr=self.cold_learning_rate if start is None else self.warm_learning_rate)

        def loss_now() -> torch.Tensor:
            predicted = mu + a.index_select(0, rater) + b.index_select(0, note)
            predicted = predicted + f.index_select(0, rater) * g.index_select(0, note)
            fit = (weight * (value - predicted) ** 2).mean()
            return fit + sum(r * (x**2).sum() for r, x in zip(ridge, (a, f, b, g, mu), strict=True))

        loss = loss_now()
        losses, previous, epoch = [loss.item()], 1e10, 0
        while (
            abs(losses[-1] - previous) > self.convergence
            and not (epoch > 100 and losses[-1] > previous)
            and epoch < self.max_epochs
        ):
            previous = losses[-1]
            loss.backward()
            torch.nn.utils.clip_grad_norm_(free, max_norm=1.0)
            optimiser.step()
            optimiser.zero_grad()
            loss = loss_now()
            losses.append(loss.item())
            epoch += 1
        columns = [x.detach().numpy().astype(np.float64) for x in variables]
        parameters = Parameters(RaterParameters(*columns[:2]), NoteParameters(*columns[2:4]), float(columns[4][0]))
        if not self.freeze_raters:
            parameters = larger_group_negative(parameters)
        rose = losses[-1] > previous
        return Factorization(
            parameters,
            objective(ratings, parameters, self.regularisation),
            np.array(losses),
            (Start("given" if start else "xavier", losses[-1], epoch),),
            not rose and epoch < self.max_epochs,
            f"{epoch} epochs; " + ("the loss rose." if rose else "the loss stood still."),
        )


def _xavier(ratings: RatingTable, rng: np.random.Generator) -> Parameters:
    def factors(n: int) -> np.ndarray:
        bound = np.sqrt(6.0 / (n + 1))
        return rng.uniform(-bound, bound, n)

    return Parameters(
        RaterParameters(np.zeros(ratings.n_raters), factors(ratings.n_raters)),
        NoteParameters(np.zeros(ratings.n_notes), factors(ratings.n_notes)),
        0.0,
    )

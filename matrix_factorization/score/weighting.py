"""Raters' weights by how well they tell good notes from bad ones, given their side."""

from __future__ import annotations

import numpy as np

from matrix_factorization.model.objective import Parameters
from matrix_factorization.model.ratings import RatingTable

LARGEST_WEIGHT = 4.0


def quality_slopes(table: RatingTable, parameters: Parameters, prior_ratings: float = 10.0) -> np.ndarray:
    """(n_raters,) slope of each rater's ratings on note quality: 1 follows it as the model expects, 0 rates blindly, below 0 inverts it.

    For rater u, what mu, the rater's intercept and the factor leave unexplained is regressed on the notes' intercepts, the slope shrunk to 1 as
    if `prior_ratings` ratings of average spread had been seen that agree with the model. Raters without ratings: 1.
    """
    note, rater, value = table.triples()
    weight, p = table.weights(), parameters
    quality = p.notes.intercept[note]
    rest = value - p.global_intercept - p.raters.intercept[rater] - p.raters.factor[rater] * p.notes.factor[note]
    spread = float(np.average(quality**2, weights=weight)) if len(note) else 1.0
    pull = prior_ratings * max(spread, 1e-12)
    top = np.bincount(rater, weight * rest * quality, table.n_raters) + pull
    return top / (np.bincount(rater, weight * quality**2, table.n_raters) + pull)


def quality_weights(table: RatingTable, parameters: Parameters) -> np.ndarray:
    """(n_raters,) weights for a quality-sensitive fit, mean 1 over ratings.

    In the quality-sensitive model r = mu + i_u + rho_u q_n + f_u g_n a rating carries rho_u^2 times the information on the quality q_n of
    one with rho = 1, so w_u = max(rho_u, 0)^2, at most 4. After Goyal, Arora and Goel 2026 (arXiv 2604.11224), who fit rho jointly: we estimate it
    once from the first round, which keeps X's objective and every closed form of this room.
    """
    rho = quality_slopes(table, parameters)
    weight = np.minimum(np.maximum(rho, 0.0) ** 2, LARGEST_WEIGHT)
    mean = float(np.average(weight, weights=np.maximum(table.rater_degree(), 1e-12))) if table.n_raters else 1.0
    return weight / mean if mean > 0 else np.ones_like(weight)

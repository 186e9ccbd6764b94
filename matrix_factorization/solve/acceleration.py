"""Fewer sweeps: extrapolation of the raters from one sweep to the next, and a start from a sample of the notes."""

from __future__ import annotations

import numpy as np

from matrix_factorization.kernels import building
from matrix_factorization.kernels import loops as kernels
from matrix_factorization.kernels.threads import Workers
from matrix_factorization.model.ratings import RatingTable, rows_of_rows

# In the sample a rater has about so many ratings: enough to know the side, few enough that the sample is a tenth of X's data.
RATINGS_A_RATER = 12
# Below so many ratings a sweep takes no time worth saving; above this share of the notes a sample saves none.
SMALLEST_SAMPLED = 2_000_000
LARGEST_SHARE = 0.3


class Extrapolation:
    """Anderson's mixing of sweeps: from where the last three began and ended, a guess where all of them lead.

    A sweep maps the raters' parameters x (and mu) to G(x). Near the optimum G is linear with eigenvalues in [0, 1), and plain alternation crawls with
    the largest. Of all combinations (weights summing to one) of the last three sweeps, that with the shortest step G(x) - x is
    continued, length measured by about the curvature of the objective in each rater: for a linear G that is GMRES, started anew as it goes.
    Costs two passes over the raters and nothing for each rating. More than three sweeps gain nothing (docs/experiments, "Fewer sweeps").
    Source: Anderson 1965; Walker and Ni 2011 (SIAM J. Numer. Anal. 49), section 2.

    `degree`: (n_raters,) ratings of each; `squared_factor`: mean square of a note's factor; `total_weight`: of all ratings.
    """

    def __init__(self, degree: np.ndarray, squared_factor: float, total_weight: float):
        self._weight = np.stack([degree, degree * squared_factor], axis=1).astype(np.float32)
        self._total_weight = total_weight
        self._before, self._step = np.empty_like(self._weight), np.empty_like(self._weight)
        self._walked = [np.zeros_like(self._weight) for _ in range(2)]
        self._change = [np.zeros_like(self._weight) for _ in range(2)]
        self.forget()

    def forget(self) -> None:
        """Begin anew: the next sweep is the first."""
        self._sweeps = 0
        self.rate = 0.0
        self._mu = np.zeros(2)  # what x and its step were in mu
        self._mu_walked, self._mu_change = np.zeros(2), np.zeros(2)

    def ahead(self, before: tuple[np.ndarray, float], after: tuple[np.ndarray, float]) -> tuple[np.ndarray, float]:
        """(raters, mu) to go on from after a sweep that led from `before` to `after`: (n_raters, 2) float32 and a number each.

        Sets `rate`: the largest share of an error that one sweep leaves, as far as the last three show it (a Ritz value, in [0, 0.99]). After the
        first sweep, and where nothing moved, the sweep's own end is returned and `rate` is 0.
        """
        slot = self._sweeps % 2
        kernels.differences(before[0], after[0], self._before, self._step, self._walked[slot], self._change[slot])
        mu = np.array([before[1], after[1] - before[1]])
        self._mu_walked[slot], self._mu_change[slot] = mu - self._mu
        self._mu = mu
        self._sweeps += 1
        if self._sweeps == 1:
            for row in (*self._walked, *self._change):
                row[:] = 0.0
            self._mu_walked[:], self._mu_change[:] = 0.0, 0.0
            return after
        walked, change = self._walked, self._change
        # mu is one coordinate more, beside the raters'.
        of_mu = np.array([self._mu_change[0], self._mu_change[1], mu[1], self._mu_walked[0], self._mu_walked[1]])
        first, second, self.rate = kernels.mixing(
            change[0], change[1], self._step, walked[0], walked[1], self._weight, of_mu, self._total_weight
        )
        raters = np.empty_like(after[0])
        kernels.mixed(after[0], walked[0], walked[1], change[0], change[1], first, second, raters)
        both = self._mu_walked + self._mu_change
        return raters, after[1] - first * float(both[0]) - second * float(both[1])


def sampled(table: RatingTable, workers: Workers) -> RatingTable | None:
    """All ratings of a random sample of the notes, with all raters; `None` where a sample would save nothing.

    The sample depends on the number of notes alone. Its factorisation is a start for the whole table's: raters are known as well as by
    a sample of their ratings, and the first sweeps, which only spread the sign of the factor, cost a tenth.
    """
    if table.n_ratings < SMALLEST_SAMPLED:
        return None
    share = RATINGS_A_RATER * table.n_raters / table.n_ratings
    if share > LARGEST_SHARE:
        return None
    notes = np.flatnonzero(np.random.default_rng(0).random(table.n_notes) < share)
    size = int(table.note_degree()[notes].sum())
    if size == 0:
        return None
    parts, by_note = np.empty(3 * len(notes) + 1, np.int64), np.empty(size, np.uint32)
    building.take_rows(table.note_parts, table.by_note, notes, parts, by_note)
    rater_parts, by_rater = rows_of_rows(parts, by_note, table.n_raters, workers)
    sample = RatingTable(table.note_ids[notes], table.rater_ids, parts, by_note, rater_parts, by_rater)
    if table.note_weight is None:
        return sample
    weight = np.empty(size, np.float32)
    building.take_rows(table.note_parts, table.note_weight, notes, np.empty_like(parts), weight)
    return sample.with_weights(weight)

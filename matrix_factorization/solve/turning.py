# mypy: ignore-errors
# (Numba gives these functions their types when it compiles them; mypy cannot see them.)
"""Out of wrong basins: communities of raters and notes whose factors have the wrong sign relative to the rest.

The objective's false minima on weakly linked data are communities that agree inside and are turned against each other: turning the signs of all
factors of a community changes the predictions of the few ratings across its border only. With y = r - mu - i_u - i_n, turning one of u and n but not both
changes a rating's squared error by 4 y f_u f_n. So: find communities by label propagation, add 4 y f_u f_n up for every pair of them, and look for the
signs that make the sum of satisfied pairs largest - a problem with as many unknowns as communities. Then the descent goes on from there.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from matrix_factorization.kernels.loops import CODE_MASK, TWO
from matrix_factorization.model.objective import NoteParameters, Parameters, RaterParameters
from matrix_factorization.model.ratings import RatingTable

# Communities looked at, the largest first. The signs of smaller ones are left to the descent, which finds them row by row.
MOST_COMMUNITIES = 64
ROUNDS = 8


def turned(table: RatingTable, parameters: Parameters) -> Parameters | None:
    """`parameters` with the communities turned that lower the objective by it, or `None` if none does."""
    rater_label, note_label = communities(table)
    n = int(max(rater_label.max(initial=-1), note_label.max(initial=-1))) + 1
    if n < 2:
        return None
    across = np.zeros((n, n))
    _agreement(
        table.note_start, table.by_note, parameters.raters.intercept, parameters.raters.factor, parameters.notes.intercept,
        parameters.notes.factor, parameters.global_intercept, rater_label, note_label, across,
    )  # fmt: skip
    across = across + across.T
    np.fill_diagonal(across, 0.0)
    signs = best_signs(across)
    # Turning costs nothing inside a community; the gain must be more than rounding.
    if signs @ across @ signs <= across.sum() + 1e-9 * np.abs(across).sum():
        return None
    of_rater = np.where(rater_label < 0, 1.0, signs[rater_label])
    of_note = np.where(note_label < 0, 1.0, signs[note_label])
    return Parameters(
        RaterParameters(parameters.raters.intercept, parameters.raters.factor * of_rater),
        NoteParameters(parameters.notes.intercept, parameters.notes.factor * of_note),
        parameters.global_intercept,
    )


def best_signs(across: np.ndarray) -> np.ndarray:
    """Signs s that make s' A s large: turn one at a time while that helps, from all positive and from the leading eigenvectors."""
    starts = [np.ones(len(across))]
    starts += [np.where(vector < 0, -1.0, 1.0) for vector in np.linalg.eigh(across)[1].T[:-5:-1]]
    found = []
    for signs in starts:
        for _ in range(20 * len(across)):
            gain = -signs * (across @ signs)
            worst = int(np.argmax(gain))
            if gain[worst] <= 1e-12 * np.abs(across).sum():
                break
            signs[worst] = -signs[worst]
        found.append((float(signs @ across @ signs), signs))
    return max(found, key=lambda pair: pair[0])[1]


def communities(table: RatingTable) -> tuple[np.ndarray, np.ndarray]:
    """(community of each rater, of each note), numbered by size from 0, -1 outside the `MOST_COMMUNITIES` largest.

    Label propagation: each rater begins as his own community; notes take the commonest label of their raters and raters that of their notes, in turns.
    """
    rater_label = np.arange(table.n_raters)
    note_label = np.full(table.n_notes, -1, np.int64)
    for _ in range(ROUNDS):
        _commonest(table.note_start, table.by_note, rater_label, note_label)
        before = rater_label.copy()
        _commonest(table.rater_start, table.by_rater, note_label, rater_label)
        if np.array_equal(before, rater_label):
            break
    size = np.bincount(rater_label[rater_label >= 0], table.rater_degree()[rater_label >= 0], minlength=table.n_raters)
    largest = np.argsort(-size, kind="stable")[:MOST_COMMUNITIES]
    number = np.full(table.n_raters + 1, -1, np.int64)  # the last entry: no label
    kept = largest[size[largest] > 0]
    number[kept] = np.arange(len(kept))
    return number[rater_label], number[note_label]


@njit(nogil=True, cache=True)
def _commonest(start, stream, other, own):  # pragma: no cover - compiled
    """own[row] = the commonest label of the row's ratings in `other`; of equally common ones the present one, else the smallest."""
    count = np.zeros(max(other.max() if len(other) else 0, own.max() if len(own) else 0) + 1, np.int64)
    for row in range(len(start) - 1):
        best = own[row]
        most = 0
        for k in range(start[row], start[row + 1]):
            label = other[stream[k] >> TWO]
            if label < 0:
                continue
            count[label] += 1
            here = count[label]
            if here > most or (here == most and best != own[row] and (label == own[row] or label < best)):
                best = label
                most = here
        own[row] = best
        for k in range(start[row], start[row + 1]):
            label = other[stream[k] >> TWO]
            if label >= 0:
                count[label] = 0


@njit(nogil=True, cache=True)
def _agreement(start, stream, a, f, b, g, mu, rater_label, note_label, across):  # pragma: no cover - compiled
    """across[community of the rater, of the note] += y f_u f_n for every rating."""
    for row in range(len(start) - 1):
        m = note_label[row]
        if m < 0:
            continue
        for k in range(start[row], start[row + 1]):
            u = stream[k] >> TWO
            label = rater_label[u]
            if label >= 0:
                y = 0.5 * np.float64(stream[k] & CODE_MASK) - mu - a[u] - b[row]
                across[label, m] += y * f[u] * g[row]

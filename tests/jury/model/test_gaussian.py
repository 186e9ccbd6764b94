"""The Gaussian core stays a distribution, whatever copies and contradictions a post holds."""

from __future__ import annotations

import numpy as np
import pytest

from jury.model.gaussian import (
    Kernel,
    batch_posts,
    condition,
    difference_variance,
    likelihood_and_gradient,
    negative_log_likelihood,
    predict,
)

KERNELS = (
    Kernel(misleading=0.011, not_misleading=0.021, correlation=-0.17, similar=0.004, length=0.42, note=0.021),
    Kernel(misleading=0.21, not_misleading=0.22, correlation=-0.66, similar=0.010, length=0.38, note=0.042),
)


@pytest.mark.parametrize("copies", [1, 2, 3, 8])
def test_a_text_that_equals_several_siblings_keeps_a_positive_variance(copies):
    """Found on real notes: three siblings with the candidate's very words made its variance negative, its verdict NaN."""
    stance = np.zeros(copies, dtype=np.int64)
    information = np.tile(np.diag([400.0, 150.0]), (copies, 1, 1))
    score = np.tile([40.0, 15.0], (copies, 1))
    known = condition(KERNELS, stance, np.ones((copies, copies)), np.zeros((copies, 2)), information, score)
    one = np.zeros(1, dtype=np.int64)
    _, cov, _ = predict(KERNELS, known, one, np.ones((1, copies)), np.ones((1, copies)), np.zeros((1, 2)))
    assert np.linalg.eigvalsh(cov[0]).min() > 0
    prior = [kernel.variance(one)[0] for kernel in KERNELS]
    assert (np.diagonal(cov[0]) < prior).all(), "evidence never makes a text less certain"


def test_the_gradient_of_the_likelihood_is_its_slope():
    """Twin: central differences, on posts of one to five notes of both stances."""
    rng = np.random.default_rng(1)
    post = np.repeat(np.arange(40), rng.integers(1, 6, 40))
    unit = rng.normal(size=(len(post), 5)).astype(np.float32) + 1.0
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    batches = batch_posts(post, rng.integers(0, 2, len(post)), unit)
    noise, residual = rng.uniform(0.01, 0.05, len(post)), rng.normal(0, 0.3, len(post))
    for kernel in KERNELS:
        v = kernel.vector()
        value, gradient = likelihood_and_gradient(batches, v, noise, residual)
        assert value == pytest.approx(negative_log_likelihood(batches, kernel, noise, residual))
        for k in range(6):
            step = 1e-5 * (np.arange(6) == k)
            up, down = (
                negative_log_likelihood(batches, Kernel.from_vector(v + s), noise, residual) for s in (step, -step)
            )
            assert gradient[k] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-4)


def _texts_of_a_post(seed: int = 4, n_siblings: int = 3):
    """Siblings and two texts with unit vectors, evidence on the siblings, and the second text one of them."""
    rng = np.random.default_rng(seed)
    unit = rng.normal(size=(n_siblings + 1, 6)) + 0.8
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    stance = rng.integers(0, 2, n_siblings + 1)
    information = np.stack([np.diag(rng.uniform(20, 300, 2)) for _ in range(n_siblings)])
    score = rng.normal(0, 20, (n_siblings, 2))
    return unit, stance, information, score


@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_variance_of_a_difference_is_that_of_the_joint_posterior(which):
    """Twin: the whole covariance of siblings and text written down and conditioned in one piece; the other text is a sibling."""
    unit, stance, information, score = _texts_of_a_post()
    n = len(information)
    cosine = unit @ unit.T
    known = condition(KERNELS, stance[:n], cosine[:n, :n], np.zeros((n, 2)), information, score)
    same_a, same_b = np.zeros((1, n)), np.eye(n)[[which]]
    got = difference_variance(
        KERNELS[0], known, (stance[n:], stance[[which]]), (cosine[n:, :n], cosine[[which], :n]), (same_a, same_b),
        cosine[n, [which]], np.zeros(1),
    )  # fmt: skip
    kernel = KERNELS[0]
    prior = kernel.between(stance, stance, cosine)
    prior[np.arange(n + 1), np.arange(n + 1)] += kernel.note
    precision = np.linalg.inv(prior)
    precision[:n, :n] += np.diag(information[:, 0, 0])
    posterior = np.linalg.inv(precision)
    contrast = np.eye(n + 1)[n] - np.eye(n + 1)[which]
    assert got[0] == pytest.approx(contrast @ posterior @ contrast)


def test_a_text_differs_from_itself_by_nothing_and_from_a_likeness_by_little():
    unit, stance, information, score = _texts_of_a_post()
    n = len(information)
    stance[:] = 0
    known = condition(KERNELS, stance[:n], (unit @ unit.T)[:n, :n], np.zeros((n, 2)), information, score)
    row, none = (unit @ unit.T)[n:, :n], np.zeros((1, n))

    def apart(cosine_between: float, same: float) -> float:
        return float(
            difference_variance(
                KERNELS[0], known, (stance[n:], stance[n:]), (row, row), (none, none), np.array([cosine_between]), np.array([same]),
            )[0]
        )  # fmt: skip

    assert apart(1.0, 1.0) == pytest.approx(0.0, abs=1e-12)
    assert 0 < apart(0.95, 0.0) < apart(0.5, 0.0) < apart(0.0, 0.0)

"""The Gaussian core stays a distribution, whatever copies and contradictions a post holds."""

from __future__ import annotations

import numpy as np
import pytest

from jury.models.gaussian import (
    Kernel,
    batch_posts,
    condition,
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

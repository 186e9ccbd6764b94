"""The numbers between linear predictor and answers: only ratings that count decide them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jury.train.answers import TWO_LEVELS_UNTIL, fit_history, fit_response
from jury.train.table import Folded
from tests.jury.model.planted import make_world


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_ratings_that_count_for_nothing_decide_nothing_not_even_the_form_of_the_question(share):
    """The snapshot was rated on the form with two answers, the folder beside it on the one with three."""
    world = make_world(seed=4)
    data = world.data
    own = np.random.default_rng(0).random(len(np.unique(data.post))) >= share
    here = own[np.searchsorted(np.unique(data.post), data.post)]
    mine = here[data.rating_note]
    day = 86_400_000
    data = replace(
        data,
        created_at=TWO_LEVELS_UNTIL + np.where(mine, -day, day) + np.arange(len(data.value)),
        value=np.where(mine, np.rint(data.value), data.value),
    )
    latent = np.stack([world.latent_intercept, world.latent_factor], axis=1)
    folded = Folded(
        latent, latent, np.full_like(latent, 0.01), np.full_like(latent, 0.01), np.zeros(len(data), dtype=np.int64)
    )
    trust = here.astype(float)
    alone = data.ratings_where(mine)
    response = fit_response(data, folded, trust)
    assert response == fit_response(alone, folded, trust)
    assert fit_history(data, folded, response, trust) == fit_history(alone, folded, response, trust)

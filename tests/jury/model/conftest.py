from __future__ import annotations

import pytest

from jury.model.encoders import NoEncoder
from jury.model.hierarchical import HierarchicalModel
from jury.train.fit import Fitted, fit_hierarchical
from jury.train.table import FitOptions
from tests.jury.model.planted import World, make_world

OPTIONS = FitOptions(blocks=("form",))


@pytest.fixture(scope="session")
def world() -> World:
    return make_world()


@pytest.fixture(scope="session")
def fitted(world: World) -> Fitted:
    return fit_hierarchical(world.data, NoEncoder(), OPTIONS)


@pytest.fixture(scope="session")
def model(fitted: Fitted) -> HierarchicalModel:
    return HierarchicalModel(fitted.weights, NoEncoder())

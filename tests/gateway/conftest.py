from __future__ import annotations

from collections.abc import Iterator

import pytest
from gateway_world import World, running


@pytest.fixture
def world() -> Iterator[World]:
    with running() as world:
        yield world
        world.at_rest()

"""What most tests on a real broker begin with; a file whose broker is its own has fixtures of the same names."""

from collections.abc import Iterator

import pytest

from shop_worker import Shop
from streams.settings import Settings
from tests.support.plane import Plane


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    """A shop of its own."""
    shop = Shop(settings)
    yield shop
    shop.close()


@pytest.fixture
def plane(settings: Settings) -> Iterator[Plane]:
    """Topics of their own, and no worker left behind."""
    made = Plane(settings)
    yield made
    made.close()

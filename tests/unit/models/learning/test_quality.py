"""Laws of progressive validation: what its measures are of."""

import numpy as np
import pytest

from models.learning.quality import WINDOW, AmountQuality


def test_what_is_measured_of_amounts_is_of_the_latest_labels() -> None:
    """Error and level of a model that was wrong for long and is right now: those of the window, in blocks of any size."""
    quality = AmountQuality()
    assert quality.get() == {}

    quality.update_many(np.zeros(3), np.ones(3), np.ones(3))
    assert quality.get() == {"labels": 3.0, "mae": 1.0, "prior_mae": 1.0}
    quality.update_many(np.full(WINDOW, 10.0), np.full(WINDOW, 100.0), np.full(WINDOW, 100.0))
    for block in np.array_split(np.full(WINDOW, 10.0), 7):
        quality.update_many(block, block / 2, block * 2)

    assert quality.get() == pytest.approx({"labels": float(WINDOW), "mae": 5.0, "prior_mae": 10.0, "level": 0.5})

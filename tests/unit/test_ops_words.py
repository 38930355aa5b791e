"""Laws of how changes are said."""

import pytest

from models.features import NAMES
from streams.ops.words import DECAYED_WORDS, FEATURE_WORDS, feature_words

NAMED = [*(name for name in NAMES if not name.startswith("text_") or not name[5:].isdigit()), "text"]


@pytest.mark.parametrize("name", NAMED)
def test_every_feature_that_can_be_a_reason_has_words(name: str) -> None:
    """None is said as it is spelt in the code by accident."""
    stem = name.rpartition("_")[0]

    assert name in FEATURE_WORDS or stem in DECAYED_WORDS


def test_no_two_features_are_said_alike() -> None:
    """A reader can tell them apart."""
    said = [feature_words(name) for name in NAMED]

    assert len(set(said)) == len(said)


def test_words_are_kept_for_no_feature_that_is_gone() -> None:
    """The table follows the features."""
    assert set(FEATURE_WORDS) <= set(NAMED)

"""Laws of how changes are said."""

import pytest

from models.features import NAMES
from models.reasons import HELD_BACK, JUDGED_ANEW, OTHERS, POLICY
from streams.words import DECAYED_WORDS, FEATURE_WORDS, TEMPLATES, feature_words, said_words

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
    assert set(TEMPLATES) <= {*NAMED, HELD_BACK, JUDGED_ANEW, POLICY, OTHERS}


@pytest.mark.parametrize("name", [*NAMED, HELD_BACK, JUDGED_ANEW, POLICY, OTHERS])
def test_a_reason_is_said_with_its_value(name: str) -> None:
    """Names as the code has them don't show; the value does, where it is one that a person can read."""
    said = said_words(name, 7.0)

    assert "_" not in said
    assert "7" in said or name in ("bought", "text")


def test_one_of_something_is_said_in_the_singular() -> None:
    """Where the word is a plain plural."""
    assert said_words("purchases", 1.0) == "1 purchase"
    assert said_words("recency_days", 1.0) == "last purchase 1 day ago"

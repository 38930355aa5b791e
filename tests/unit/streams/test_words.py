"""Laws of changes in words."""

import pytest

from models.features import NAMES
from models.reasons import HELD_BACK, JUDGED_ANEW, OTHERS, POLICY
from streams.words import DECAYED_WORDS, FEATURE_WORDS, TEMPLATES, feature_words, value_words

NAMED = [*(name for name in NAMES if not name.startswith("text_") or not name[5:].isdigit()), "text"]


@pytest.mark.parametrize("name", NAMED)
def test_every_feature_that_can_be_a_reason_has_words(name: str) -> None:
    """None is shown with its name in the code by accident."""
    stem = name.rpartition("_")[0]

    assert name in FEATURE_WORDS or stem in DECAYED_WORDS


def test_no_two_features_have_the_same_words() -> None:
    """A reader can tell them apart."""
    words = [feature_words(name) for name in NAMED]

    assert len(set(words)) == len(words)


def test_words_are_kept_for_no_feature_that_is_gone() -> None:
    """The table follows the features."""
    assert set(FEATURE_WORDS) <= set(NAMED)
    assert set(TEMPLATES) <= {*NAMED, HELD_BACK, JUDGED_ANEW, POLICY, OTHERS}


@pytest.mark.parametrize("name", [*NAMED, HELD_BACK, JUDGED_ANEW, POLICY, OTHERS])
def test_a_reason_has_its_value_in_words(name: str) -> None:
    """Names as the code has them don't show; the value does, where it is one that a person can read."""
    words = value_words(name, 7.0)

    assert "_" not in words
    assert "7" in words or name in ("bought", "text")


def test_one_of_something_is_in_the_singular() -> None:
    """Where the word is a plain plural."""
    assert value_words("purchases", 1.0) == "1 purchase"
    assert value_words("recency_days", 1.0) == "last purchase 1 day ago"

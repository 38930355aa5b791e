"""Laws of hashed n-grams."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.text.ngrams import BITS, LEAST, OPENING, OPENING_LEAST, OPENING_WORDS, ngrams

LONG = "this first sentence has many more words than any title ever would have"


@given(st.text(max_size=200), st.integers(4, BITS))
def test_places_are_distinct_ascending_and_within_the_table(text: str, bits: int) -> None:
    """Whatever is written, a learner can add up over the places."""
    places, values = ngrams(text, bits)

    assert len(places) == len(values)
    assert (np.diff(places) > 0).all()
    assert ((places >= 0) & (places < 1 << bits)).all()
    assert (values > 0).all()


@given(st.lists(st.sampled_from(["good", "bad", "dress", "fits", "!", "zip"]), min_size=1, max_size=90))
def test_a_text_is_no_longer_than_its_kinds_whatever_its_number_of_words(words: list[str]) -> None:
    """A long review moves a weight no further than a short one, and few words say less: length 1 from LEAST n-grams on."""
    places, values = ngrams(f"{LONG}. {' '.join(words)}")

    assert np.isclose(values @ values, min(1.0, len(places) / LEAST))


def test_a_short_first_sentence_counts_a_second_time() -> None:
    """A title says more than the same words further on; a long first sentence is no title."""
    titled, plain = ngrams("Lovely dress. It fits."), ngrams("It fits. Lovely dress.")

    assert set(titled.places) != set(plain.places)
    assert np.isclose(titled.values.max(), OPENING / np.sqrt(OPENING_LEAST))
    assert len(LONG.split()) > OPENING_WORDS
    assert np.isclose(ngrams(f"{LONG}.").values.max(), 1 / np.sqrt(LEAST))


def test_case_and_spaces_make_no_difference() -> None:
    """Words are compared, not bytes."""
    one, other = ngrams("I LOVE  this,\n dress"), ngrams("i love this dress")

    assert set(one.places) >= set(ngrams("dress").places) & set(one.places)
    assert set(other.places) & set(one.places)


def test_a_text_without_words_has_no_ngrams() -> None:
    """Nothing said, nothing learnt."""
    for text in ("", "   ", "--- , ;"):
        assert len(ngrams(text).places) == 0


def test_the_hash_is_the_same_everywhere() -> None:
    """Weights of another release, process or machine stay true: these places are for good, or VERSION changes."""
    assert ngrams("ok").places.tolist() == [943267, 2686959]

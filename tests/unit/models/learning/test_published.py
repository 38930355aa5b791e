"""Laws of what a label says to others: a day, no customer's second, and an id that an erasure can name."""

from hypothesis import given
from hypothesis import strategies as st

from models.labels import EXPOSE_DAYS
from models.learning.published import ids_between, published
from schemas.learning import HORIZONS, Label
from schemas.times import DAY_S

moments = st.floats(7e8, 4e9)


def label(at: float, days: int, pseudonym: str = "p") -> Label:
    """A label as the step makes it."""
    return Label(f"{pseudonym}:{at:.3f}:{days}", at, at + days * DAY_S, days, "f", (0.0,), True, 1, 5.0)  # type: ignore[arg-type]


@given(moments, moments, st.sampled_from(HORIZONS))
def test_labels_of_one_day_say_the_same(first: float, other: float, days: int) -> None:
    """But for their pseudonym and their period nothing tells two moments of a day apart."""
    second = first // DAY_S * DAY_S + other % DAY_S
    one, two = published(label(first, days)), published(label(second, days))
    assert (one.as_of, one.matured_at) == (two.as_of, two.matured_at)
    assert one.as_of % DAY_S == 0
    assert one.matured_at == one.as_of + days * DAY_S


@given(moments, st.integers(0, 60), st.sampled_from(HORIZONS))
def test_an_erasure_names_every_label_that_a_customer_can_have(first: float, number: int, days: int) -> None:
    """Of each period since the first event; each once."""
    at = first + number * EXPOSE_DAYS * DAY_S
    ids = list(ids_between("p", first, at))
    assert published(label(at, days)).label_id in ids
    assert published(label(first, days)).label_id in ids
    assert len(set(ids)) == len(ids) <= 2 * (number + 2)


@given(moments)
def test_the_labels_of_a_customer_have_ids_of_their_own(first: float) -> None:
    """A year of them, and those of another customer."""
    made = [label(first + n * EXPOSE_DAYS * DAY_S, days, who) for n in range(36) for days in HORIZONS for who in "pq"]
    ids = {published(each).label_id for each in made}
    assert len(ids) == len(made)

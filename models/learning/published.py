"""A label as others may see it: it says what was learnt, and not the second in which a customer came.

The moments of a customer's labels lie whole periods after their first event. To the second they would tell which customer
of `clickstream` a pseudonym is of, without its key. So a label tells the day. Its id is made of the customer's pseudonym,
the period and the horizon: so an erasure can name every label that a customer can have.
"""

from collections.abc import Iterator
from hashlib import blake2b

from msgspec.structs import replace

from models.labels import EXPOSE_DAYS
from schemas.learning import HORIZONS, Label
from schemas.times import DAY_S

_PERIOD_S = EXPOSE_DAYS * DAY_S


def published(label: Label) -> Label:
    """The label with its times as days (their beginning, UTC), and an id that says nothing.

    A pseudonym has one label of a horizon in a period. A late first event can move a customer's periods; the label that then
    is the second of its period has the id of the first, and replaces it.
    """
    pseudonym = label.label_id.partition(":")[0]
    day = label.as_of // DAY_S * DAY_S
    period = int(label.as_of // _PERIOD_S)
    horizon_s = label.horizon_days * DAY_S
    return replace(label, label_id=_id(pseudonym, period, label.horizon_days), as_of=day, matured_at=day + horizon_s)


def ids_between(pseudonym: str, first: float, last: float) -> Iterator[str]:
    """The ids of every label that a customer can have of moments from `first` to `last` (epoch seconds)."""
    for period in range(int(first // _PERIOD_S), int(last // _PERIOD_S) + 1):
        for days in HORIZONS:
            yield _id(pseudonym, period, days)


def _id(pseudonym: str, period: int, days: int) -> str:
    return f"{pseudonym}:{blake2b(f'{pseudonym}:{period}:{days}'.encode(), digest_size=6).hexdigest()}"

"""Matured labels (`model-train`), the records of the learning loop. Snapshots: see `models.learning.snapshots`."""

from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple, Self

import msgspec
from msgspec import Meta, Struct

from schemas.headers import ORIGIN_HEADER
from schemas.times import LATEST_S

# In this order wherever scores are a row of numbers.
SCORES = ("p_purchase_30d", "p_purchase_90d", "expected_purchases_90d", "expected_spend_90d")


# Of labels, in days.
HORIZONS: tuple[Literal[30], Literal[90]] = (30, 90)

# Features are logarithms, shares and means: the logarithm of a sum that 64 bits hold is 44. Far beyond lies no feature,
# and its exponential is nothing to compute with.
FEATURE_LIMIT = 100.0


class Label(Struct, frozen=True):
    """What one customer went on to do after a moment whose features were kept.

    Delivered at least once; equal `label_id`, equal bytes.
    """

    label_id: Annotated[str, Meta(description="<pseudonym>:<digest>; one a pseudonym, period of ten days and horizon")]
    as_of: Annotated[
        float,
        Meta(ge=0, le=LATEST_S, description="epoch seconds, event time: the day of the features, from 00:00 UTC"),
    ]
    matured_at: Annotated[float, Meta(ge=0, le=LATEST_S, description="epoch seconds, event time: as_of + horizon")]
    horizon_days: Literal[30, 90]
    feature_set: Annotated[str, Meta(description="digest of the feature names, in order")]
    features: tuple[Annotated[float, Meta(ge=-FEATURE_LIMIT, le=FEATURE_LIMIT)], ...]
    bought: Annotated[bool, Meta(description="a purchase within the horizon after the moment of the features")]
    purchases: Annotated[int, Meta(ge=0, le=10**9)]
    spend: Annotated[float, Meta(ge=0, le=1e17, description="gross, in units of the shop's currency (not minor units)")]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Label)


def encode_label(label: Label) -> bytes:
    """The body of a `model-train` record."""
    return _encoder.encode(label)


def decode_label(body: bytes) -> Label:
    """Raises msgspec.DecodeError or UnicodeDecodeError where `body` is no label."""
    return _decoder.decode(body)


class Origin(NamedTuple):
    """Which place a label has in the order in which its partition's labels are written, however often it is sent.

    Attributes:
        changelog: Kafka's id of the changelog.
        partition: the customer's partition.
        offset: the changelog offset that its chunk of records followed.
        number: its place among the labels of its chunk, from 0.
    """

    changelog: str
    partition: int
    offset: int
    number: int

    @property
    def source(self) -> str:
        """What the order is of: a partition of a changelog."""
        return f"{self.changelog}/{self.partition}"

    @property
    def place(self) -> tuple[int, int]:
        """The place in the order: higher is later."""
        return self.offset, self.number

    def header(self) -> tuple[str, bytes]:
        """The header of the label's record."""
        return ORIGIN_HEADER, f"{self.changelog}/{self.partition}/{self.offset}/{self.number}".encode()

    @classmethod
    def of(cls, headers: Iterable[tuple[str, bytes | None]]) -> Self | None:
        """The origin in a record's headers; None: it has none, as with a label of an earlier release, or none that is one.

        >>> Origin.of([Origin("abc", 3, 700, 1).header()])
        Origin(changelog='abc', partition=3, offset=700, number=1)
        """
        value = dict(headers).get(ORIGIN_HEADER)
        try:
            changelog, *numbers = (value or b"").decode().split("/")
            partition, offset, number = (int(each) for each in numbers)
        except ValueError:
            return None
        return cls(changelog, partition, offset, number) if changelog else None

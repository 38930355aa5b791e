"""Matured labels (`model-train`), the records of the learning loop. Snapshots: see `models.learning.snapshots`."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

# In this order wherever scores are a row of numbers.
SCORES = ("p_purchase_30d", "p_purchase_90d", "expected_purchases_90d", "expected_spend_90d")


class Label(Struct, frozen=True):
    """What one customer went on to do after a moment whose features were kept.

    Delivered at least once; equal `label_id`, equal bytes.
    """

    label_id: Annotated[str, Meta(description="<pseudonym>:<as_of epoch seconds>:<horizon_days>")]
    as_of: Annotated[float, Meta(description="epoch seconds, event time: the moment of the features")]
    matured_at: Annotated[float, Meta(description="epoch seconds, event time: as_of + horizon")]
    horizon_days: Literal[30, 90]
    feature_set: Annotated[str, Meta(description="digest of the feature names, in order")]
    features: tuple[float, ...]
    bought: Annotated[bool, Meta(description="a purchase in (as_of, as_of + horizon]; one at as_of is a feature")]
    purchases: Annotated[int, Meta(ge=0)]
    spend: Annotated[float, Meta(ge=0, description="gross, in units of the shop's currency (not minor units)")]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Label)


def encode_label(label: Label) -> bytes:
    """The body of a `model-train` record."""
    return _encoder.encode(label)


def decode_label(body: bytes) -> Label:
    """Raises msgspec.DecodeError where `body` is no label."""
    return _decoder.decode(body)

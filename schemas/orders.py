"""What somebody wants served, whatever the evidence: the record `orders` of the topic `model-snapshots`."""

import msgspec
from msgspec import Struct

ORDERS_KEY = b"orders"


class Orders(Struct, frozen=True):
    """Target -> contestant that is to be served; of other targets evidence decides. New fields get defaults."""

    pinned: dict[str, str] = {}


def encode_orders(orders: Orders) -> bytes:
    """The record's value."""
    return msgspec.json.encode(orders)


def decode_orders(value: bytes | None) -> Orders:
    """The orders in a record's value; none where there is no record, or it can't be read.

    >>> decode_orders(encode_orders(Orders({"p_purchase_30d": "mine"}))).pinned, decode_orders(b"{").pinned
    ({'p_purchase_30d': 'mine'}, {})
    """
    try:
        return Orders() if value is None else msgspec.json.decode(value, type=Orders)
    except msgspec.DecodeError:
        return Orders()

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


def decode_orders(value: bytes | None) -> Orders | None:
    """The orders in a record's value: none of them where there is no record; None where it can't be read.

    >>> decode_orders(encode_orders(Orders({"p_purchase_30d": "mine"})))
    Orders(pinned={'p_purchase_30d': 'mine'})
    >>> decode_orders(None), decode_orders(b"{")
    (Orders(pinned={}), None)
    """
    try:
        return Orders() if value is None else msgspec.json.decode(value, type=Orders)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None

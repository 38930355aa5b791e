"""How a record's key differs from `customer_id`: by kind, never with either of them."""

import base64
import binascii
import json
import unicodedata
import uuid
from collections.abc import Mapping
from typing import Any

from schemas.mistakes.formats import REGISTRY_PREFIX_BYTES

STRING_KEY = "write the key with a string serializer"


def difference(key: bytes, customer_id: str, event: Mapping[str, Any]) -> tuple[str, str]:
    """What `key` is compared with `customer_id`, and the way out.

    Args:
        key: the record's.
        customer_id: the event's.
        event: the other fields; a key that equals one of them is the commonest mistake.

    >>> difference(b'"anna"', "anna", {})[0]
    'the key is customer_id in double quotes'
    """
    try:
        text = key.decode()
    except UnicodeDecodeError:
        text = None
    return _as_bytes(key, customer_id) or (
        ("the key is not UTF-8", STRING_KEY) if text is None else _as_text(text, customer_id, event)
    )


def _as_bytes(key: bytes, customer_id: str) -> tuple[str, str] | None:
    if customer_id.isdecimal() and len(customer_id) < 20 and len(key) in (4, 8):
        number = int(customer_id)
        for order, name in (("big", "big-endian"), ("little", "little-endian")):
            if int.from_bytes(key, order) == number:  # type: ignore[arg-type]
                return f"the key is customer_id as a binary integer of {len(key)} bytes ({name})", STRING_KEY
    if len(key) == 16:
        try:
            if uuid.UUID(customer_id).bytes == key:
                return "the key is customer_id as the 16 bytes of a UUID", STRING_KEY
        except ValueError:
            pass
    if len(key) > REGISTRY_PREFIX_BYTES and key[0] == 0:
        return "the key begins with a schema registry's prefix (a zero byte, a schema id)", STRING_KEY
    if key in (customer_id.encode("utf-16-le"), customer_id.encode("utf-16-be"), customer_id.encode("utf-16")):
        return "the key is customer_id in UTF-16", "write UTF-8"
    try:
        if key == customer_id.encode("latin-1"):
            return "the key is customer_id in Latin-1", "write UTF-8"
    except UnicodeEncodeError:
        pass
    return None


def _as_text(key: str, customer_id: str, event: Mapping[str, Any]) -> tuple[str, str]:
    if (quoted := _as_json(key, customer_id)) is not None:
        return quoted
    same = "write both from one value"
    for name, value in event.items():
        if value == key and name.endswith("_id"):
            return f"the key is the event's {name}", "the key must be customer_id"
    if key.strip("\0 \t\r\n\ufeff") == customer_id.strip("\0 \t\r\n\ufeff"):
        longer = key if len(key) > len(customer_id) else customer_id
        kind = _margin(longer)
        return f"{'the key' if longer is key else 'customer_id'} has {kind} that the other has not", same
    folded = {key.casefold(), customer_id.casefold()}
    if len(folded) == 1:
        return "the key is customer_id in another case (capital and small letters)", same
    if unicodedata.normalize("NFKC", key) == unicodedata.normalize("NFKC", customer_id):
        return "the key is customer_id in another Unicode form (NFC, NFD)", same
    if key.lstrip("0") == customer_id.lstrip("0"):
        return "the key and customer_id differ in leading zeros", same
    if key.replace("-", "").casefold() == customer_id.replace("-", "").casefold():
        return "the key and customer_id differ in hyphens", same
    try:
        if base64.b64decode(key, validate=True) == customer_id.encode():
            return "the key is customer_id in Base64", STRING_KEY
    except (binascii.Error, ValueError):
        pass
    if key.endswith(customer_id) or key.startswith(customer_id):
        return "the key is customer_id with something before or after it", same
    if customer_id.endswith(key) or customer_id.startswith(key):
        return "customer_id is the key with something before or after it", same
    return "the key is another text than customer_id", "the key must be customer_id"


def _as_json(key: str, customer_id: str) -> tuple[str, str] | None:
    if key == f"'{customer_id}'":
        return "the key is customer_id in single quotes", STRING_KEY
    try:
        parsed = json.loads(key)
    except (ValueError, RecursionError):
        return None
    if parsed == customer_id:
        return "the key is customer_id in double quotes", f"{STRING_KEY}, not as JSON"
    if isinstance(parsed, dict):
        return "the key is a JSON object", f"{STRING_KEY}: customer_id alone"
    return None


def _margin(text: str) -> str:
    if "\n" in text or "\r" in text:
        return "a line end"
    if "\0" in text:
        return "a zero byte"
    return "a byte order mark" if "\ufeff" in text else "white space at an end"

"""How a look-up of a customer is named in a log: by a digest that only the installation's secret leads back to."""

from hashlib import blake2b

from streams.keys import key_for
from streams.settings import Settings


def lookup_key(settings: Settings) -> bytes:
    """The key of the digests; another one than that of the pseudonyms in `model-train`.

    Raises:
        WrongSetting: there is no secret, or it is too short.
    """
    return key_for(settings, "look-ups")


def digest_of(customer_id: str, key: bytes) -> str:
    """The customer in a log, 16 hex digits."""
    return blake2b(customer_id.encode("utf-8", "replace"), key=key, digest_size=8).hexdigest()

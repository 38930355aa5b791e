"""How a look-up of a customer is named in a log: by a digest that only the installation's secret leads back to."""

from hashlib import blake2b

from streams.keys import key_for
from streams.settings import Settings

USE = "look-ups"


def digest_of(settings: Settings, customer_id: str) -> str:
    """16 hex digits, keyed by the secret; another digest than the customer's pseudonym in `model-train`.

    Raises:
        WrongSetting: there is no secret, or it is too short.
    """
    return blake2b(customer_id.encode("utf-8", "replace"), key=key_for(settings, USE), digest_size=8).hexdigest()

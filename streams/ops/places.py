"""Every place that can hold something about a customer: the topics, and what lies outside of Kafka.

`regulars access` reads the topics by this list. A test holds it to `schemas.topics`: a new topic needs its line here.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
from aiokafka.structs import ConsumerRecord

from schemas.actions import ACTION_ID_LIMIT_CHARS
from schemas.events import CLICKSTREAM, ERASURES, PURCHASES, REVIEWS
from schemas.topics import (
    ACTION_REWARDS,
    ACTIONS,
    CAMPAIGNS,
    CHANGELOG,
    CUSTOMER_SEGMENTS,
    DEAD_LETTERS,
    MODEL_SNAPSHOTS,
    MODEL_TRAIN,
    OUTCOMES,
    POLICIES,
    SEGMENT_CHANGES,
)


class CustomerNames(NamedTuple):
    """One customer, and how they are named in other topics.

    Attributes:
        customer_id: exact, as in the events.
        pseudonym: gives the name in `model-train` of a customer id, or of `<campaign>:<customer id>` in `action-rewards`.
    """

    customer_id: str
    pseudonym: Callable[[str], str]

    @property
    def key(self) -> bytes:
        """The customer's key in most topics."""
        return self.customer_id.encode()


Ownership = Callable[[CustomerNames, ConsumerRecord], bool]


class Place(NamedTuple):
    """One topic that holds something about customers.

    Attributes:
        topic: as `schemas.topics` declares it.
        used_for: what the records are used for.
        reached_by: how a customer's records are recognized, in words.
        owns: whether a record is about a customer.
        every_partition: whether all partitions are read; else that of the customer's key alone, because only workers
            write the topic.
    """

    topic: str
    used_for: str
    reached_by: str
    owns: Ownership
    every_partition: bool = True


class UnreadPlace(NamedTuple):
    """A place that cannot be read from here, or that holds nothing about a customer.

    Attributes:
        place: its name.
        holds: what it holds of a customer.
        why: why it is not read.
    """

    place: str
    holds: str
    why: str


class _Body(msgspec.Struct):
    customer_id: object = None
    action_id: object = None


_body = msgspec.json.Decoder(_Body)


def has_key(names: CustomerNames, record: ConsumerRecord) -> bool:
    """Whether the record's key is the customer id."""
    return bool(record.key == names.key)


def has_key_or_names(names: CustomerNames, record: ConsumerRecord) -> bool:
    """Whether the record's key is the customer id, or its value names the customer: a producer may have confused them."""
    return has_key(names, record) or _names(record.value, names.customer_id)


def has_label_key(names: CustomerNames, record: ConsumerRecord) -> bool:
    """Whether the record's key begins with the customer's pseudonym."""
    key: bytes | None = record.key
    return key is not None and key.startswith(names.pseudonym(names.customer_id).encode() + b":")


def has_reward_key(names: CustomerNames, record: ConsumerRecord) -> bool:
    """Whether the record's key begins with the customer's pseudonym in the campaign that the key names."""
    pseudonym, _, rest = (record.key or b"").decode(errors="replace").partition(":")
    campaign = rest.rpartition(":")[0]
    return bool(campaign) and pseudonym == names.pseudonym(f"{campaign}:{names.customer_id}")


def has_letter(names: CustomerNames, record: ConsumerRecord) -> bool:
    """Whether a dead letter is of the customer: of an event, or of a label that the trainer refused."""
    return has_key_or_names(names, record) or has_label_key(names, record)


def _names(value: bytes | None, customer_id: str) -> bool:
    raw = customer_id.encode()
    # Without a backslash JSON writes an id as its UTF-8 bytes. So few records need to be parsed.
    if value is None or (raw not in value and b"\\" not in value):
        return False
    try:
        body = _body.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b'"' + raw + b'"' in value  # no JSON: whatever has the id as a whole string
    if isinstance(body.customer_id, str | int) and str(body.customer_id) == customer_id:
        return True
    action = body.action_id
    return isinstance(action, str) and action[:ACTION_ID_LIMIT_CHARS].rsplit(":", 2)[0] == customer_id


_OF_PRODUCERS = "key, or `customer_id` in the value; all partitions, because producers write here"
_OF_WORKERS = "key; the partition of the key, because only workers write here"

PLACES: tuple[Place, ...] = (
    Place(
        PURCHASES,
        "your purchases and refunds, as the shop sent them: they make the segments and forecasts",
        _OF_PRODUCERS,
        has_key_or_names,
    ),
    Place(
        CLICKSTREAM,
        "what you did in the shop, as the shop sent it: it makes the segments and forecasts",
        _OF_PRODUCERS,
        has_key_or_names,
    ),
    Place(
        REVIEWS,
        "what you wrote, as the shop sent it: its mood and subject enter the forecasts as numbers",
        _OF_PRODUCERS,
        has_key_or_names,
    ),
    Place(
        ERASURES,
        "requests to erase you; until a setting says no, they can also stand among the purchases",
        _OF_PRODUCERS,
        has_key,
    ),
    Place(
        CHANGELOG,
        "sums and times made of your events: everything that segments and forecasts are computed from",
        _OF_WORKERS,
        has_key,
        every_partition=False,
    ),
    Place(
        CUSTOMER_SEGMENTS,
        "where you stand now: segments, forecasts, profile. The shop's CRM reads it",
        _OF_WORKERS,
        has_key,
        every_partition=False,
    ),
    Place(
        SEGMENT_CHANGES,
        "each move from one segment to another, with its reasons. The shop's CRM acts on it",
        _OF_WORKERS,
        has_key,
        every_partition=False,
    ),
    Place(
        ACTIONS,
        "what campaigns decided about you, with the probabilities. The shop's CRM carries it out",
        _OF_WORKERS,
        has_key,
        every_partition=False,
    ),
    Place(
        OUTCOMES,
        "what became of those decisions: sent, opened, clicked and so on. Campaigns are reported with it",
        "key, or `customer_id` or `action_id` in the value; all partitions, because the CRM writes here",
        has_key_or_names,
    ),
    Place(
        ACTION_REWARDS,
        "what you bought after a decision, under a pseudonym per campaign: campaigns are measured and learn with it",
        "pseudonym of the customer in each campaign; all partitions",
        has_reward_key,
    ),
    Place(
        MODEL_TRAIN,
        "what you bought after a moment, with the features of that moment, under a pseudonym: models learn from it",
        "pseudonym of the customer; all partitions",
        has_label_key,
    ),
    Place(
        DEAD_LETTERS,
        "records that were refused, as they came: they are corrected and sent again. They count nowhere",
        "key, `customer_id` in the value, the id as a whole string where the value is no JSON, or pseudonym; all partitions",
        has_letter,
    ),
)

#: Topics without a record per customer, by what they hold instead.
IMPERSONAL: dict[str, str] = {
    MODEL_SNAPSHOTS: "weights that were learnt from all customers' labels, and who is served",
    POLICIES: "documents of the shop: where one segment ends and the next begins",
    CAMPAIGNS: "documents of the shop, and weights that were learnt from all customers' rewards",
}

ELSEWHERE: tuple[UnreadPlace, ...] = (
    UnreadPlace(
        "local stores of workers (REGULARS_DATA_DIR)",
        "the same state as in the changelog. Copies of damaged stores (`.set-aside`) may hold an older one",
        "they lie on the workers' disks, and a running worker holds their lock",
    ),
    UnreadPlace(
        "text caches (REGULARS_CACHE_DIR)",
        "vectors of texts under a keyed digest of the text, without ids",
        "nothing there leads to a customer; who has the text and the secret can look for its digest",
    ),
    UnreadPlace(
        "memory of workers",
        "the latest 1,000 changes on the page `/api/changes`; all of them are in segment-changes",
        "it is another process's, and is lost when that ends",
    ),
    UnreadPlace(
        "logs",
        "a line for each look-up of the customer in the pages, under the digest that `named_as` shows",
        "they are wherever the shop collects them; search them for that digest",
    ),
    UnreadPlace(
        "brokers' disks",
        "records that were replaced or deleted, until Kafka compacts or deletes their segment files",
        "Kafka gives no reader what it has compacted",
    ),
    UnreadPlace(
        "models",
        "what was learnt from the labels stays in the weights",
        "weights are of all customers together; no part of them is one customer's",
    ),
    UnreadPlace(
        "files and systems of the shop",
        "exports (`state export`), reports (`report shop` lists customers to win back), backups, the CRM",
        "Regulars does not know where they are",
    ),
)

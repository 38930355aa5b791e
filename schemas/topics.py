"""Every topic of the product, declared once: its name, records, key, partitions, retention, writers and readers.

`streams.kafka.topics` makes and checks the topics by this, `schemas.documents` describes them by this. The names of the
three input topics stand with their events, in `schemas.events`.
"""

from typing import NamedTuple

from schemas.events import CLICKSTREAM, ERASURES, PURCHASES, REVIEWS

MIB = 1024 * 1024

# Stands in a topic's name for the setting `app_id`.
APP_ID = "{appId}"

SEGMENT_CHANGES = "segment-changes"
CUSTOMER_SEGMENTS = "customer-segments"
DEAD_LETTERS = "dead-letters"
ACTIONS = "actions"
ACTION_REWARDS = "action-rewards"
OUTCOMES = "outcomes"
MODEL_TRAIN = "model-train"
CHANGELOG = f"{APP_ID}-customers-changelog"
MODEL_SNAPSHOTS = "model-snapshots"
POLICIES = "policies"
CAMPAIGNS = "campaigns"

CUSTOMER_KEY = "customer id, UTF-8"


class Declaration(NamedTuple):
    """One topic.

    Attributes:
        name: without the prefix.
        record: the message of the AsyncAPI document that it carries.
        summary: what it carries, in a sentence.
        key: what a record's key is.
        writers: who writes it.
        readers: who reads it.
        by_customer: as many partitions as the setting `partitions`, by customer; otherwise one partition.
        is_compacted: Kafka keeps the latest record of each key. Otherwise it deletes old records, and a record's age
            counts from its arrival: a replay carries event times of years ago and would be deleted at once.
        kept_days: how long records are kept; None: as long as the cluster's default says. A compacted topic then deletes
            both what was replaced and what is old.
        compacted_within_days: how soon a replaced record must be gone from the brokers' disks; None: left to the cluster.
        nulls_days: how long a compacted topic keeps a null after compaction, for readers that were away; None: a day.
        limit_bytes: the largest record that it takes; None: the cluster's default, 1 MiB.
    """

    name: str
    record: str
    summary: str
    key: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    by_customer: bool = True
    is_compacted: bool = False
    kept_days: int | None = None
    compacted_within_days: int | None = None
    nulls_days: int | None = None
    limit_bytes: int | None = None

    @property
    def is_input(self) -> bool:
        """Whether a shop's systems write it."""
        return "shop" in self.writers


# An event has at most 64 KiB. A larger record still has to reach a worker to become a dead letter, up to this size.
_INPUT_LIMIT_BYTES = 2 * MIB
# What an erased customer's null replaces is on the brokers' disks until they compact, and by default they may never do so.
# A week is their default (segment.ms) for closing the part of a topic that they write to.
_ERASED_WITHIN_DAYS = 7
_MONTH_DAYS = 30
# A learner that begins anew learns the labels of these days; the one that goes on from its snapshot needs none of them.
_LABEL_DAYS = 90
# A campaign is reported from its rewards alone; few run for longer than a year under one name.
_REWARD_DAYS = 365

TOPICS = (
    Declaration(
        CLICKSTREAM,
        "click",
        "What customers do in the shop.",
        CUSTOMER_KEY,
        writers=("shop",),
        readers=("worker",),
        limit_bytes=_INPUT_LIMIT_BYTES,
    ),
    Declaration(
        PURCHASES,
        "purchase",
        "Purchases and refunds.",
        CUSTOMER_KEY,
        writers=("shop",),
        readers=("worker",),
        limit_bytes=_INPUT_LIMIT_BYTES,
    ),
    Declaration(
        REVIEWS,
        "review",
        "Reviews and messages to support.",
        CUSTOMER_KEY,
        writers=("shop",),
        readers=("worker", "regulars encoder"),
        limit_bytes=_INPUT_LIMIT_BYTES,
    ),
    Declaration(
        ERASURES,
        "erasure",
        "Requests to erase customers: an empty value with the header `regulars-erase` (RFC 3339).",
        CUSTOMER_KEY,
        writers=("regulars erase",),
        readers=("worker",),
    ),
    Declaration(
        SEGMENT_CHANGES,
        "segment-change",
        "Every move of a customer, in order, for 30 days.",
        CUSTOMER_KEY,
        writers=("worker",),
        readers=("CRM", "regulars explain"),
        kept_days=_MONTH_DAYS,
    ),
    Declaration(
        CUSTOMER_SEGMENTS,
        "standing",
        "Where each customer stands: compacted; null: an erased customer (header `regulars-sequence`: their last).",
        CUSTOMER_KEY,
        writers=("worker",),
        readers=("CRM", "regulars explain", "regulars erase"),
        is_compacted=True,
        compacted_within_days=_ERASED_WITHIN_DAYS,
        nulls_days=_MONTH_DAYS,  # as the log: who was away for less learns of each erasure
    ),
    Declaration(
        ACTIONS,
        "action",
        "What campaigns decided about customers, `none` included, for 30 days.",
        CUSTOMER_KEY,
        writers=("worker",),
        readers=("CRM", "regulars campaign"),
        kept_days=_MONTH_DAYS,
    ),
    Declaration(
        ACTION_REWARDS,
        "reward",
        "What came of each decision, when its days are over; null: of an erased customer.",
        "pseudonym of the customer in this campaign, campaign and n, colons between them",
        writers=("worker",),
        readers=("regulars campaign",),
        is_compacted=True,
        kept_days=_REWARD_DAYS,
        compacted_within_days=_ERASED_WITHIN_DAYS,
    ),
    Declaration(
        OUTCOMES,
        "outcome",
        "What became of actions, as the system says that carried them out, for 30 days.",
        CUSTOMER_KEY,
        writers=("CRM",),
        readers=("regulars campaign",),
        kept_days=_MONTH_DAYS,
    ),
    Declaration(
        DEAD_LETTERS,
        "dead-letter",
        "Records that are no events, as they came, for 30 days; of one over 2 MiB the beginning.",
        "as it came",
        writers=("worker", "trainer"),
        readers=("regulars dead-letters",),
        kept_days=_MONTH_DAYS,
        limit_bytes=4 * MIB,
    ),
    Declaration(
        MODEL_TRAIN,
        "label",
        "What customers went on to do; one partition; null: a label of an erased customer.",
        "customer pseudonym, a colon and a digest of the label's period and horizon",
        writers=("worker",),
        readers=("trainer",),
        by_customer=False,
        is_compacted=True,
        kept_days=_LABEL_DAYS,
        compacted_within_days=_ERASED_WITHIN_DAYS,
    ),
    Declaration(
        CHANGELOG,
        "customer-state",
        "Each customer's state: 8 bytes float64, little-endian (when to look again), then schemas/layout.py; compacted.",
        CUSTOMER_KEY,
        writers=("worker",),
        readers=("worker", "regulars state", "regulars explain", "regulars policy", "regulars campaign"),
        is_compacted=True,
        compacted_within_days=_ERASED_WITHIN_DAYS,
        limit_bytes=_INPUT_LIMIT_BYTES,
    ),
    Declaration(
        MODEL_SNAPSHOTS,
        "model-snapshot",
        "What workers score with; one partition, compacted.",
        "dynamic: the default model; challenger:TARGET:NAME: a shop's own; orders: what is to be served",
        writers=("trainer", "regulars models"),
        readers=("worker", "trainer", "regulars policy", "regulars explain", "regulars models"),
        by_customer=False,
        is_compacted=True,
        limit_bytes=4 * MIB,
    ),
    Declaration(
        POLICIES,
        "policy",
        "What segments are; one partition, compacted.",
        "policy name, or shadow: a policy that is only compared",
        writers=("regulars policy",),
        readers=("worker", "regulars policy", "regulars campaign"),
        by_customer=False,
        is_compacted=True,
    ),
    Declaration(
        CAMPAIGNS,
        "campaign",
        "Who gets what; one partition, compacted.",
        "campaign name; paused:<name>: it decides about nobody until that is null; weights:<name>: what was learnt",
        writers=("regulars campaign",),
        readers=("worker", "regulars campaign"),
        by_customer=False,
        is_compacted=True,
    ),
)

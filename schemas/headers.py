"""Every header of the product that is neither CloudEvents' nor a producer's own: the names are reserved.

`LETTER_HEADERS`, `TRUNCATED_HEADER` and `REPLAYED_HEADER` stand on dead letters; the docs/ pages describe the others.
"""

# Of a clock record, which has no key: event time in its partition has reached this moment (RFC 3339).
CLOCK_HEADER = "regulars-clock"
# Of an erasure, which has no value: the customer of its key is erased as of this moment (RFC 3339).
ERASE_HEADER = "regulars-erase"
# Of an erasure in `erasures`: what the event topics held when it was sent, as JSON: topic -> end offset of the customer's
# partition. Records before these offsets lie before the erasure, whatever their event times say.
ERASE_BEFORE_HEADER = "regulars-erase-before"
# Of the null of an erased customer in `customer-segments`: the moment (RFC 3339), and the highest sequence number that any
# of their changes had.
ERASED_AT_HEADER, SEQUENCE_HEADER = "regulars-erased-at", "regulars-sequence"
# Of any event, if its producer sets it: the name of the program that sent it. Dead letters are grouped by it.
PRODUCER_HEADER = "regulars-producer"
# Of a record of the simulated shop.
SYNTHETIC_HEADER = "regulars-synthetic"
# Of a label in `model-train`: where it was written first (`schemas.learning.Origin`).
ORIGIN_HEADER = "regulars-origin"
# Of a policy: what was served before it.
HISTORY_HEADER = "regulars-history"

# Of a dead letter, after the record's own headers: where the record was (topic, partition, offset), and why it was refused.
LETTER_HEADERS = (
    TOPIC_HEADER := "regulars-topic",
    PARTITION_HEADER := "regulars-partition",
    OFFSET_HEADER := "regulars-offset",
    REASON_HEADER := "regulars-reason",
    FIELD_HEADER := "regulars-field",
    DETAIL_HEADER := "regulars-detail",
)
# Of a dead letter that was cut: how many bytes the record had, as `key=5 value=20000000 headers=0`.
TRUNCATED_HEADER = "regulars-truncated"
# Of a record that was sent back: topic/partition/offset at which it was refused first.
REPLAYED_HEADER = "regulars-replayed-from"

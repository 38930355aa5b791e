"""Laws of the topic `policies`: a worker that restarts serves what one serves that ran on."""

from collections.abc import Sequence

import msgspec
import pytest
from aiokafka.structs import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from models.policy import Policy, parse, read
from schemas.headers import HISTORY_HEADER
from streams.kafka.documents import MOST_VERSIONS
from streams.kafka.errors import InfrastructureFailure
from streams.policy.published import SHADOW_KEY, newest_readable

READABLE = [read().replace('version: "1"', f'version: "{n}"') for n in range(2, 6)]
UNREADABLE = [f"{document}\nof_a_later_release: {n}\n" for n, document in enumerate(READABLE * 6)]


class Topic:
    """The topic as records come into it; `compact` is what Kafka does some day."""

    def __init__(self) -> None:
        self.records: list[ConsumerRecord] = []
        self.history: list[tuple[float, str]] = []

    def publish(self, document: str, key: bytes = b"default") -> None:
        """As `regulars policy publish` does."""
        known = [version for version in self.history if version[1] != document]
        self.history = [(float(len(self.records)), document), *known][:MOST_VERSIONS]
        self.put(key, document.encode(), [(HISTORY_HEADER, msgspec.msgpack.encode(self.history))])

    def put(self, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """As another client does."""
        record = ConsumerRecord("policies", 0, len(self.records), 0, 0, key, value, None, 0, 0, tuple(headers))
        self.records.append(record)

    def compact(self) -> None:
        """Leaves the latest record of each key."""
        latest = {record.key: record for record in self.records}
        self.records = [record for record in self.records if latest[record.key] is record]


def label_of(policy: Policy | None) -> str | None:
    """The policy's name and version; None: the default or a file."""
    return None if policy is None else policy.label


@given(
    st.lists(
        st.tuples(st.sampled_from(READABLE + UNREADABLE[:4]), st.sampled_from([b"default", b"spring"])), max_size=9
    ),
    st.booleans(),
)
def test_a_restart_serves_what_was_served_before_it(published: list[tuple[str, bytes]], compacted: bool) -> None:
    """Whatever is refused between, under whatever key, and whether the topic was compacted meanwhile or not."""
    topic, served = Topic(), None
    for document, key in published:
        topic.publish(document, key)
        if document in READABLE:
            served = parse(document).label
    topic.put(SHADOW_KEY, READABLE[0].encode())
    if compacted:
        topic.compact()
    assert label_of(newest_readable(topic.records)) == served


def test_what_another_client_wrote_leaves_the_records_before_it() -> None:
    """It carries no history; a tombstone takes nothing back, as a worker that runs takes none for a policy."""
    topic = Topic()
    topic.publish(READABLE[0])
    topic.put(b"default", b"no policy")
    topic.put(b"default", b"\xff\xfe")
    topic.put(b"default", None)
    assert label_of(newest_readable(topic.records)) == "default-2"


@pytest.mark.parametrize("value", [b"no policy", None])
def test_where_nobody_can_tell_what_was_served_a_worker_does_not_start(value: bytes | None) -> None:
    """Neither a document without history nor a tombstone says what stood there before: one line with the way out."""
    topic = Topic()
    topic.publish(READABLE[0])
    topic.put(b"default", value)
    topic.compact()
    with pytest.raises(
        InfrastructureFailure, match=r"policies: none .* at offset 1\); .*`regulars policy publish FILE`"
    ):
        newest_readable(topic.records)


def test_the_way_out_leads_out() -> None:
    """Once a policy that can be read is published, a worker starts."""
    topic = Topic()
    topic.put(b"default", b"no policy")
    topic.publish(READABLE[0])
    assert label_of(newest_readable(topic.records)) == "default-2"


def test_more_refused_versions_than_a_record_carries_are_not_taken_for_the_first() -> None:
    """A full history says nothing of what was before it."""
    topic = Topic()
    topic.publish(READABLE[0])
    for document in UNREADABLE[:MOST_VERSIONS]:
        topic.publish(document)
    topic.compact()
    with pytest.raises(InfrastructureFailure):
        newest_readable(topic.records)

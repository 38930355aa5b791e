"""Laws of the job between Kafka's records and the step: who waits for texts, and who must not."""

import json
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from histories import START_S
from schemas.events import INPUT_TOPICS
from schemas.stored import decode_state
from schemas.times import DAY_S, to_rfc3339
from scoring_desk import AT, Desk, Record
from streams.kafka.changelog import PARTITION_KEY


def test_an_unread_text_holds_back_its_customer_and_nobody_else() -> None:
    """Others' clicks count at once; what follows of the same customer waits behind the text, in the same chunk too."""
    desk = Desk()
    work = desk.take(desk.click("a", 1), desk.click("a", 2, "red shoes"), desk.click("a", 3), desk.click("b", 4))
    assert [record.offset for record in work.held] == [1, 2]
    assert (desk.clicks("a"), desk.clicks("b")) == (1, 1)
    later = desk.take(desk.click("a", 5), desk.click("b", 6))
    assert [record.offset for record in later.held] == [4]
    assert (desk.clicks("a"), desk.clicks("b")) == (1, 2)
    desk.serve()
    assert desk.clicks("a") == 3
    desk.serve()
    assert desk.clicks("a") == 4
    assert desk.take(desk.click("a", 7)).held == []
    assert desk.clicks("a") == 5


def test_a_text_is_read_as_far_as_it_counts_and_what_was_cut_is_counted() -> None:
    """Up to the limit a text is read whole; each longer one is cut to it, and counts."""
    desk = Desk()

    desk.take(desk.click("a", 1, "x" * 8_192), desk.click("b", 2, "y" * 8_193), desk.click("c", 3, "z" * 20_000))

    texts = [text for waiting in desk.waiting for _, _, text in waiting.entries]
    assert texts == ["x" * 8_192, "y" * 8_192, "z" * 8_192]
    assert desk.job.texts_cut == 2


def test_a_purchase_in_another_currency_counts_and_is_counted_once() -> None:
    """At face value, as no rate is known; a retry, a replayed record and the policy's own currency are none."""
    desk = Desk()

    def purchase(number: int, currency: str, kind: str = "purchase") -> Record:
        event = {"event_id": f"{kind}{number}", "customer_id": "a", "event_time": AT.format(number), "type": kind}
        event |= {"order_id": f"o{number}", "amount_minor": 100, "currency": currency}  # type: ignore[dict-item]
        desk.offset += 1
        return Record("purchases", 0, desk.offset, b"a", json.dumps(event).encode())

    foreign = purchase(1, "JPY")
    desk.take(foreign, purchase(1, "JPY"), purchase(2, "GBP"), purchase(3, "EUR", "refund"))
    desk.take(foreign)

    assert desk.job.foreign == {"purchases": 2}
    assert decode_state(desk.states[b"a"]).spend_minor == 200


def test_a_clock_record_before_1990_is_a_letter_and_moves_no_time() -> None:
    """A zero time is no time; the letter says so."""
    desk = Desk()
    work = desk.take(Record("purchases", 0, 0, None, b"", [("regulars-clock", b"0001-01-01T00:00:00Z")]))

    assert dict(work.dead_letters[0].headers)["regulars-reason"] == b"clock"
    assert b"zero time" in dict(work.dead_letters[0].headers)["regulars-detail"]
    assert desk.job.parts[0].clock.kept(1) is None


@pytest.mark.parametrize("gone", [False, True])
def test_changes_are_seen_when_they_are_delivered_and_by_their_owner_alone(gone: bool) -> None:
    """Not when they are made: their chunk may wait long, or be dropped. Whoever has the partition next counts anew."""
    desk = Desk()
    work = desk.job.decode(0, [desk.click("a", 1)])  # type: ignore[list-item]
    effects = desk.job.step(0, work, [None])
    bodies = [out.value for put in effects.puts for out in put.outputs if out.topic == "segment-changes"]
    assert bodies
    assert desk.witness.seen == []
    assert effects.delivered is not None
    if gone:
        desk.job.revoked(0)
        list(desk.job.restored(0, iter(())))
    effects.delivered()
    assert desk.witness.seen == ([] if gone else bodies)


def test_a_text_read_before_waits_for_nothing() -> None:
    """From the cache it joins the state with its chunk."""
    desk = Desk("red shoes")
    assert desk.take(desk.click("a", 1, "red shoes"), desk.click("a", 2)).held == []
    state = decode_state(desk.states[b"a"])
    assert state.clicks == 2
    assert state.voice is not None
    assert state.voice.weight_60d > 0


def test_partition_time_waits_for_a_held_event() -> None:
    """Silence isn't judged beyond an event that was taken from the broker and hasn't been heard yet."""
    desk = Desk()
    for topic in ("purchases", "reviews"):
        header = [("regulars-clock", b"2024-01-02T00:00:00Z")]
        desk.take(Record(topic, 0, 0, b"", b"", header))
    desk.take(desk.click("a", 1, "red shoes"), desk.click("b", 9))
    part = desk.job.parts[0]
    held_at = desk.waiting[0].entries[0][1].at
    assert part.now() == held_at
    desk.serve()
    assert part.now() == held_at + 8


class Shop(Desk):
    """A desk whose records lie in topics, so that it can be left at any moment and begun anew."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.ends = Counter[str]()
        super().__init__()

    def live(self, day: int, what: str, customer: str) -> None:
        """One event on that day; `time`: clock records instead; `read`: all texts so far are read."""
        at = to_rfc3339(START_S + day * DAY_S)
        event = {"event_id": f"e{self.offset}", "customer_id": customer, "event_time": at, "type": what}
        self.offset += 1
        if what == "time":
            for name in INPUT_TOPICS:
                self._send(name, None, b"", ("regulars-clock", at.encode()))
        elif what == "read":
            while self.waiting:
                self.serve()
        elif what in ERASES:
            topic, ago = ERASES[what]
            as_of = to_rfc3339(START_S + (day - ago) * DAY_S)
            before = json.dumps({name: self.ends[name] for name in INPUT_TOPICS}).encode()
            headers = [("regulars-erase", as_of.encode()), ("regulars-erase-before", before)]
            self._send(topic, customer, None, *headers[: 1 + (topic == "erasures")])
        elif what == "purchase":
            self._send("purchases", customer, event | {"order_id": "o", "amount_minor": 5000, "currency": "GBP"})
        elif what == "review":
            self._send("reviews", customer, event | {"text": "as always"})
        else:
            self._send("clickstream", customer, event | {"session_id": "s", "query": "red shoes"})
        self.silence()

    def _send(
        self, topic: str, key: str | None, value: bytes | dict[str, object] | None, *headers: tuple[str, bytes]
    ) -> None:
        body = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
        record = Record(topic, 0, self.ends[topic], None if key is None else key.encode(), body, headers)
        self.records.append(record)
        self.ends[topic] += 1
        self.take(record)

    def crash(self) -> None:
        """Nothing is left but what was stored and committed; silence comes before the first poll."""
        committed = dict(self.ends)
        for record in (record for waiting in self.waiting for record in waiting.records):
            committed[record.topic] = min(committed[record.topic], record.offset)
        self.start()
        self.silence()
        for record in self.records:
            if record.offset >= committed[record.topic]:
                self.take(record)  # type: ignore[arg-type]
                self.silence()


# In which topic, and as of how many days ago: the second and fourth leave what was held since then to come after it.
ERASES = {
    "erase": ("erasures", 0),
    "erase the old": ("erasures", 30),
    "erase in purchases": ("purchases", 0),
    "erase the old in purchases": ("purchases", 30),
}
LIVES = st.lists(
    st.tuples(
        st.integers(0, 60),  # days since the one before
        st.sampled_from(("view", "search", "purchase", "review", "time", "time", "read", *ERASES)),
        st.sampled_from("ab"),
        st.booleans(),  # whether the worker crashes then
    ),
    max_size=10,
)


@given(LIVES)
@example([(1, "purchase", "a", False), (19, "search", "a", False), (100, "time", "a", True), (0, "read", "a", False)])
@example([(1, "purchase", "a", False), (9, "search", "a", False), (1, "erase", "a", True), (9, "purchase", "a", True)])
def test_a_crash_while_texts_are_unread_moves_nobody_otherwise(lives: list[tuple[int, str, str, bool]]) -> None:
    """Silence doesn't judge beyond an event that was held and must be polled again."""
    spared, struck, day = Shop(), Shop(), 0
    for shop in (spared, struck):
        shop.live(0, "time", "a")
    for days, what, customer, crashes in [*lives, (0, "read", "a", False), (400, "time", "a", False)]:
        day += days
        for shop in (spared, struck):
            shop.live(day, what, customer)
        if crashes:
            struck.crash()
    assert sorted(struck.written, key=str) == sorted(spared.written, key=str)
    assert struck.states == spared.states
    assert {key: value is None for key, value in struck.table.items()} == {
        key: decode_state(value).is_erased for key, value in struck.states.items() if key != PARTITION_KEY
    }
    # What is counted as it happens is what a restart counts.
    live, again = struck.job.parts[0], struck.witness.segments.by_dimension()
    struck.start()
    restored = struck.job.parts[0]
    assert (live.customers, set(live.due), again) == (
        restored.customers,
        set(restored.due),
        struck.witness.segments.by_dimension(),
    )


def test_a_topic_made_anew_counts_from_its_start_and_what_comes_again_of_it_does_not() -> None:
    """Its offsets begin at 0 again; the id says that its records are other ones, also after the next start."""
    desk = Desk()
    desk.job.topic_ids = {"clickstream": "a" * 32}
    list(desk.job.restored(0, iter(())))
    for second in range(5):
        desk.take(desk.click("anna", second))
    for at_start in (0, 3):
        desk.start()
        desk.job.topic_ids = {"clickstream": "b" * 32}
        list(desk.job.restored(0, iter(sorted(desk.states.items()))))
        desk.offset = at_start
        for n in range(3):
            record = desk.click("anna", 5 + n)
            event = json.loads(record.value or b"") | {"event_id": f"new{at_start + n}"}
            anew = record._replace(value=json.dumps(event).encode())
            desk.take(anew)
            desk.take(anew)
    assert desk.clicks("anna") == 5 + 6


def test_an_erasure_reaches_the_labels_of_a_customer() -> None:
    """Every label that was written of them has a null after it; those of others stay, and so do those of a new life."""
    shop = Shop()
    for customer in ("gone", "stays"):
        shop.live(0, "purchase", customer)
    shop.live(200, "time", "")
    written = {key for key, value in shop.labels.items() if value is not None}
    shop.live(200, "erase", "gone")
    gone = {key for key in written if shop.labels[key] is None}
    pseudonym = shop.job.pseudonym("gone").encode()

    assert gone == {key for key in written if key.startswith(pseudonym)}
    assert 0 < len(gone) < len(written)

    shop.live(201, "purchase", "gone")
    shop.live(300, "time", "")
    assert any(key.startswith(pseudonym) for key, value in shop.labels.items() if value is not None)

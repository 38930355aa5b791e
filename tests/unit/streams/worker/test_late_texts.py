"""What the log says of a customer whose first event waits for the encoder while a later one is processed."""

import json
from typing import Any

from schemas.states import decode_state
from scoring_desk import AT, Desk, Record


def _record(topic: str, second: int, **fields: Any) -> Record:
    event = {"event_id": f"{topic}{second}", "customer_id": "a", "event_time": AT.format(second), **fields}
    return Record(topic, 0, second, b"a", json.dumps(event).encode())


def test_a_purchase_that_overtakes_the_first_text_begins_the_log() -> None:
    """The customer begins as a buyer: no `prospect` is told afterwards, and the text counts when it is read."""
    desk = Desk()
    text = _record("reviews", 1, type="review", text="never seen before")
    purchase = {"type": "purchase", "order_id": "o", "amount_minor": 30_000, "currency": "GBP"}

    desk.take(text)
    assert not desk.written, "the text waits, so nothing is known of the customer"
    desk.take(_record("purchases", 2, **purchase))
    before = [change for change in desk.written if getattr(change, "dimension", "") == "lifecycle"]
    desk.serve()
    after = [change for change in desk.written if getattr(change, "dimension", "") == "lifecycle"]

    assert [(change.previous, change.current) for change in before] == [(None, "active")]  # type: ignore[attr-defined]
    assert after == before
    state = decode_state(desk.states[b"a"])
    assert (state.reviews, state.purchases) == (1, 1)
    assert state.first_event_at < (state.first_purchase_at or 0.0)


def test_events_of_one_topic_never_overtake_each_other() -> None:
    """A click behind a search that waits for its reading waits, too: order within a topic is kept."""
    desk = Desk()

    desk.take(desk.click("a", 1, "red shoes"), desk.click("a", 2))
    assert desk.clicks("a") == 0
    desk.serve()

    assert desk.clicks("a") == 2

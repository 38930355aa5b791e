"""What a worker accepts though nobody meant it is counted, logged with its place, and refused where a setting says so."""

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from schemas.states import decode_state
from scoring_desk import AT, SETTINGS, Desk, Record


def _purchase(offset: int, number: int, customer: str = "a", amount: int = 100, currency: str = "GBP") -> Record:
    event: dict[str, Any] = {"event_id": f"p{number}", "customer_id": customer, "event_time": AT.format(number)}
    event |= {"type": "purchase", "order_id": f"o{number}", "amount_minor": amount, "currency": currency}
    return Record("purchases", 0, offset, customer.encode(), json.dumps(event).encode())


def _reasons(letters: Any) -> list[tuple[bytes, bytes]]:
    headers = [dict(letter.headers) for letter in letters]
    return [(each["regulars-reason"], each["regulars-field"]) for each in headers]


@pytest.mark.parametrize("chunks", [1, 2])
def test_an_event_id_with_another_amount_is_told_apart_from_a_retry(chunks: int) -> None:
    """A retry is equal; what differs is a second event that nobody counts, so it is counted apart and logged."""
    desk = Desk()
    records = [_purchase(0, 1), _purchase(1, 1), _purchase(2, 1, amount=250), _purchase(3, 2)]
    batches = [records] if chunks == 1 else [records[:2], records[2:]]

    with capture_logs() as logs:
        counts = sum((desk.take(*batch).counts for batch in batches), start=type(desk.take().counts)())

    assert (counts[1, "applied"], counts[1, "duplicate"], counts[1, "conflict"]) == (2, 1, 1)
    (log,) = [each for each in logs if "another content" in each["event"]]
    assert (log["topic"], log["partition"], log["offset"], log["differs"]) == ("purchases", 0, 2, ["amount"])
    assert "250" not in str(log)
    assert decode_state(desk.states[b"a"]).spend_minor == 200


def test_the_first_purchase_of_each_foreign_currency_is_logged_with_its_place() -> None:
    """A counter says that there is one; the log says whose it is."""
    desk = Desk()

    with capture_logs() as logs:
        desk.take(_purchase(0, 1), _purchase(1, 2, currency="JPY"), _purchase(2, 3, currency="JPY"))
        desk.take(_purchase(3, 4, currency="EUR"))

    foreign = [each for each in logs if "another currency" in each["event"]]
    assert [(each["currency"], each["partition"], each["offset"]) for each in foreign] == [("JPY", 0, 1), ("EUR", 0, 3)]


def test_foreign_currency_is_refused_where_the_setting_says_so() -> None:
    """1,000 yen are not 10.00 pounds: a shop may choose a dead letter instead."""
    desk = Desk(settings=SETTINGS.model_copy(update={"foreign_currency": "refuse"}))

    work = desk.take(_purchase(0, 1), _purchase(1, 2, currency="JPY"))

    assert _reasons(work.dead_letters) == [(b"schema", b"$.currency")]
    assert b"GBP" in dict(work.dead_letters[0].headers)["regulars-detail"]
    assert decode_state(desk.states[b"a"]).spend_minor == 100


@pytest.mark.parametrize(("case", "refused"), [("any", []), ("lower", [b"Anna"]), ("upper", [b"Anna", b"anna"])])
def test_ids_of_another_case_are_refused_where_the_setting_says_so(case: str, refused: list[bytes]) -> None:
    """Without it `Anna` and `anna` are two customers; the key decides the partition, so none is rewritten."""
    desk = Desk(settings=SETTINGS.model_copy(update={"customer_id_case": case}))

    work = desk.take(_purchase(0, 1, "Anna"), _purchase(1, 2, "anna"), _purchase(2, 3, "17850"))

    assert [letter.key for letter in work.dead_letters] == refused
    assert set(_reasons(work.dead_letters)) <= {(b"schema", b"$.customer_id")}
    assert not any(b"nna" in dict(letter.headers)["regulars-detail"] for letter in work.dead_letters)


def test_a_free_order_is_a_purchase() -> None:
    """Its customer has bought: the lifecycle begins, and the spend stays what it was."""
    desk = Desk()

    work = desk.take(_purchase(0, 1, amount=0))

    state = decode_state(desk.states[b"a"])
    assert not work.dead_letters
    assert (state.purchases, state.spend_minor) == (1, 0)
    assert state.segments["lifecycle"].segment == "active"
    assert all(number == number for number in state.scores)

"""What an integrator reads beside the segments: CloudEvents headers, currency, ranks, and since when."""

import json
from typing import Any

from models.policy import Rules, load
from models.standing import standing
from schemas.changes import Versions, decode_standing
from schemas.states import decode_state
from scoring_desk import AT, Desk, Record


def _outputs(desk: Desk, *records: Record) -> dict[str, list[tuple[dict[str, str], dict[str, Any]]]]:
    """Headers and bodies of what a chunk writes, by topic."""
    work = desk.job.decode(0, records)  # type: ignore[arg-type]
    effects = desk.job.step(0, work, [desk.states.get(key) for key in work.keys])
    desk.states.update({put.key: put.value for put in effects.puts if put.value is not None})
    written: dict[str, list[tuple[dict[str, str], dict[str, Any]]]] = {}
    for topic, _, value, headers in (output for put in effects.puts for output in put.outputs):
        names = {name: content.decode() for name, content in headers}
        written.setdefault(topic, []).append((names, json.loads(value or b"null")))
    return written


def _purchase(offset: int, amount: int) -> Record:
    event: dict[str, Any] = {"event_id": f"p{offset}", "customer_id": "a", "event_time": AT.format(offset)}
    event |= {"type": "purchase", "order_id": "o", "amount_minor": amount, "currency": "GBP"}
    return Record("purchases", 0, offset, b"a", json.dumps(event).encode())


def test_a_change_can_be_filtered_by_its_headers() -> None:
    """Dimension, previous and current are CloudEvents extensions; the first move of a dimension has no previous."""
    desk = Desk()

    written = _outputs(desk, desk.click("a", 0)) | {}
    later = _outputs(desk, _purchase(1, 30_000))

    for headers, body in (*written["segment-changes"], *later["segment-changes"]):
        assert headers["ce_dimension"] == body["dimension"]
        assert headers["ce_current"] == body["current"]
        assert headers.get("ce_previous") == body["previous"]
    assert any("ce_previous" in headers for headers, _ in later["segment-changes"])


def test_a_change_names_currency_and_the_way_that_it_goes() -> None:
    """Up or down is the order of two ranks; nobody has to know the policy for that."""
    desk = Desk()
    _outputs(desk, desk.click("a", 0))

    changes = [body for _, body in _outputs(desk, _purchase(1, 30_000))["segment-changes"]]

    value = next(body for body in changes if body["dimension"] == "value")
    assert value["currency"] == "GBP"
    assert value["previous_rank"] == 0
    assert value["rank"] == {"low": 0, "mid": 1, "high": 2}[value["current"]] > 0


def test_a_standing_is_a_cloudevent_and_says_since_when() -> None:
    """Its id tells two standings apart, its segments have the time at which they were entered."""
    desk = Desk()

    ((headers, body),) = _outputs(desk, _purchase(1, 30_000))["customer-segments"]

    assert headers["ce_type"] == "regulars.standing.v1"
    assert headers["ce_id"] == f"a:{body['sequence']}:{body['as_of']}"
    assert headers["ce_time"] == body["as_of"]
    assert headers["ce_subject"] == "a"
    assert headers["content-type"] == "application/json"
    assert body["since"] == dict.fromkeys(body["segments"], AT.format(1))
    assert (body["currency"], body["unit_minor"]) == ("GBP", 100)
    assert set(body["ranks"]) == set(body["segments"])
    assert "retired" not in body


def test_a_standing_says_until_when_a_dwell_holds() -> None:
    """The default policy holds `value` for a day from its entry; days since a purchase have no dwell."""
    desk = Desk()

    ((_, body),) = _outputs(desk, _purchase(1, 30_000))["customer-segments"]

    assert body["held_until"] == {"value": AT.format(1).replace("2024-01-01", "2024-01-02")}


def test_a_dimension_that_the_policy_dropped_is_retired_in_the_standing() -> None:
    """Its segment is the last that was told, and nobody takes it for a current one."""
    desk = Desk()
    _outputs(desk, _purchase(1, 30_000))
    policy = Rules(load()).policy
    fewer = type(policy)(policy.name, "2", tuple(each for each in policy.dimensions if each.name != "value"))

    record = standing("a", decode_state(desk.states[b"a"]), Versions("p-2", "prior", "none"), fewer)

    assert record.retired == ("value",)
    assert "value" in record.segments
    assert "value" not in record.ranks


def test_a_standing_of_the_release_before_is_read() -> None:
    """Fields that came later have defaults."""
    old = decode_standing(
        b'{"customer_id":"a","sequence":1,"segments":{},"scores":{},"profile":{"recency_days":null,"frequency":0,'
        b'"monetary_minor":null,"purchases":0,"refunds":0,"spend_minor":0,"refunded_minor":0,"clicks":0,"reviews":0,'
        b'"first_purchase_at":null,"last_purchase_at":null,"last_event_at":null},"next":null,'
        b'"versions":{"policy":"p","model":"m","encoder":"e"},"as_of":"2024-05-01T00:00:00Z"}'
    )

    assert (old.since, old.currency, old.ranks, old.retired) == ({}, None, {}, ())

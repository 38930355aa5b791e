"""The judge of replays, judged: it passes what is right and finds each kind of fault."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from tests.acceptance.verify_replay import (
    expected_lifecycle,
    expected_states,
    fold,
    lifecycle_differences,
    read_invoices,
    standing_differences,
    state_differences,
)

START = pd.Timestamp("2011-01-01T10:00:00Z")
SHARED = Path(os.environ.get("REGULARS_SHARED", Path(__file__).resolve().parents[4] / "shared")) / "data"


def after(days: float, seconds: int = 0) -> pd.Timestamp:
    """A moment so long after the start."""
    return START + pd.Timedelta(days=days, seconds=seconds)


def invoices(*rows: tuple[str, pd.Timestamp, bool]) -> pd.DataFrame:
    """Invoices of 1.00 by (customer, time, refund)."""
    frame = pd.DataFrame(rows, columns=["customer_id", "at", "refund"])
    return frame.assign(minor=100)


def lifecycle(frame: pd.DataFrame, last: pd.Timestamp) -> list[tuple[float, object, str, str]]:
    """What must happen, as (days after the start, previous, current, kind)."""
    return [
        (
            (row.at - START) / pd.Timedelta(days=1),
            None if pd.isna(row.previous) else row.previous,
            row.current,
            row.kind,
        )
        for row in expected_lifecycle(frame, last).itertuples()
    ]


def log_of(frame: pd.DataFrame) -> list[tuple[bytes, bytes]]:
    """A log of changes as a right worker would write it."""
    records = []
    for customer, rows in frame.groupby("customer_id", sort=False):
        for sequence, row in enumerate(rows.itertuples(), start=1):
            stamp = row.at.isoformat()
            cause = {"kind": row.kind} | ({"due_at": stamp} if row.kind == "silence" else {})
            body = {
                "change_id": f"{customer}:{sequence}",
                "customer_id": customer,
                "sequence": sequence,
                "dimension": "lifecycle",
                "previous": None if pd.isna(row.previous) else row.previous,
                "current": row.current,
                "changed_at": stamp,
                "cause": cause,
            }
            records.append((str(customer).encode(), json.dumps(body).encode()))
    return records


def test_silence_falls_due_and_purchase_brings_back() -> None:
    """Active, at risk after 30 days, lapsed after 90, active again with the next purchase."""
    frame = invoices(("a", START, False), ("a", after(100), False))
    assert lifecycle(frame, after(101)) == [
        (0.0, None, "active", "event"),
        (30.0, "active", "at_risk", "silence"),
        (90.0, "at_risk", "lapsed", "silence"),
        (100.0, "lapsed", "active", "event"),
    ]


def test_purchase_at_the_due_second_comes_first() -> None:
    """Exactly 30 days is no silence; a second more is."""
    assert len(lifecycle(invoices(("a", START, False), ("a", after(30), False)), after(31))) == 1
    assert len(lifecycle(invoices(("a", START, False), ("a", after(30, 1), False)), after(31))) == 3


def test_due_at_the_last_clock_does_not_fire() -> None:
    """Event time must go past a due moment."""
    assert len(lifecycle(invoices(("a", START, False)), after(30))) == 1
    assert len(lifecycle(invoices(("a", START, False)), after(30, 1))) == 2


def test_refund_first_makes_a_prospect_until_the_first_purchase() -> None:
    """A refund alone buys nothing."""
    frame = invoices(("a", START, True), ("a", after(1), False), ("a", after(2), True))
    assert lifecycle(frame, after(3)) == [(0.0, None, "prospect", "event"), (1.0, "prospect", "active", "event")]


def test_right_log_has_no_differences() -> None:
    """Also where a change is delivered twice."""
    frame = invoices(("a", START, False), ("b", after(1), True), ("a", after(50), False))
    expected = expected_lifecycle(frame, after(60))
    records = log_of(expected)
    log = fold([*records, records[0]])
    standings = {
        customer: json.dumps({"segments": log.segments[customer], "sequence": log.sequences[customer]}).encode()
        for customer in log.segments
    }
    assert log.repeats == 1
    assert log.faults == []
    assert lifecycle_differences(expected, log) == []
    assert standing_differences(log, standings) == []


@pytest.mark.parametrize("position", range(4))
def test_lost_change_is_found(position: int) -> None:
    """One record less in the log is a difference, whichever it is."""
    expected = expected_lifecycle(invoices(("a", START, False), ("a", after(100), False)), after(101))
    records = log_of(expected)
    del records[position]
    assert lifecycle_differences(expected, fold(records)) != []


def test_hole_and_second_body_are_found() -> None:
    """A missing sequence, and one id with two bodies."""
    expected = expected_lifecycle(invoices(("a", START, False), ("a", after(100), False)), after(101))
    records = log_of(expected)
    other = records[0][1].replace(b"active", b"lapsed")
    assert any("sequence 3 follows 1" in fault for fault in fold([records[0], *records[2:]]).faults)
    assert fold([*records, (records[0][0], other)]).faults == ["('a', 1): delivered with two bodies"]


def test_change_a_second_off_is_found() -> None:
    """To the second means to the second."""
    expected = expected_lifecycle(invoices(("a", START, False)), after(40))
    late = expected.assign(at=expected["at"] + pd.Timedelta(seconds=1))
    assert len(lifecycle_differences(expected, fold(log_of(late)))) == 2


def test_standing_that_is_not_the_fold_is_found() -> None:
    """Erased, other segments, or a customer of whom the log knows nothing."""
    log = fold(log_of(expected_lifecycle(invoices(("a", START, False)), START)))
    right = json.dumps({"segments": {"lifecycle": "active"}, "sequence": 1}).encode()
    assert standing_differences(log, {"a": right}) == []
    assert len(standing_differences(log, {"a": None})) == 1
    assert len(standing_differences(log, {"a": right.replace(b"active", b"lapsed")})) == 1
    assert len(standing_differences(log, {"a": right, "b": right})) == 1


def test_wrong_missing_and_extra_states_are_found() -> None:
    """Each wrong cell, each customer too few or too many."""
    expected = expected_states(invoices(("a", START, False), ("a", after(1), True), ("b", START, True)))
    assert state_differences(expected, expected.copy()) == []
    wrong = expected.copy()
    wrong.loc["a", "spend_minor"] += 1
    wrong.loc["b", "first_purchase_at"] = START
    assert len(state_differences(expected, wrong)) == 2
    assert state_differences(expected, expected.drop("a")) == ["a: not exported"]
    assert state_differences(expected.drop("a"), expected) == ["a: not in the file"]


def test_real_file_gives_the_known_facts() -> None:
    """4,338 buyers, 18,532 purchases, 8,911,407.90 pounds, and 33 customers with refunds alone."""
    path = SHARED / "online_retail.parquet"
    if not path.exists():
        pytest.skip("needs online_retail.parquet in the data folder of REGULARS_SHARED")
    rows, last = read_invoices(path)
    states = expected_states(rows)
    assert int((states["purchases"] > 0).sum()) == 4_338
    assert int((states["purchases"] == 0).sum()) == 33
    assert int(states["purchases"].sum()) == 18_532
    assert int(states["spend_minor"].sum()) == 891_140_790
    assert last == pd.Timestamp("2011-12-09T12:50:00Z")

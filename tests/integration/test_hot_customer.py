"""One customer with thousands of waiting events, each of which moves them: the outbox of one step exceeds any record."""

import datetime as dt
from pathlib import Path

import pytest

from shop_worker import Shop, changes_of

pytestmark = pytest.mark.timeout(300)

CLICKS = 3_000
POLICY = """
name: hot
version: "1"
dimensions:
  - name: depth
    over: session_clicks
    segments: [{name: first}, {name: more, from: 2}]
"""


def test_a_hot_customer_is_worked_off_and_a_kill_loses_no_change(shop: Shop, tmp_path: Path) -> None:
    """A change per click, in two sessions by turns, without a hole, though the first worker dies before it sends any."""
    (tmp_path / "hot.yaml").write_text(POLICY)
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    for n in range(CLICKS):
        event = {
            "event_id": f"c{n}",
            "customer_id": "hot",
            "event_time": (start + dt.timedelta(seconds=n)).isoformat(),
            "type": "view",
            "session_id": f"s{n // 2}",
        }
        shop.send("clickstream", event)
    shop.flush()
    policy = str(tmp_path / "hot.yaml")
    killed = shop.start(REGULARS_POLICY=policy, REGULARS_CRASH_POINT="before_outputs:1")
    assert killed.wait(120) == -9

    worker = shop.start(REGULARS_POLICY=policy)
    shop.settle(worker, 180)
    assert shop.stop(worker) == 0

    changes = changes_of(shop.read("segment-changes"))["hot"]
    bodies = {body["sequence"]: body for body in changes}
    assert sorted(bodies) == list(range(1, CLICKS + 1))
    assert [bodies[n]["cause"]["event_id"] for n in sorted(bodies)] == [f"c{n}" for n in range(CLICKS)]

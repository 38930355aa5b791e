"""The drill's table and what it is judged by: rows name alerts that exist, and every alert has a row or a reason."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.drill import prometheus
from tests.drill.faults import FAULTS, UNDRILLED, Fault
from tests.drill.judging import VIEWS
from tests.drill.views import lag_words

RULES = yaml.safe_load((prometheus.DEPLOY / "prometheus-rules.yml").read_text("utf-8"))
ALERTS = {rule["alert"] for group in RULES["groups"] for rule in group["rules"]}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_a_row_names_alerts_and_views_that_exist(fault: Fault) -> None:
    """A name that nothing has would always be a miss, or never be one."""
    assert fault.expected.alerts | fault.expected.beside <= ALERTS
    assert not fault.expected.alerts & fault.expected.beside
    assert set(fault.expected.words) <= set(VIEWS)
    for pattern in fault.expected.words.values():
        re.compile(pattern)


def test_every_alert_is_drilled_or_has_a_reason_why_not() -> None:
    """An alert that somebody adds is broken for, or says in the table why it cannot be."""
    drilled = {alert for fault in FAULTS.values() for alert in fault.expected.alerts}

    assert drilled | set(UNDRILLED) == ALERTS
    assert not drilled & set(UNDRILLED)
    assert all(UNDRILLED.values())


def test_a_row_watches_for_as_long_as_its_page_may_take() -> None:
    """Else it would miss what comes in time. A broker that comes back after 110 s is gone by then."""
    short = {name for name, fault in FAULTS.items() if fault.expected.alerts and fault.watch_s < fault.expected.paged_s}

    assert short == {"broker-away-110-s"}


def test_prometheus_runs_the_shipped_rules_unchanged(tmp_path: Path) -> None:
    """Only where the pages are found is another; scrapes and evaluations are as often as shipped."""
    prometheus.write_configuration(tmp_path, {"regulars-worker": [1, 2], "regulars-trainer": [3]})

    shipped: dict[str, Any] = yaml.safe_load((prometheus.DEPLOY / "prometheus.yml").read_text("utf-8"))
    written: dict[str, Any] = yaml.safe_load((tmp_path / "prometheus.yml").read_text("utf-8"))
    assert written["global"] == shipped["global"]
    assert [job["static_configs"][0]["targets"] for job in written["scrape_configs"]] == [
        ["127.0.0.1:1", "127.0.0.1:2"],
        ["127.0.0.1:3"],
    ]
    for rules in shipped["rule_files"]:
        assert (tmp_path / rules).read_bytes() == (prometheus.DEPLOY / rules).read_bytes()


@pytest.mark.parametrize(
    ("seconds", "stalled_s", "words"),
    [
        (0.4, 0.0, ""),
        (None, 0.0, ""),
        (44.0, 2.0, "late: reviews"),
        (44.0, 31.0, "late: reviews; not moving: reviews"),
    ],
)
def test_the_lag_command_shows_what_is_late_and_what_stands_still(
    seconds: float | None, stalled_s: float, words: str
) -> None:
    """A topic is named once, without its prefix; what is not known is not late."""
    rows = [
        {"topic": "d1-reviews", "seconds": seconds, "stalled_s": stalled_s},
        {"topic": "d1-reviews", "seconds": seconds, "stalled_s": stalled_s},
        {"topic": "d1-purchases", "seconds": 0.1, "stalled_s": 0.0},
    ]
    assert lag_words({"partitions": rows}) == words

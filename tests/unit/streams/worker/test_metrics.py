"""Laws of the metrics page: the contract's names, labels and counts."""

import time
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from schemas.changes import Change, EventCause, SilenceCause, Trace, Versions
from streams.ops.lag import SAMPLE_LIMIT_S, LagMonitor, PartitionLag
from streams.settings import Settings
from streams.worker.latency import Latency
from streams.worker.metrics import Metrics, Outcome
from streams.worker.status import Counts

CONTRACT = {
    "regulars_events_total": {"topic", "outcome"},
    "regulars_lag_records": {"topic", "partition"},
    "regulars_lag_seconds": {"topic", "partition"},
    "regulars_change_latency_seconds_count": set(),
    "regulars_segment_changes_total": {"dimension", "previous", "current", "cause"},
    "regulars_encoder_texts_total": set(),
    "regulars_encoder_batch_tokens_count": set(),
    "regulars_learner_log_loss": {"model"},
    "regulars_learner_auc": {"model"},
    "regulars_restore_records_total": set(),
    "regulars_customers": set(),
}
# What the contract doesn't name: events that retention took, those in another currency, what alerts need beside the lag.
REFUSED = {"regulars_published_refused_total": {"topic"}}
LOST = {"regulars_events_lost_total": {"topic"}, "regulars_events_foreign_total": {"topic"}}
HEALTH = {
    "regulars_ready": set[str](),
    "regulars_clock_difference_seconds": set[str](),
    "regulars_lag_sample_age_seconds": set[str](),
    "regulars_topic_retention_seconds": {"topic"},
}
# How learning goes: what is served beside its rivals, versions taken back, drift.
LEARNING = {
    "regulars_scoreboard_loss": {"score", "model"},
    "regulars_learner_rollbacks": set(),
    "regulars_learner_drifts": {"score"},
}
TEXTS = {
    "regulars_texts_cut_total": set[str](),
    "regulars_text_cache_failures_total": set[str](),
    "regulars_texts_waiting": set[str](),
}
PROMISED = CONTRACT | REFUSED | LOST | HEALTH | LEARNING | TEXTS
AT = "2024-05-01T10:00:00Z"


def a_change(customer: str = "ada", cause: Any = None) -> Change:
    """A change of `customer` from low to mid."""
    cause = EventCause("purchases", 0, 1, "e1", "purchase") if cause is None else cause
    versions, trace = Versions("p", "m", "e"), Trace(AT, AT, AT)
    return Change(f"{customer}:1", customer, 1, "value", "low", "mid", AT, cause, {}, (), None, None, versions, trace)


@pytest.fixture
def metrics() -> Metrics:
    """Metrics with everything set once."""
    monitor = LagMonitor(Settings())
    monitor.sampled_at = time.time()
    metrics = Metrics(lag=monitor)
    row = PartitionLag("purchases", 3, 0, 10, 4, 6, 1.5, 0.0)
    monitor.lags = {(row.topic, row.partition): row}
    metrics.count_events("purchases", "applied", 7)
    metrics.count_changes([a_change("ada"), a_change("bob")], consumed_at_s=10.0, delivered_at_s=10.004)
    metrics.count_texts(3, 96)
    metrics.set_learner("p_purchase_30d", log_loss=0.4, auc=0.8)
    losses = {"p_purchase_30d": {"served": 0.4, "previous": 0.41, "rfm": 0.5, "bgnbd": 0.45}}
    metrics.set_scoreboard(losses, rollbacks=1, drifts={"p_purchase_30d": 2})
    metrics.set_retention({"purchases": 86_400_000})
    metrics.watch_customers(lambda: 42)
    metrics.watch_counts(lambda: Counts(11, {"purchases": 5}, {"purchases": 4}, texts_cut=5, cache_failures=6))
    return metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of the page by name and labels."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def test_page_has_the_contracts_names_and_labels(metrics: Metrics) -> None:
    """Each metric of the contract, of learning and of texts is there with exactly its labels."""
    labels = {name: {label for label, _ in page} for name, page in samples(metrics)}

    assert {name: labels.get(name) for name in PROMISED} == PROMISED


def test_page_has_nothing_beside_the_contract(metrics: Metrics) -> None:
    """No metric that nobody promised, no `_created` twins."""
    base = {name.removesuffix("_total").removesuffix("_count") for name in PROMISED}
    page = {name for name, _ in samples(metrics)}

    assert {
        n.removesuffix("_total").removesuffix("_count") for n in page if not n.endswith(("_bucket", "_sum"))
    } == base


def test_page_gives_the_counts_that_were_made(metrics: Metrics) -> None:
    """What was counted is what is shown."""
    page = samples(metrics)

    assert page["regulars_events_total", frozenset({("topic", "purchases"), ("outcome", "applied")})] == 7
    move = frozenset({("dimension", "value"), ("previous", "low"), ("current", "mid"), ("cause", "event")})
    assert page["regulars_segment_changes_total", move] == 2
    assert page["regulars_lag_records", frozenset({("topic", "purchases"), ("partition", "3")})] == 6
    assert page["regulars_customers", frozenset()] == 42
    assert page["regulars_events_foreign_total", frozenset({("topic", "purchases")})] == 4
    assert page["regulars_texts_cut_total", frozenset()] == 5
    assert page["regulars_text_cache_failures_total", frozenset()] == 6


def test_every_metric_and_outcome_is_explained_to_on_call() -> None:
    """`docs/operations.md` has each name, and each way in which an input record can end."""
    page = (Path(__file__).parents[4] / "docs" / "operations.md").read_text("utf-8")
    (outcomes,) = (line for line in page.splitlines() if line.startswith("| `regulars_events_total{topic,outcome}`"))

    assert [name for name in PROMISED if f"`{name.removesuffix('_count')}" not in page] == []
    assert [outcome for outcome in get_args(Outcome) if f"`{outcome}`" not in outcomes] == []


def test_a_contestant_that_is_not_judged_any_more_has_no_loss(metrics: Metrics) -> None:
    """After a version was taken back there is no previous one: its last loss doesn't stay beside the others' new ones."""
    metrics.set_scoreboard({"p_purchase_30d": {"served": 0.39}}, rollbacks=2, drifts={})

    shown = {dict(labels)["model"] for name, labels in samples(metrics) if name == "regulars_scoreboard_loss"}
    assert shown == {"served"}


def test_no_label_holds_a_customer(metrics: Metrics) -> None:
    """Customer ids stay out of the metrics."""
    assert b"ada" not in metrics.render()


def test_age_that_is_not_known_is_left_out(metrics: Metrics) -> None:
    """A gauge that nobody knows is absent instead of zero."""
    monitor = LagMonitor(Settings())
    monitor.sampled_at = time.time()
    monitor.lags = {("reviews", 0): PartitionLag("reviews", 0, 0, 5, None, 5, None, 0.0)}

    page = samples(Metrics(lag=monitor))

    where = frozenset({("topic", "reviews"), ("partition", "0")})
    assert ("regulars_lag_records", where) in page
    assert ("regulars_lag_seconds", where) not in page


@pytest.mark.parametrize("age_s", [SAMPLE_LIMIT_S + 1, None])
def test_a_lag_that_is_not_known_any_more_is_left_out(age_s: float | None) -> None:
    """While Kafka is away the figures of before would keep an alert silent; how old they are is told instead."""
    monitor = LagMonitor(Settings())
    monitor.lags = {("reviews", 0): PartitionLag("reviews", 0, 0, 5, None, 5, 1.0, 0.0)}
    monitor.sampled_at = None if age_s is None else time.time() - age_s

    page = samples(Metrics(lag=monitor))

    assert [name for name, _ in page if name in ("regulars_lag_records", "regulars_lag_seconds")] == []
    assert page["regulars_lag_sample_age_seconds", frozenset()] >= (0 if age_s is None else age_s)


def test_every_outcome_is_counted_from_zero() -> None:
    """A series that is born with its first rejected event at 1 has not risen, for Prometheus."""
    metrics = Metrics()
    metrics.expect_events(["clickstream", "purchases"])

    page = {labels: n for (name, labels), n in samples(metrics).items() if name == "regulars_events_total"}

    assert set(page.values()) == {0}
    assert len(page) == 2 * len(get_args(Outcome))


def test_retention_is_in_seconds_and_absent_where_records_are_kept_for_ever() -> None:
    """The alert divides an age by it: for ever must not be a number."""
    metrics = Metrics()
    metrics.set_retention({"purchases": 86_400_000, "reviews": None})

    page = metrics.render().decode()
    assert 'regulars_topic_retention_seconds{topic="purchases"} 86400.0' in page
    assert 'regulars_topic_retention_seconds{topic="reviews"}' not in page


def test_silence_has_no_latency() -> None:
    """A change that no record caused does not count as one that took long."""
    metrics = Metrics()

    metrics.count_changes([a_change(cause=SilenceCause(AT))], consumed_at_s=0.0, delivered_at_s=99.0)

    assert metrics.latency.percentile(0.5) is None
    assert metrics.changes == 1


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 50)), min_size=1, max_size=30))
def test_many_at_once_is_the_same_as_one_by_one(observed: list[tuple[float, int]]) -> None:
    """Counting n equal latencies at once gives the same buckets as n single ones."""
    at_once, singly = Latency("x", "x"), Latency("x", "x")
    for seconds, times in observed:
        at_once.observe(seconds, times)
        for _ in range(times):
            singly.observe(seconds, 1)

    assert buckets(at_once) == buckets(singly)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.floats(0.01, 1.0))
def test_percentile_is_a_latency_that_was_observed(latencies: list[float], share: float) -> None:
    """A percentile lies at an observation with at least that share at or below it."""
    latency = Latency("x", "x")
    for seconds in latencies:
        latency.observe(seconds, 1)

    percentile = latency.percentile(share)

    assert percentile in latencies
    assert sum(seconds <= percentile for seconds in latencies) >= share * len(latencies) - 1e-6


def buckets(latency: Latency) -> dict[str, float]:
    """Bucket counts by upper bound."""
    (family,) = latency.collect()
    return {s.labels["le"]: s.value for s in family.samples if s.name.endswith("_bucket")}

"""The backtest is the product: a replay through Kafka gives the same labels, features and forecasts."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.features import FEATURE_SET, NAMES, rows
from models.learning.backtest import Forecasts, History, forecasts_over
from models.learning.learner import Judged, Learner
from models.learning.scorer import SnapshotScorer
from models.learning.snapshots import decode_snapshot
from models.policy import Rules, load
from models.scores import PriorScorer
from schemas.learning import Label, decode_label
from schemas.stored import decode_state
from shop_worker import Shop
from streams.kafka.changelog import RESERVED
from streams.sources.registry import open_dataset

START, CUTOFF = pd.Timestamp("2010-12-01", tz="UTC"), pd.Timestamp("2011-04-01", tz="UTC")
SEED = 3


def purchases(customers: int = 40, days: int = 150) -> pd.DataFrame:
    """Purchases of customers with rates and amounts of their own, some at one moment, beyond the cut-off too."""
    rng = np.random.default_rng(8)
    found = [("c0", START + pd.Timedelta(hours=1), 20.0)]
    for customer in range(customers):
        gap, worth = rng.gamma(2.0, 12.0), rng.gamma(2.0, 20.0)
        at = rng.uniform(0, 40)
        while at < days:
            moment = START + pd.Timedelta(seconds=int(at * 86_400))
            found += [(f"c{customer}", moment, round(float(rng.gamma(4.0, worth / 4.0)) + 0.01, 2))] * rng.integers(
                1, 3
            )
            at += rng.exponential(gap) + 0.01
    return pd.DataFrame(found, columns=["customer_id", "purchased_at", "amount"])


class Telling(Learner):
    """Keeps the labels in the order in which it learnt them."""

    def __init__(self) -> None:
        super().__init__(NAMES, FEATURE_SET, PriorScorer())
        self.told: list[Label] = []

    def learn_many(self, labels: Any) -> list[Judged]:
        """As the learner, and remembers them."""
        self.told += labels
        return super().learn_many(labels)


def backtest(file: Path) -> tuple[Forecasts, Telling]:
    """Forecasts as of the cut-off, and what was learnt by then."""
    source = open_dataset("generic", file)
    learner = Telling()
    history = History(Rules(load()), learner, PriorScorer(), SEED)
    made = forecasts_over(source.items(0, len(source.times_s)), history)
    return next(each for each in made if each.as_of == CUTOFF.timestamp()), learner


def outcome(label: Label) -> tuple[Any, ...]:
    """All of a label but its id, in which live customers have pseudonyms."""
    return label.as_of, label.horizon_days, label.features, label.purchases, label.spend, label.matured_at, label.bought


def test_a_replay_through_kafka_gives_the_forecasts_of_the_backtest(shop: Shop, tmp_path: Path) -> None:
    """Replayed up to the cut-off through worker and trainer.

    The labels in model-train and the features of the states in the changelog equal the backtest's to the bit. Learnt in
    the order that the backtest's seed gives, so do the forecasts. What the trainer published is what these labels teach in
    the order of the topic, and nothing else.
    """
    file = tmp_path / "purchases.parquet"
    purchases().to_parquet(file)
    expected, learner = backtest(file)
    worker = shop.start()
    trainer = shop.start("streams.cli", "trainer", "--publish-interval", "0.5", name="trainer")

    told = shop.run("replay", "generic", str(file), "--to", f"{CUTOFF:%Y-%m-%d}")
    assert told.returncode == 0, told.stderr
    shop.settle(worker)
    count = len(learner.told)
    labels = [decode_label(m.value()) for m in Shop.until(lambda: _all_of(shop, count), worker)]
    snapshot = Shop.until(lambda: _snapshot(shop, count), trainer)
    assert shop.stop(worker) == 0
    assert shop.stop(trainer) == 0

    assert sorted(map(outcome, labels)) == sorted(map(outcome, learner.told))
    states = {
        m.key().decode(): decode_state(m.value())
        for m in shop.read(shop.settings.changelog_topic.removeprefix(shop.settings.topic_prefix))
        if m.value() is not None and not m.key().startswith(RESERVED)
    }
    known = sorted(customer for customer, state in states.items() if state.purchases)
    x = rows([states[customer] for customer in known], [expected.as_of] * len(known))
    assert known == expected.customer_ids
    again = Learner(NAMES, FEATURE_SET, PriorScorer())
    by_outcome = {outcome(label): label for label in labels}
    for label in learner.told:
        again.learn_one(by_outcome[outcome(label)])
    same_order = SnapshotScorer(again.snapshot(), PriorScorer()).score(x)
    np.testing.assert_array_equal(same_order, expected.scores)
    in_topic = Learner(NAMES, FEATURE_SET, PriorScorer())
    in_topic.learn_many(labels)
    live = SnapshotScorer(snapshot, PriorScorer()).score(x)
    np.testing.assert_allclose(live, SnapshotScorer(in_topic.snapshot(), PriorScorer()).score(x), rtol=1e-9)


def _all_of(shop: Shop, count: int) -> list[Any] | None:
    found = [message for message in shop.read("model-train") if message.value() is not None]
    return found if len(found) >= count else None


def _snapshot(shop: Shop, labels: int) -> Any:
    for message in shop.read("model-snapshots")[::-1]:
        snapshot = decode_snapshot(message.value(), FEATURE_SET)
        if snapshot.labels == labels:
            return snapshot
    return None

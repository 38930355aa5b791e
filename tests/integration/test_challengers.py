"""Laws of challengers on a real broker: they learn and are judged over restarts, and orders decide what is served."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from models import features
from models.learning.contest import Contest
from models.learning.course import Course
from models.learning.entries import decode_challenger
from models.learning.learner import Learner
from models.learning.plug import plugged
from models.learning.serving import ServedModel, key_of
from models.scores import PriorScorer
from schemas.orders import Orders
from schemas.topics import MODEL_SNAPSHOTS
from streams.kafka.broadcast import read_latest
from streams.kafka.topics import create
from streams.settings import Settings
from streams.training import orders
from streams.training.schedule import PublishSchedule
from tests.support.training import FEATURES, label, running, send_labels

WaitAsync = Callable[..., Awaitable[Any]]
MODELS = "adagrad,leaf-tree"
TARGET = "p_purchase_30d"


def by_hand(count: int) -> Course:
    """A course without Kafka, after so many labels."""
    contest = Contest(plugged(MODELS), features.NAMES)
    course = Course(Learner(features.NAMES, features.FEATURE_SET, PriorScorer()), contest=contest)
    course.learn([label(number) for number in range(count)], count)
    return course


def rows(seed: int = 0) -> Any:
    """Features of a few customers."""
    return np.random.default_rng(seed).uniform(size=(5, FEATURES))


async def test_challengers_go_on_over_a_restart_as_if_nothing_had_happened(
    settings: Settings, wait_until_async: WaitAsync
) -> None:
    """700 labels, a restart in between: evidence and forecasts are, to the bit, those of a course without Kafka."""
    await create(settings)
    await send_labels(settings, range(400))
    async with running(settings, PublishSchedule(400, 60.0), contenders=plugged(MODELS)) as trainer:
        await wait_until_async(lambda: trainer.published)
    await send_labels(settings, range(400, 700))
    async with running(settings, PublishSchedule(300, 60.0), contenders=plugged(MODELS)) as trainer:
        await wait_until_async(lambda: trainer.published)
        published = trainer.published

    expected = by_hand(700)
    assert published is not None
    assert published.contest == expected.contest.state()
    latest = await read_latest(settings, MODEL_SNAPSHOTS)
    for each in expected.contest.challengers:
        again = decode_challenger(latest[key_of(each.target, each.name)], features.NAMES, ())
        assert again.learnt == each.learnt > 0
        assert (again.forecast(rows(), np.zeros(5), 1.0) == each.forecast(rows(), np.zeros(5), 1.0)).all()


async def test_an_order_is_served_at_once_and_evidence_decides_again_after(
    settings: Settings, wait_until_async: WaitAsync
) -> None:
    """What a worker assembles of the topic forecasts the target by the challenger, stamps its name, and stops when told."""
    await create(settings)
    await send_labels(settings, range(600))

    async def served() -> ServedModel:
        model = ServedModel(features.FEATURE_SET, features.NAMES, PriorScorer(), MODELS)
        for key, value in (await read_latest(settings, MODEL_SNAPSHOTS)).items():
            model.take(key, value)
        return model

    async with running(settings, PublishSchedule(600, 60.0), contenders=plugged(MODELS)) as trainer:
        await wait_until_async(lambda: trainer.published)
        await orders.give(settings, Orders({TARGET: "adagrad", "expected_spend_90d": "nobody"}))
        await wait_until_async(lambda: trainer.published.served.get(TARGET) == "adagrad")
        model = await served()
        default = await asyncio.to_thread(lambda: by_hand(600))
        assert not model.problems
        assert f"+{TARGET}=adagrad-" in model.scorer.version
        assert "expected_spend_90d" not in trainer.published.served
        scores, usual = model.scorer.score(rows()), np.array([default.learner.predict_one(row) for row in rows()])
        assert (scores[:, 0] != usual[:, 0]).all()
        np.testing.assert_allclose(scores[:, 1:], usual[:, 1:], rtol=1e-9)

        await orders.give(settings, Orders({TARGET: "default"}))
        await wait_until_async(lambda: not trainer.published.served)
        assert (await served()).scorer.version == trainer.published.version

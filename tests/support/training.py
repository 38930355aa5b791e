"""Labels that differ, what a learner without Kafka makes of them, and a trainer that runs for a while."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from aiokafka import AIOKafkaProducer

from models import features
from models.learning.course import Course
from models.learning.learner import Learner
from models.learning.plug import Plugged
from models.learning.snapshots import Snapshot, decode_snapshot
from models.scores import PriorScorer
from schemas.learning import Label, encode_label
from schemas.topics import MODEL_SNAPSHOTS, MODEL_TRAIN
from streams.kafka.broadcast import read_latest
from streams.kafka.patience import PATIENCE_S
from streams.settings import Settings
from streams.training.checkpoint import SNAPSHOT_KEY, Beginner
from streams.training.schedule import PublishSchedule
from streams.training.trainer import Trainer

FEATURES = len(features.NAMES)


def label(number: int, feature_set: str = features.FEATURE_SET, width: int = FEATURES) -> Label:
    """One of a series; each differs from the others."""
    horizon: Literal[30, 90] = 30 if number % 2 else 90
    x = tuple(float((number * 7 + i * 3) % 11) / 10 for i in range(width))
    bought = int(number % 3 == 0)
    return Label(
        f"c{number}:0:{horizon}", 0.0, float(number), horizon, feature_set, x, bought > 0, bought, 20.0 * bought
    )


def direct(numbers: Sequence[int], next_offset: int) -> Snapshot:
    """What a learner without Kafka makes of these labels."""
    course = Course(Learner(features.NAMES, features.FEATURE_SET, PriorScorer()))
    course.learn([label(number) for number in numbers], next_offset)
    return course.snapshot()


async def send(settings: Settings, values: Sequence[bytes]) -> None:
    """Records of model-train, acked."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, acks="all")
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(settings.topic(MODEL_TRAIN), value, key=b"pseudonym")
    finally:
        await producer.stop()


async def send_labels(settings: Settings, numbers: Sequence[int]) -> None:
    """The labels of these numbers."""
    await send(settings, [encode_label(label(number)) for number in numbers])


async def last_snapshot(settings: Settings) -> Snapshot | None:
    """What a trainer that starts now would restore."""
    data = (await read_latest(settings, MODEL_SNAPSHOTS)).get(SNAPSHOT_KEY)
    return None if data is None else decode_snapshot(data, features.FEATURE_SET)


def trainer_of(
    settings: Settings, schedule: PublishSchedule, patience_s: float = PATIENCE_S, contenders: Sequence[Plugged] = ()
) -> Trainer:
    """A trainer as the command makes it."""
    beginner = Beginner(features.NAMES, features.FEATURE_SET, PriorScorer(), tuple(contenders))
    return Trainer(settings, beginner, schedule, patience_s=patience_s)


@asynccontextmanager
async def running(
    settings: Settings, schedule: PublishSchedule, contenders: Sequence[Plugged] = ()
) -> AsyncIterator[Trainer]:
    """A trainer that runs until the block ends; its failure is the test's."""
    trainer, stopping = trainer_of(settings, schedule, contenders=contenders), asyncio.Event()
    task = asyncio.create_task(trainer.run(stopping))
    try:
        yield trainer
    finally:
        stopping.set()
        await task


EACH = PublishSchedule(labels=1, interval_s=60.0)
NEVER = PublishSchedule(labels=10**9, interval_s=10**9)

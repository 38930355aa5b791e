"""Laws of the trainer's pages: health, and metrics that are absent where nothing is known."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from streams.settings import Settings
from streams.training.pages import SILENCE_LIMIT_S, TURN_LIMIT_S, State, TrainerView, mount, pages


@pytest.fixture
def view() -> TrainerView:
    """A trainer that has just started."""
    return TrainerView()


@pytest.fixture
async def client(view: TrainerView) -> AsyncIterator[TestClient[Any, Any]]:
    """A supervisor that looks at it."""
    app = web.Application()
    mount(app, view, Settings())
    async with TestClient(TestServer(app)) as client:
        yield client


async def values(client: TestClient[Any, Any]) -> dict[str, float]:
    """Name of a sample -> value, as Prometheus reads them."""
    text = await (await client.get("/metrics")).text()
    return {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}


async def reasons(client: TestClient[Any, Any]) -> tuple[int, list[str]]:
    """Status and reasons of /ready."""
    answer = await client.get("/ready")
    return answer.status, [reason["reason"] for reason in (await answer.json())["reasons"]]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("joining", (503, ["not-joined"])),
        ("taking over", (503, ["restoring"])),
        ("learning", (200, [])),
        ("spare", (200, [])),
    ],
)
async def test_who_learns_or_waits_as_a_spare_is_ready(
    view: TrainerView, client: TestClient[Any, Any], state: State, expected: tuple[int, list[str]]
) -> None:
    """Starting and taking over are reasons; being the second is none."""
    view.state = state

    assert await reasons(client) == expected
    assert (await values(client))["regulars_trainer_learning"] == (state == "learning")


async def test_a_silent_broker_is_a_reason(view: TrainerView, client: TestClient[Any, Any]) -> None:
    """A trainer that learns, and hasn't heard of the topic's end for too long."""
    view.state = "learning"
    view.answered_at = time.monotonic() - SILENCE_LIMIT_S - 1

    assert await reasons(client) == (503, ["lag-unknown"])
    view.answered(7)
    assert await reasons(client) == (200, [])


async def test_a_trainer_that_does_not_come_round_is_not_alive(view: TrainerView, client: TestClient[Any, Any]) -> None:
    """Waiting for Kafka is no reason; waiting for longer than any wait may last is."""
    view.beat_at = time.monotonic() - TURN_LIMIT_S + 20
    assert (await client.get("/live")).status == 200

    view.beat_at = time.monotonic() - TURN_LIMIT_S - 1
    assert (await client.get("/live")).status == 503


async def test_what_is_not_known_is_absent(view: TrainerView, client: TestClient[Any, Any]) -> None:
    """Lag and last publish have no value before there is one, and lag none while the end is unknown."""
    optional = {"regulars_trainer_lag_labels", "regulars_trainer_last_publish_timestamp_seconds"}
    assert not optional & set(await values(client))

    view.state = "learning"
    view.answered(50)
    view.count_learnt(20, next_offset=30)
    view.count_published(1_700_000_000.0)
    shown = await values(client)
    assert shown == {
        "regulars_trainer_labels_total": 20,
        "regulars_trainer_published_total": 1,
        "regulars_trainer_learning": 1,
        "regulars_trainer_lag_labels": 20,
        "regulars_trainer_last_publish_timestamp_seconds": 1_700_000_000.0,
    }

    view.end = None
    assert optional & set(await values(client)) == {"regulars_trainer_last_publish_timestamp_seconds"}


async def test_the_lag_is_never_below_zero(view: TrainerView) -> None:
    """What was learnt after the end was asked for isn't ahead of it."""
    view.answered(50)
    view.count_learnt(60, next_offset=60)

    assert view.lag == 0


async def test_pages_are_served_while_the_block_runs(view: TrainerView, free_port: int) -> None:
    """On the port that was asked for; a port that is taken raises at once; 0: no pages."""
    async with pages(view, Settings(trainer_web_port=free_port)), ClientSession() as session:
        assert (await session.get(f"http://127.0.0.1:{free_port}/live")).status == 200
        with pytest.raises(OSError, match=str(free_port)):
            async with pages(view, Settings(trainer_web_port=free_port)):
                pass
    async with pages(view, Settings(trainer_web_port=0)):
        pass

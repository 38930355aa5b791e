"""Laws of the worker's pages: paths, status codes, reasons."""

import asyncio
import base64
import dataclasses
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yarl
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiokafka import TopicPartition

from schemas.changes import encode_change
from streams.ops.lag import PartitionLag
from streams.worker.status import TextProgress
from streams.worker.view import TEXTS_LIMIT_S
from streams.worker.web import mount
from worker_pages import READY, StatedWorker, a_change


@pytest.fixture
def worker() -> StatedWorker:
    """A worker that is well."""
    return StatedWorker()


@pytest.fixture
async def client(worker: StatedWorker) -> AsyncIterator[TestClient[Any, Any]]:
    """A browser on its pages."""
    app = web.Application()
    mount(app, worker.view)
    async with TestClient(TestServer(app)) as client:
        yield client


async def reasons(client: TestClient[Any, Any]) -> tuple[int, list[str]]:
    """Status and reasons of /ready."""
    answer = await client.get("/ready")
    return answer.status, [reason["reason"] for reason in (await answer.json())["reasons"]]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/live",
        "/ready",
        "/metrics",
        "/api/lag",
        "/api/segments",
        "/api/shadow",
        "/api/worker",
        "/api/customers/ada%2F1",
    ],
)
async def test_every_page_of_the_contract_answers(client: TestClient[Any, Any], path: str) -> None:
    """Paths are as the contract has them, without a slash at the end."""
    assert (await client.get(path)).status == 200


async def test_well_worker_is_ready(client: TestClient[Any, Any]) -> None:
    """No reason, status 200."""
    assert await reasons(client) == (200, [])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"joined": False}, "not-joined"),
        ({"restoring": (1,)}, "restoring"),
        ({"unread": ("policies",)}, "broadcast-unread"),
    ],
)
async def test_unfinished_worker_is_not_ready(
    worker: StatedWorker, client: TestClient[Any, Any], change: dict[str, Any], reason: str
) -> None:
    """Each thing that isn't there yet is a 503 that names it."""
    worker.now = dataclasses.replace(READY, **change)

    assert await reasons(client) == (503, [reason])


async def test_stalled_partition_of_ours_is_not_ready(worker: StatedWorker, client: TestClient[Any, Any]) -> None:
    """Records wait and nothing has been committed for too long."""
    worker.lags(PartitionLag("purchases", 1, 0, 9, 2, 7, 40.0, 31.0))

    assert await reasons(client) == (503, ["stalled"])


async def test_stalled_partition_of_another_is_not_our_reason(
    worker: StatedWorker, client: TestClient[Any, Any]
) -> None:
    """A worker answers for its own partitions."""
    worker.lags(PartitionLag("purchases", 7, 0, 9, 2, 7, 40.0, 31.0))

    assert await reasons(client) == (200, [])


async def test_a_backlog_of_texts_is_a_note_and_no_reason(worker: StatedWorker, client: TestClient[Any, Any]) -> None:
    """Nothing of that topic partition is committed for minutes; others of the same number still count as stalled."""
    worker.now = dataclasses.replace(READY, texts_waiting=7)
    worker.text_progress = TextProgress([TopicPartition("reviews", 1)], read=1)
    worker.lags(PartitionLag("reviews", 1, 0, 9, 2, 7, 400.0, 310.0))
    worker.view.beat()

    assert await reasons(client) == (200, [])
    (note,) = (await (await client.get("/ready")).json())["notes"]
    assert note["note"] == "texts"
    assert "7 records" in note["detail"]

    worker.lags(PartitionLag("purchases", 1, 0, 9, 2, 7, 400.0, 310.0))
    assert await reasons(client) == (503, ["stalled"])


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (TextProgress([TopicPartition("reviews", 1)], read=5), (503, ["texts"])),
        (TextProgress([TopicPartition("reviews", 1)], read=6), (200, [])),
        (TextProgress([TopicPartition("reviews", 1)], read=5, loading_s=70.0), (200, [])),
        (TextProgress([], read=5), (200, [])),
    ],
    ids=["none is read", "one is read", "the encoder is loaded", "none waits"],
)
async def test_texts_of_which_none_is_read_are_a_reason(
    worker: StatedWorker, client: TestClient[Any, Any], texts: TextProgress, expected: tuple[int, list[str]]
) -> None:
    """An encoder that gets on, or is being loaded, is none."""
    worker.text_progress = TextProgress([TopicPartition("reviews", 1)], read=5)
    worker.view.beat()
    worker.view.texts_at -= TEXTS_LIMIT_S + 1

    worker.text_progress = texts
    worker.view.beat()

    assert await reasons(client) == expected


async def test_moving_backlog_is_ready(worker: StatedWorker, client: TestClient[Any, Any]) -> None:
    """A long queue that moves is work, not illness."""
    worker.lags(PartitionLag("purchases", 1, 0, 10**9, 2, 10**9 - 2, 9_000.0, 0.5))

    assert await reasons(client) == (200, [])


async def test_old_sample_is_not_ready(worker: StatedWorker, client: TestClient[Any, Any]) -> None:
    """Without a broker's answer nobody knows how late it is; the pages say how old is what they show."""
    assert "regulars_ready 1.0" in await (await client.get("/metrics")).text()
    assert (await (await client.get("/api/lag")).json())["fresh"] is True
    worker.view.lag.sampled_at = time.time() - 60.0

    assert await reasons(client) == (503, ["lag-unknown"])
    assert "the last sample is 60 s old" in await (await client.get("/ready")).text()
    assert "regulars_ready 0.0" in await (await client.get("/metrics")).text()
    assert (await (await client.get("/api/lag")).json())["fresh"] is False


async def test_a_sample_that_never_came_is_not_ready(worker: StatedWorker, client: TestClient[Any, Any]) -> None:
    """The reason names what the last try met."""
    worker.view.lag.sampled_at = None
    worker.view.lag.error = "no Kafka broker answers"

    assert await reasons(client) == (503, ["lag-unknown"])
    assert "there is no sample: no Kafka broker answers" in await (await client.get("/ready")).text()


async def test_loop_that_does_not_come_round_is_not_alive(worker: StatedWorker, client: TestClient[Any, Any]) -> None:
    """An old heartbeat is a 503."""
    worker.view.beat_at = time.monotonic() - 60.0

    assert (await client.get("/live")).status == 503


async def test_unknown_customer_is_404(client: TestClient[Any, Any]) -> None:
    """Nobody of that id."""
    assert (await client.get("/api/customers/nobody")).status == 404


@pytest.mark.parametrize("path", ["__faust%00offset__", "%00", "line%0Abreak", "%C2%85", "a" * 129, "%FF", "%ED%A0%80"])
async def test_what_no_customer_can_be_called_is_no_failure(client: TestClient[Any, Any], path: str) -> None:
    """Keys that the store keeps for itself hold control characters; asked for, they are 400 and never reach the store."""
    assert (await client.get(yarl.URL(f"/api/customers/{path}", encoded=True))).status in (400, 404)


async def test_customer_of_another_worker_is_421_with_the_partition(client: TestClient[Any, Any]) -> None:
    """The answer names the partition to look for."""
    answer = await client.get("/api/customers/elsewhere")

    assert (answer.status, (await answer.json())["partition"]) == (421, 3)


async def test_changes_stream_gives_bodies_unchanged_and_in_order(
    worker: StatedWorker, client: TestClient[Any, Any]
) -> None:
    """What the CRM gets is what the stream shows, numbered."""
    bodies = [encode_change(a_change(number)) for number in range(1, 4)]
    worker.view.changes.publish(bodies[:2])

    async with client.get("/api/changes?after=1") as answer:
        worker.view.changes.publish(bodies[2:])
        events = [await event(answer) for _ in range(3)]

    assert events[0] == {"retry": "2000"}
    assert events[1:] == [{"id": "2", "data": bodies[1].decode()}, {"id": "3", "data": bodies[2].decode()}]


async def test_reader_that_comes_back_goes_on_where_it_was(worker: StatedWorker, client: TestClient[Any, Any]) -> None:
    """A browser sends the last id it saw."""
    worker.view.changes.publish([encode_change(a_change(number)) for number in range(1, 4)])

    async with client.get("/api/changes", headers={"Last-Event-ID": "2"}) as answer:
        await event(answer)

        assert (await event(answer))["id"] == "3"


async def test_words_tell_cause_and_next(worker: StatedWorker, client: TestClient[Any, Any]) -> None:
    """For people, the stream says it in words."""
    worker.view.changes.publish([encode_change(a_change(1))])

    async with client.get("/api/changes?words=1") as answer:
        await event(answer)
        spoken = json.loads((await event(answer))["data"])["words"]

    assert spoken["cause"] == "a purchase"
    assert spoken["next"] == "nothing changes if nothing more is heard"


async def test_number_that_is_none_is_refused(client: TestClient[Any, Any]) -> None:
    """Wrong use says so."""
    assert (await client.get("/api/changes?after=-1")).status == 400


async def test_open_streams_do_not_hold_up_the_end(worker: StatedWorker) -> None:
    """A server that stops lets its readers go at once."""
    app = web.Application()
    mount(app, worker.view)
    server = TestServer(app)
    async with TestClient(server) as client, client.get("/api/changes") as answer:
        await event(answer)

        await asyncio.wait_for(server.close(), 5.0)

        assert await answer.content.read() == b""


async def test_the_dashboards_policy_allows_its_own_script_and_style_and_nothing_else(
    client: TestClient[Any, Any],
) -> None:
    """By digest, so that markup in a customer id runs nothing; the page has no other script, handler or style."""
    answer = await client.get("/")
    page, policy = await answer.text(), answer.headers["Content-Security-Policy"]

    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert not re.findall(r"<[^>]*\s(?:on\w+|style)=", page)
    assert "innerHTML" not in page
    assert "eval(" not in page


async def test_dashboard_needs_nothing_from_elsewhere(client: TestClient[Any, Any]) -> None:
    """One page, no other host."""
    page = await (await client.get("/")).text()

    assert 'src="http' not in page
    assert 'href="http' not in page


async def event(answer: Any) -> dict[str, str]:
    """The next event of a stream."""
    block = await asyncio.wait_for(answer.content.readuntil(b"\n\n"), 5.0)
    return dict(line.split(": ", 1) for line in block.decode().strip().splitlines())

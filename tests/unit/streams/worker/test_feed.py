"""Laws of the change feed and of the counts by segment."""

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from streams.worker.feed import ChangeFeed, SegmentCounts

SEGMENTS = st.sampled_from(["low", "mid", "high"])


@given(st.lists(st.integers(0, 7), max_size=20), st.integers(1, 10))
def test_feed_keeps_the_latest_in_order_with_their_numbers(chunks: list[int], kept: int) -> None:
    """Whatever the chunks, what is kept is the end of what was published, numbered from 1."""
    feed, published = ChangeFeed(kept), list[bytes]()
    for size in chunks:
        bodies = [b"%d" % (len(published) + i + 1) for i in range(size)]
        published += bodies
        feed.publish(bodies)

    latest = feed.after(0)

    assert [body for _, body in latest] == published[-kept:]
    assert all(body == b"%d" % number for number, body in latest)


@given(st.integers(0, 12), st.integers(0, 15))
def test_after_a_number_come_only_later_ones(published: int, number: int) -> None:
    """A reader that says where it stands gets nothing twice."""
    feed = ChangeFeed(5)
    feed.publish([b"x"] * published)

    assert [n for n, _ in feed.after(number)] == [n for n in range(1, published + 1) if n > max(number, published - 5)]


async def test_every_waiting_reader_hears_of_news() -> None:
    """Two readers that wait both wake at one publication, and again at the next."""
    feed = ChangeFeed()
    for number in range(3):
        readers = [asyncio.create_task(feed.news(number, 5.0)) for _ in range(2)]
        await asyncio.sleep(0)
        feed.publish([b"body"])

        assert await asyncio.gather(*readers) == [[(number + 1, b"body")]] * 2


async def test_quiet_feed_gives_nothing_after_the_wait() -> None:
    """A reader gets its turn back so that it can say it is still there."""
    assert await ChangeFeed().news(0, 0.01) == []


async def test_closed_feed_lets_its_readers_go() -> None:
    """A stopping worker doesn't wait for readers."""
    feed = ChangeFeed()
    reader = asyncio.create_task(feed.news(0, 60.0))
    await asyncio.sleep(0)

    feed.close()

    assert await asyncio.wait_for(reader, 5.0) == []


@given(st.lists(st.tuples(st.integers(0, 9), SEGMENTS), max_size=40))
def test_counts_are_those_of_the_customers_last_segments(moves: list[tuple[int, str]]) -> None:
    """Following every move gives the same counts as looking at where each customer stands."""
    counts, stands = SegmentCounts(), dict[int, str]()
    for customer, segment in moves:
        if stands.get(customer) != segment:
            counts.moved(customer % 2, "value", stands.get(customer), segment)
            stands[customer] = segment

    assert counts.by_dimension().get("value", {}) == dict(Counter(stands.values()))


@given(st.lists(SEGMENTS, max_size=20), st.lists(SEGMENTS, max_size=20))
def test_restored_partition_replaces_what_was_known(before: list[str], after: list[str]) -> None:
    """A partition that comes back is counted once."""
    counts = SegmentCounts()
    counts.restored(0, Counter(("value", segment) for segment in before))

    counts.restored(0, Counter(("value", segment) for segment in after))

    assert counts.by_dimension().get("value", {}) == dict(Counter(after))


def test_revoked_partition_is_not_counted() -> None:
    """Another worker counts it now."""
    counts = SegmentCounts()
    counts.restored(0, Counter({("value", "low"): 1}))

    counts.revoked(0)

    assert counts.by_dimension() == {}

"""Laws of the temporary store of keys and values."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.errors import SpoolBroken
from streams.kafka.spool import Spool

ITEMS = st.lists(st.tuples(st.binary(min_size=1, max_size=3), st.none() | st.binary(max_size=5)), max_size=12)


@given(st.lists(ITEMS, max_size=4), st.integers(1, 5))
def test_the_latest_value_of_each_key_comes_in_the_order_of_the_keys(
    batches: list[list[tuple[bytes, bytes | None]]], size: int
) -> None:
    """None deletes; no page is empty or longer than asked for."""
    latest: dict[bytes, bytes | None] = {}
    with Spool() as spool:
        for batch in batches:
            spool.put(batch)
            latest |= dict(batch)
        pages = list(spool.pages(size))
    assert [item for page in pages for item in page] == sorted(
        (key, value) for key, value in latest.items() if value is not None
    )
    assert all(1 <= len(page) <= size for page in pages)


def test_nothing_of_it_stays(tmp_path: Path) -> None:
    """It holds customers' states: the folder goes, also where nobody read to the end."""
    with Spool(tmp_path) as spool:
        spool.put([(b"a", b"1"), (b"b", b"2")])
        assert list(tmp_path.iterdir()) != []
        next(spool.pages(1))
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_written_names_its_folder(tmp_path: Path) -> None:
    """The error says where, so that somebody can make room there."""
    with Spool(tmp_path) as spool:
        pass
    with pytest.raises(SpoolBroken, match=str(tmp_path)):
        spool.put([(b"a", b"1")])

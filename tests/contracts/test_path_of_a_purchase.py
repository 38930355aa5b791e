"""The README's list of files is the way that a purchase really takes."""

import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from tests.support.scoring_desk import AT, Desk, Record

ROOT = Path(__file__).resolve().parents[2]

PURCHASE = (
    b'{"event_id": "e1", "customer_id": "c-1", "event_time": "%s", "type": "purchase", "order_id": "o",'
    b' "amount_minor": 90000, "currency": "GBP"}' % AT.format(1).encode()
)


def listed() -> list[str]:
    """The files of the section, in order."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## One purchase, file by file")[2]
    return re.findall(r"^\d+\. `([^`]+)`", section.partition("## ")[0], re.MULTILINE)


def entered() -> list[str]:
    """The project's files in which code runs from a record to the records that it causes, in the order of first entry."""
    desk = Desk()
    order: dict[str, None] = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT):
            order.setdefault(str(path.relative_to(ROOT)))

    record = Record("purchases", 0, 0, b"c-1", PURCHASE)
    sys.setprofile(note)
    try:
        desk.take(record)
    finally:
        sys.setprofile(None)
    assert desk.written, "the purchase moved nobody"
    return list(order)


def test_a_purchase_comes_to_the_files_in_the_order_of_the_readme() -> None:
    """Twelve at most; from the decoder to the CRM's record each one is entered, and in this order."""
    files, order = listed(), entered()

    assert len(files) == len(set(files)) <= 12
    of_plane = [file for file in files if file.startswith("streams/plane/")]
    rest = [file for file in files if file not in of_plane]
    assert [*of_plane[:-1], *rest, of_plane[-1]] == files
    assert sorted(rest, key=order.index) == rest


def test_the_files_of_the_readme_exist() -> None:
    """A file that was moved is moved there too."""
    assert [file for file in listed() if not (ROOT / file).is_file()] == []

"""What the data sets become, on small files made here and, where they are, on the real ones."""

import gzip
import os
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import RECORD_LIMIT_BYTES, Event, Item, Purchase, decode
from streams.sources.clothing_reviews import CUSTOMERS
from streams.sources.dataset import Dataset, in_blocks
from streams.sources.events import ClockRecord, EventRecord, instant, purchase_record, with_clocks
from streams.sources.online_retail import _to_minor
from streams.sources.registry import SOURCES, open_dataset
from streams.sources.tables import FileRefused, minor_units

SHARED = Path(os.environ.get("REGULARS_SHARED", Path(__file__).resolve().parents[5] / "shared")) / "data"


def real(name: str) -> Path:
    """A real file, or a skip that says which one it needs."""
    if not (SHARED / name).exists():
        pytest.skip(f"needs {name} in the data folder of REGULARS_SHARED")
    return SHARED / name


def events(dataset: Dataset) -> list[Event]:
    """All events of a data set, judged as a worker judges them."""
    made = [decode(each.topic, each.key, each.value, 4e9) for each in dataset.items(0, len(dataset.times_s))]
    assert [event.event_time.timestamp() for event in made] == list(dataset.times_s)
    assert list(dataset.times_s) == sorted(dataset.times_s)
    assert len({event.event_id for event in made}) == len(made)
    return made


def invoice_lines(rows: list[tuple[object, ...]], path: Path) -> Path:
    """A file of invoice lines."""
    names = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"]
    frame = pd.DataFrame(rows, columns=names)
    frame["CustomerID"] = frame["CustomerID"].astype("Int64")
    frame["InvoiceDate"] = pd.to_datetime(frame["InvoiceDate"])
    frame.to_parquet(path)
    return path


def test_invoice_is_one_purchase_with_the_sum_of_its_lines(tmp_path: Path) -> None:
    """Its time is its first line's, as UTC; what it holds is in its items."""
    path = invoice_lines(
        [
            ("1", "A", "MUG", 6, "2011-01-02 10:00", 2.55, 7),
            ("1", "B", None, 1, "2011-01-02 10:01", 0.29, 7),
            ("1", "C", "FREE", 1, "2011-01-02 10:01", 0.0, 7),
        ],
        tmp_path / "f.parquet",
    )
    (purchase,) = events(open_dataset("online-retail", path))
    assert isinstance(purchase, Purchase)
    assert (purchase.type, purchase.customer_id, purchase.amount_minor, purchase.currency) == (
        "purchase",
        "7",
        1559,
        "GBP",
    )
    assert purchase.event_time == datetime(2011, 1, 2, 10, 0, tzinfo=UTC)
    assert purchase.items == (Item("A", 6, 255, None, "MUG"), Item("B", 1, 29))


def test_cancelled_invoice_is_one_refund_of_what_it_returned(tmp_path: Path) -> None:
    """The amount and the quantities of a `C` invoice are turned to positive."""
    path = invoice_lines([("C2", "A", "MUG", -3, "2011-01-03", 2.55, 7)], tmp_path / "f.parquet")
    (refund,) = events(open_dataset("online-retail", path))
    assert isinstance(refund, Purchase)
    assert (refund.type, refund.amount_minor, refund.items[0].quantity) == ("refund", 765, 3)


def test_lines_that_are_no_sale_are_left_out_and_counted(tmp_path: Path) -> None:
    """No customer, no quantity, no price: no event; an invoice worth nothing is told."""
    path = invoice_lines(
        [
            ("1", "A", "MUG", 1, "2011-01-02", 2.0, None),
            ("2", "A", "MUG", 0, "2011-01-02", 2.0, 7),
            ("3", "A", "MUG", 1, "2011-01-02", -2.0, 7),
            ("C4", "A", "MUG", 1, "2011-01-02", 2.0, 7),
            ("5", "A", "MUG", 1, "2011-01-02", 0.001, 7),
            ("6", "A", "MUG", 1, "2011-01-02", 1.0, 7),
        ],
        tmp_path / "f.parquet",
    )
    dataset = open_dataset("online-retail", path)
    assert [event.event_id for event in events(dataset)] == ["online-retail-6-7"]
    assert dataset.notes[1] == ("left out: 1 lines without a customer, 2 invoices whose total isn't above 0")


def test_invoices_of_one_minute_keep_the_files_order(tmp_path: Path) -> None:
    """Equal times are no reason to reorder a return and the purchase before it."""
    rows = [(name, "A", "MUG", quantity, "2011-01-02", 1.0, 7) for name, quantity in (("9", 1), ("C8", -1), ("7", 2))]
    path = invoice_lines(rows, tmp_path / "f.parquet")
    made = [event for event in events(open_dataset("online-retail", path)) if isinstance(event, Purchase)]
    assert [event.order_id for event in made] == ["9", "C8", "7"]


def test_real_online_retail_has_the_known_facts() -> None:
    """18,532 invoices of 4,338 customers worth 8,911,407.90, and 3,654 refunds."""
    made = events(open_dataset("online-retail", real("online_retail.parquet")))
    purchases = [event for event in made if event.type == "purchase"]
    assert len(purchases) == 18_532
    assert len({event.customer_id for event in purchases}) == 4_338
    assert sum(event.amount_minor for event in purchases) == 891_140_790
    assert len(made) - len(purchases) == 3_654


def test_real_rees46_has_the_known_facts() -> None:
    """17,055 views, 165 carts and 214 purchases of 4,504 users."""
    made = events(open_dataset("rees46", real("rees46_2019-10-01_first_2h50.parquet")))
    kinds = pd.Series([event.type for event in made]).value_counts().to_dict()
    assert kinds == {"view": 17_055, "add_to_cart": 165, "purchase": 214}
    assert len({event.customer_id for event in made}) == 4_504


def test_real_reviews_are_all_sent() -> None:
    """14,049 rows, each with its rating; who and when are the same each time."""
    path = real("womens_clothing_reviews_part.parquet")
    made, again = events(open_dataset("reviews", path)), events(open_dataset("reviews", path))
    assert len(made) == 14_049
    assert made == again
    assert sum(event.text == "" for event in made) == 546
    assert len({event.customer_id for event in made}) < CUSTOMERS


def test_real_cdnow_sample_sends_what_was_paid_for() -> None:
    """6,919 lines less the 8 of 0.00 dollars."""
    assert len(events(open_dataset("cdnow", real("cdnow_sample.txt")))) == 6_911


def test_cdnow_line_is_a_purchase_on_its_day(tmp_path: Path) -> None:
    """The customer keeps the id of the file, zeros and all; the master file has no sample id."""
    for name, text in (("sample", " 00004 0001 19970118  2   29.73\n"), ("master", " 00004 19970118  2   29.73\n")):
        path = tmp_path / name
        path.write_text(text)
        (purchase,) = events(open_dataset("cdnow", path))
        assert isinstance(purchase, Purchase)
        assert (purchase.customer_id, purchase.amount_minor, purchase.items[0].quantity) == ("00004", 2973, 2)
        assert purchase.event_time == datetime(1997, 1, 18, tzinfo=UTC)


def test_cdnow_lines_that_repeat_an_earlier_one_are_kept_and_counted(tmp_path: Path) -> None:
    """Two equal purchases of a day may be two."""
    path = tmp_path / "master"
    path.write_text(" 00004 19970118 2 29.73\n 00004 19970118 2 29.73\n 00005 19970118 2 29.73\n")
    dataset = open_dataset("cdnow", path)
    assert len(events(dataset)) == 3
    assert dataset.notes[-1] == "kept: 1 lines that repeat an earlier one"


def test_rees46_rows_become_clicks_and_purchases(tmp_path: Path) -> None:
    """Clicks keep their session; a purchase without a price is left out and counted."""
    path = tmp_path / "f.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n")
        file.write("2019-10-01 00:00:02 UTC,purchase,1,2,a.b,x,9.99,5,s1\n")
        file.write("2019-10-01 00:00:00 UTC,view,1,2,,x,,5,s1\n")
        file.write("2019-10-01 00:00:01 UTC,cart,1,2,a.b,x,9.99,5,s1\n")
        file.write("2019-10-01 00:00:03 UTC,purchase,1,2,a.b,x,0.0,5,s1\n")
    dataset = open_dataset("rees46", path)
    view, cart, purchase = events(dataset)
    assert (view.type, view.session_id, view.price_minor, view.category) == ("view", "s1", None, None)
    assert (cart.type, cart.price_minor) == ("add_to_cart", 999)
    assert (purchase.type, purchase.amount_minor, purchase.currency) == ("purchase", 999, "USD")
    assert "1 purchases without a price" in dataset.notes[0]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_generic_table_is_sorted_and_negative_amounts_are_refunds(tmp_path: Path, suffix: str) -> None:
    """Times with an offset are honoured, without one are UTC; rows without customer or amount are left out."""
    frame = pd.DataFrame(
        {
            "customer_id": ["b", "a", "a", None, "a"],
            "purchased_at": ["2020-01-02T00:00:00Z"] * 2 + ["2020-01-01T00:00:00Z"] * 3,
            "amount": [10.005, -3.0, 4.0, 1.0, 0.0],
            "ignored": [1, 2, 3, 4, 5],
        }
    )
    path = tmp_path / f"f.{suffix}"
    frame.to_parquet(path) if suffix == "parquet" else frame.to_csv(path, index=False)
    dataset = open_dataset("generic", path, "EUR")
    made = [event for event in events(dataset) if isinstance(event, Purchase)]
    assert [(e.customer_id, e.type, e.amount_minor, e.currency) for e in made] == [
        ("a", "purchase", 400, "EUR"),
        ("b", "purchase", 1001, "EUR"),
        ("a", "refund", 300, "EUR"),
    ]
    assert dataset.notes == ("left out: 1 rows without a customer, 1 without an amount",)


def test_missing_column_is_told_with_the_columns_there_are(tmp_path: Path) -> None:
    """The message names what is missing and what is there."""
    path = tmp_path / "f.parquet"
    pd.DataFrame({"customer_id": ["a"], "when": ["2020-01-01"], "amount": [1.0]}).to_parquet(path)
    with pytest.raises(FileRefused, match="no column purchased_at; its columns: customer_id, when, amount"):
        open_dataset("generic", path)


@pytest.mark.parametrize("name", list(SOURCES))
def test_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    """No data set takes what it can't read for its own."""
    path = tmp_path / "f.parquet"
    path.write_bytes(b"\x00\xff not a table")
    with pytest.raises(FileRefused):
        open_dataset(name, path)


def test_window_takes_from_and_leaves_to(tmp_path: Path) -> None:
    """[from, to), and the last clock record says `to`, or the file's end where that comes first."""
    path = tmp_path / "f.csv"
    days = [f"2020-01-0{day}T00:00:00Z" for day in range(1, 6)]
    pd.DataFrame({"customer_id": "a", "purchased_at": days, "amount": 1.0}).to_csv(path, index=False)
    dataset = open_dataset("generic", path)
    second, fourth = float(dataset.times_s[1]), float(dataset.times_s[3])
    timeline = list(dataset.timeline(second, fourth))
    assert [each.at_s for each in timeline if isinstance(each, EventRecord)] == list(dataset.times_s[1:3])
    assert timeline[-1] == ClockRecord(fourth)
    assert list(dataset.timeline(second, fourth + 1e9))[-1] == ClockRecord(float(dataset.times_s[-1]))


@given(st.lists(st.floats(0, 40 * 86_400.0), min_size=1, max_size=30), st.floats(0, 50 * 86_400.0))
def test_clock_records_never_run_ahead_and_miss_no_midnight(times: list[float], last_s: float) -> None:
    """A timeline ascends, keeps every event, begins and ends with a clock record, and has each 00:00 between."""
    items = [EventRecord(at_s, "purchases", b"a", b"{}") for at_s in sorted(times)]
    timeline = list(with_clocks(items, last_s))
    clocks = [each.at_s for each in timeline if isinstance(each, ClockRecord)]
    assert [each for each in timeline if isinstance(each, EventRecord)] == items
    assert [each.at_s for each in timeline] == sorted(each.at_s for each in timeline)
    assert clocks[0] == items[0].at_s
    assert clocks[-1] == max(last_s, items[-1].at_s)
    midnights = {day * 86_400.0 for day in range(60) if clocks[0] < day * 86_400.0 < clocks[-1]}
    assert midnights <= set(clocks)


@pytest.mark.parametrize(("lines", "kept"), [(10, 10), (600, 600), (3000, 0)])
def test_basket_over_the_record_limit_loses_words_before_lines(lines: int, kept: int) -> None:
    """However large the basket, the record fits and the amount stays."""
    basket = tuple(Item(f"p{number}", 1, 1, "category", "D" * 35) for number in range(lines))
    purchase = Purchase("e", "c", instant(0.0), "purchase", "o", lines, "GBP", basket)
    made = purchase_record(0.0, purchase)
    assert len(made.value) <= RECORD_LIMIT_BYTES
    after = msgspec.json.decode(made.value, type=Purchase)
    assert (after.amount_minor, len(after.items)) == (lines, kept)


@pytest.mark.parametrize(("currency", "minor"), [("JPY", 1500), ("GBP", 150_000), ("KWD", 1_500_000), ("XXX", 150_000)])
def test_minor_units_follow_the_currency(tmp_path: Path, currency: str, minor: int) -> None:
    """1,500 yen are 1,500 minor units, in every data set that has amounts; 100 a unit where nobody knows."""
    generic, cdnow, rees46 = tmp_path / "g.csv", tmp_path / "c.txt", tmp_path / "r.csv"
    generic.write_text("customer_id,purchased_at,amount\na,2020-01-01,1500\n")
    cdnow.write_text("00004 19970118 2 1500.00\n")
    rees46.write_text("event_time,event_type,product_id,price,user_id\n2020-01-01 00:00:00 UTC,purchase,1,1500.0,5\n")
    retail = invoice_lines([("1", "A", "MUG", 3, "2011-01-02", 500.0, 7)], tmp_path / "o.parquet")

    for name, path in (("generic", generic), ("cdnow", cdnow), ("rees46", rees46), ("online-retail", retail)):
        (purchase,) = events(open_dataset(name, path, currency))
        assert isinstance(purchase, Purchase)
        assert (purchase.amount_minor, purchase.currency) == (minor, currency)
        (asked,) = events(open_dataset(name, path, currency, unit_minor=7))
        assert isinstance(asked, Purchase)
        assert asked.amount_minor == 10_500


@given(st.integers(0, 10**7), st.integers(-1000, 1000), st.sampled_from([1, 7, 100, 1000]))
def test_a_line_is_rounded_once_and_away_from_zero(micros: int, quantity: int, unit_minor: int) -> None:
    """As decimals would be, for any number of minor units."""
    exact = Decimal(micros) / 1_000_000 * quantity * unit_minor
    expected = int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))

    assert _to_minor(np.array([micros * quantity]), unit_minor).tolist() == [expected]


@given(st.integers(-(10**9), 10**9))
def test_whole_minor_units_survive_the_float_of_a_file(minor: int) -> None:
    """A price with two places, read as a float, gives its very pence."""
    assert minor_units(minor / 100) == minor


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 7))
def test_blocks_cover_every_row_once(start: int, stop: int, size: int) -> None:
    """Joined, the blocks are the range."""
    assert [row for begin, end in in_blocks(start, stop, size) for row in range(begin, end)] == list(range(start, stop))

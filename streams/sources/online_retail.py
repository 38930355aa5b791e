"""UCI Online Retail: one purchase per invoice and customer, one refund per `C` invoice."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from schemas.events import Item, Purchase
from streams.sources.dataset import Dataset
from streams.sources.events import EventRecord, instant, purchase_record
from streams.sources.tables import FileRefused, minor_units, read_columns

# The second names are those of Online Retail II.
COLUMNS = {
    "invoice": ("InvoiceNo", "Invoice"),
    "product": ("StockCode",),
    "description": ("Description",),
    "quantity": ("Quantity",),
    "invoiced_at": ("InvoiceDate",),
    "price": ("UnitPrice", "Price"),
    "customer": ("CustomerID", "Customer ID"),
}


def open_online_retail(path: Path, currency: str, unit_minor: int) -> Dataset:
    """The purchases and refunds of `path`, in the order of their first lines' times.

    Raises:
        FileRefused: the file is of another kind, or no line of it names a customer.
    """
    table = read_columns(path, COLUMNS)
    at_s, quantity, price = table.epoch_seconds("invoiced_at"), table.numbers("quantity"), table.numbers("price")
    last_s = float(at_s.max(initial=0.0))
    pieces: NDArray[np.int64] = np.nan_to_num(quantity).astype(np.int64)
    micros = _micros(price)
    lines = table.rows.assign(
        at_s=at_s,
        invoice=table.rows["invoice"].astype(str),
        customer=table.identifiers("customer"),
        quantity=pieces,
        price=price,
        minor=_to_minor(pieces * micros, unit_minor),
        price_minor=_to_minor(micros, unit_minor),
    )
    is_refund = lines["invoice"].str.startswith("C")
    named = lines["customer"].notna()
    kept = lines[named & (is_refund | ((lines["quantity"] > 0) & (lines["price"] > 0)))]
    if kept.empty:
        raise FileRefused(f"{path}: no line has a customer, a quantity and a price")
    book = _Book(kept, currency, unit_minor)
    return Dataset(
        book.times_s, book.items, last_s, (*book.notes(without_customer=int((~named).sum())), *table.repeated())
    )


class _Book:
    """The lines sorted by invoice, and for each invoice, in event-time order, where its lines begin and end."""

    def __init__(self, lines: pd.DataFrame, currency: str, unit_minor: int) -> None:
        self._currency, self._unit_minor = currency, unit_minor
        group = lines.groupby(["invoice", "customer"], sort=False).ngroup().to_numpy()
        order = np.argsort(group, kind="stable")
        lines, group = lines.iloc[order], group[order]
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        ends = np.append(starts[1:], len(group))
        totals = np.add.reduceat(lines["minor"].to_numpy(), starts)
        refund = lines["invoice"].str.startswith("C").to_numpy()[starts]
        amounts = np.where(refund, -totals, totals)
        times_s = lines["at_s"].to_numpy()[starts]
        # Groups are numbered by their first line, so equal times keep the file's order.
        by_time = np.argsort(times_s, kind="stable")
        worth = by_time[amounts[by_time] > 0]
        self.times_s: NDArray[np.float64] = times_s[worth]
        self._spans = list(zip(starts[worth].tolist(), ends[worth].tolist(), strict=True))
        self._amounts = amounts[worth].tolist()
        self._refund = refund[worth].tolist()
        # Arrays of Python objects: a slice of one costs nothing, a slice of a frame about 100 us per invoice.
        self._columns = [
            lines[name].to_numpy(dtype=object)
            for name in ("invoice", "customer", "product", "quantity", "price_minor", "description")
        ]
        self._worthless = len(starts) - len(worth)

    def items(self, start: int, stop: int) -> Iterator[EventRecord]:
        for position in range(start, stop):
            at_s = float(self.times_s[position])
            yield purchase_record(at_s, self._purchase(position, at_s))

    def notes(self, without_customer: int) -> tuple[str, ...]:
        refunds = sum(self._refund)
        spent = sum(a for a, refund in zip(self._amounts, self._refund, strict=True) if not refund)
        worth = f"{spent / self._unit_minor:,.{len(str(self._unit_minor)) - 1}f}"
        return (
            f"{len(self._refund) - refunds:,} purchases of {self._currency} {worth}, {refunds:,} refunds",
            (
                f"left out: {without_customer:,} lines without a customer, "
                f"{self._worthless:,} invoices whose total isn't above 0"
            ),
        )

    def _purchase(self, position: int, at_s: float) -> Purchase:
        start, end = self._spans[position]
        invoices, customers, *basket = (column[start:end] for column in self._columns)
        invoice, customer = invoices[0], customers[0]
        refund = self._refund[position]
        return Purchase(
            event_id=f"online-retail-{invoice}-{customer}"[:64],
            customer_id=customer,
            event_time=instant(at_s),
            type="refund" if refund else "purchase",
            order_id=invoice,
            amount_minor=self._amounts[position],
            currency=self._currency,
            items=tuple(
                Item(
                    product_id=str(product)[:256],
                    quantity=abs(quantity),
                    unit_price_minor=max(0, price_minor),
                    description=description[:256] if isinstance(description, str) else None,
                )
                for product, quantity, price_minor, description in zip(*basket, strict=True)
                if quantity != 0
            ),
        )


def _micros(price: NDArray[np.float64]) -> NDArray[np.int64]:
    """Prices in millionths: exact for up to six places, where a float product would not be."""
    distinct, where = np.unique(price, return_inverse=True)
    # minor_units gives hundredths of its argument, so 10^4 times the price gives millionths of the price.
    exact = np.array([minor_units(f"{each!r}e4") or 0 for each in distinct.tolist()], dtype=np.int64)
    return exact[where]


def _to_minor(micros: NDArray[np.int64], unit_minor: int) -> NDArray[np.int64]:
    """Millionths to minor units, halves away from zero."""
    units, rest = np.divmod(
        np.abs(micros), 1_000_000
    )  # apart, so that no product leaves 64 bits before its result does
    rounded: NDArray[np.int64] = np.sign(micros) * (units * unit_minor + (rest * unit_minor + 500_000) // 1_000_000)
    return rounded

"""The group of each customer, by a column of the table. For reports, never for models."""

from pathlib import Path

from streams.sources.tables import read_columns

_CUSTOMER = ("CustomerID", "Customer ID", "customer_id")
# The column that a data set is grouped by unless the caller names another.
USUAL_COLUMN = {"online-retail": "Country"}


def customer_groups(path: Path, column: str) -> dict[str, str]:
    """Customer id -> the most frequent value of `column` in the customer's rows; customers without a value are left out.

    Raises:
        FileRefused: the file has no customer ids or no such column.
    """
    table = read_columns(path, {"customer": _CUSTOMER, "group": (column,)})
    rows = table.rows.assign(customer=table.identifiers("customer")).dropna()
    counts = rows.assign(group=rows["group"].astype(str)).value_counts(["customer", "group"]).reset_index()
    first = counts.drop_duplicates("customer")
    return dict(zip(first["customer"].tolist(), first["group"].tolist(), strict=True))

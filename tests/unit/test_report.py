"""Laws of the report: whatever was forecast, the page is whole, opens offline and says what came."""

import re
import shlex
import xml.etree.ElementTree as ET
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import click.testing
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.learning.backtest import Forecasts, Sale
from models.learning.measures import level
from models.policy import read
from schemas.times import DAY_S
from streams.commands.backtest import command
from streams.report.charts import Axis, Line, bar_chart, line_chart
from streams.report.evaluation import coverage, differences, groups, rows_by_score
from streams.report.page import Report, page
from streams.report.pieces import STYLE
from streams.report.timeline import Timeline
from streams.sources.groups import customer_groups

finite = st.floats(-1e9, 1e9)


@given(st.lists(st.lists(st.tuples(finite, finite), max_size=6), max_size=4), st.text(max_size=20))
def test_any_points_make_a_well_formed_chart(lines: list[list[tuple[float, float]]], name: str) -> None:
    """No point, equal points, huge ones, a label with markup in it: valid XML whose places are on the canvas."""
    name = "".join(c for c in name if c.isprintable())
    drawn = line_chart([Line(name, points, "#123456", dots=True) for points in lines], Axis(name), Axis("y"))

    figure = ET.fromstring(drawn)

    circles = figure.findall(".//circle")
    assert len(circles) == sum(map(len, lines))
    for circle in circles:
        assert 0 <= float(circle.attrib["cx"]) <= 640
        assert 0 <= float(circle.attrib["cy"]) <= 340


@given(st.lists(st.floats(0, 1e12), min_size=1, max_size=8))
def test_bars_are_as_high_as_their_values(values: list[float]) -> None:
    """Heights are in the proportion of the values, none below the axis."""
    figure = ET.fromstring(bar_chart([str(i) for i in range(len(values))], [("spent", "#123456", values)], Axis("y")))
    heights = np.array([float(bar.attrib["height"]) for bar in figure.findall(".//rect")])

    assert (heights >= 0).all()
    if max(values) > 0:
        np.testing.assert_allclose(heights / heights.max(), np.array(values) / max(values), atol=0.001)


def sales() -> list[Sale]:
    """Two customers; b buys on day 10 and 40 after the cut-off, a on day 100."""
    return [
        Sale(0.0, "a", 5.0), Sale(1.0, "b", 5.0), Sale(10 * DAY_S + 1, "b", 7.0), Sale(40 * DAY_S, "b", 2.0),
        Sale(100 * DAY_S, "a", 50.0),
    ]  # fmt: skip


def forecasts() -> Forecasts:
    """As of a moment after the first purchases."""
    scores = np.array([[0.2, 0.4, 0.5, 4.0], [0.6, 0.8, 1.5, 8.0]])
    return Forecasts(10.0, ["a", "b"], scores, scores, np.array([[0.0, 5.0], [2.0, 8.5]]), {"bgnbd": scores})


def test_rows_hold_what_came_within_the_horizon() -> None:
    """Purchases within 30 and 90 days, and their amounts; a horizon that the data don't cover gives no row."""
    found = rows_by_score([forecasts()], sales(), until=100 * DAY_S)

    assert found["p_purchase_30d"].truth.tolist() == [0.0, 1.0]
    assert found["expected_purchases_90d"].truth.tolist() == [0.0, 2.0]
    assert found["expected_spend_90d"].truth.tolist() == [0.0, 9.0]
    assert coverage(found["expected_spend_90d"]) == 0.5
    assert level(found["expected_spend_90d"].truth, found["expected_spend_90d"].forecasts["served"]) == 12.0 / 9.0
    assert list(rows_by_score([forecasts()], sales(), until=50 * DAY_S)) == ["p_purchase_30d"]


@given(st.lists(st.tuples(st.integers(0, 299), st.sampled_from("ab")), max_size=6))
def test_whatever_came_the_page_says_it_in_numbers(later: list[tuple[int, str]]) -> None:
    """Cut-offs, or all of them, after which nobody bought: 0 of what was forecast, and no chart or sentence of NaN."""
    cutoffs = [forecasts()._replace(as_of=day * DAY_S) for day in (1, 92, 183)]
    sold = [*sales()[:2], *(Sale((1 + day) * DAY_S, customer, 7.0) for day, customer in later)]
    rows = rows_by_score(cutoffs, sold, until=300 * DAY_S)
    spend = rows["expected_spend_90d"]

    text = page(Report("shop", "made", "GBP", 9, 9, rows, Timeline(), differences(rows, draws=3), []))

    assert "nan" not in re.sub("<style>.*</style>", "", text, flags=re.DOTALL).lower()
    each = [100 * spend.truth[spend.as_of == as_of].sum() / 12.0 for as_of in np.unique(spend.as_of)]
    said = f"{np.mean(each):.0f} were spent; by cut-off that goes from {min(each):.0f} to {max(each):.0f}."
    assert (said if any(each) else "Nothing was spent in the 90 days after any cut-off.") in text


@given(st.integers(1, 30), st.integers(1, 30))
def test_small_groups_are_taken_together(french: int, maltese: int) -> None:
    """One customer of a country would be a person, not a group; nothing is measured of fewer than 25, together or not."""
    ids = [f"{i:02}" for i in range(french + maltese)]
    scores = np.tile([0.2, 0.4, 0.5, 4.0], (len(ids), 1))
    as_of = Forecasts(10.0, ids, scores, scores, np.tile([0.0, 5.0], (len(ids), 1)), {})
    sold = [*(Sale(0.0, customer, 5.0) for customer in ids), *(Sale(DAY_S, customer, 5.0) for customer in ids)]
    country = {customer: "France" if i < french else "Malta" for i, customer in enumerate(ids)}

    found = groups(rows_by_score([as_of], sold, until=100 * DAY_S), country)

    counts = {"France": french, "Malta": maltese}
    expected = {name: count for name, count in counts.items() if count >= 25}
    small = [count for count in counts.values() if count < 25]
    if small:
        expected["1 smaller one" if len(small) == 1 else "2 smaller ones"] = sum(small)
    assert {group.name: group.customers for group in found} == expected
    for group in found:
        assert np.isnan(group.inside) == np.isnan(group.spend_level) == (group.customers < 25)


class Links(HTMLParser):
    """Collects what a page would fetch, and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.titles: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keeps addresses and nesting."""
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in ("meta", "circle", "rect", "line", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Closes what was opened last."""
        if tag not in ("circle", "rect", "line", "polyline"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keeps headings."""
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A year of purchases of 60 customers of two countries."""
    rng = np.random.default_rng(3)
    found = []
    for customer in range(60):
        at = rng.uniform(0, 60)
        while at < 240:
            moment = pd.Timestamp("2010-12-01", tz="UTC") + pd.Timedelta(days=at)
            found.append(
                (f"c{customer}", moment, round(rng.gamma(2, 20) + 1, 2), ("<b>Here</b>", "There")[customer % 2])
            )
            at += rng.exponential(25)
    columns = ["customer_id", "purchased_at", "amount", "country"]
    pd.DataFrame(found, columns=columns).to_parquet(tmp_path / "shop.parquet")
    return tmp_path / "shop.parquet"


def test_the_page_opens_offline_and_names_no_customer(shop: Path, tmp_path: Path) -> None:
    """One file that fetches nothing, tags closed, every section there, groups escaped."""
    rules = tmp_path / "our rules.yaml"
    rules.write_text(read(), encoding="utf-8")
    arguments = ["generic", str(shop), "--report", str(tmp_path / "report"), "--group-by", "country"]
    arguments += ["--seed", "4", "--policy", str(rules)]

    done = click.testing.CliRunner().invoke(command, arguments)

    assert done.exit_code == 0, done.output
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["index.html"]
    text = (tmp_path / "report" / "index.html").read_text("utf-8")
    page = Links()
    page.feed(text)
    assert page.fetched == []
    assert page.open == []
    assert len(page.titles) == 9
    assert "url(" not in text
    assert "&lt;b&gt;Here" in text
    assert "<b>Here" not in text
    assert ">c1<" not in text
    (made_with,) = re.findall("<code>(.*?)</code>", text)
    made = shlex.split(unescape(made_with))
    assert made[:2] == ["regulars", "backtest"]
    assert made[2:] == [argument.removeprefix(f"{tmp_path}/") for argument in arguments]


def test_nothing_on_the_page_is_wider_than_a_phone() -> None:
    """A column of charts asks for no more than there is, and paper clips no table."""
    on_paper = STYLE.split("@media print")[1]

    assert not re.search(r"minmax\(\d", STYLE)
    assert ".wide{overflow:visible}" in on_paper


def test_the_command_says_what_is_missing(shop: Path, tmp_path: Path) -> None:
    """Nowhere to write to is wrong use; a column that isn't there is a failure that names those that are."""
    nowhere = click.testing.CliRunner().invoke(command, ["generic", str(shop)])
    arguments = ["generic", str(shop), "--report", str(tmp_path / "report"), "--group-by", "Planet"]
    elsewhere = click.testing.CliRunner().invoke(command, arguments)

    assert (nowhere.exit_code, elsewhere.exit_code) == (2, 1)
    assert "--report" in nowhere.output
    assert "Planet" in elsewhere.output
    assert "country" in elsewhere.output


def test_a_customer_is_of_the_group_that_stands_most_often(tmp_path: Path) -> None:
    """Who moved counts where most of their rows are; ids keep their form."""
    rows = pd.DataFrame(
        {"CustomerID": [12346.0, 12346.0, 12346.0, None], "Country": ["Malta", "France", "France", "Malta"]}
    )
    rows.to_parquet(tmp_path / "lines.parquet")

    assert customer_groups(tmp_path / "lines.parquet", "Country") == {"12346": "France"}

"""Laws of the report: whatever was forecast, the page is whole, opens offline and says what came."""

import re
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import click.testing
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.learning.backtest import Forecasts, Sale
from models.learning.measures import level
from models.policy import read
from schemas.times import DAY_S
from streams.commands.backtest import command
from streams.report.charts import Axis, Line, bar_chart, line_chart
from streams.report.evaluation import Difference, Rows, coverage, differences, groups, rows_by_score
from streams.report.page import Report, page
from streams.report.timeline import Timeline
from streams.sources.groups import customer_groups

finite = st.floats(-1e9, 1e9)
FEBRUARY = 31 * DAY_S  # a first of a month, as cut-offs are


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


def crowd(as_of: float, each: int) -> Forecasts:
    """`forecasts` of so many customers like a, and as many like b."""
    one = forecasts()
    ids = [f"{customer}{i}" for customer in one.customer_ids for i in range(each)]
    scores = np.repeat(one.scores, each, axis=0)
    rivals = {"bgnbd": scores, "rfm": scores}
    return Forecasts(as_of, ids, scores, scores, np.repeat(one.intervals, each, axis=0), rivals)


def written(rows: dict[str, Rows], of: Sequence[Difference] | None = None) -> str:
    """The page of these rows, without its style."""
    found = differences(rows, draws=3) if of is None else of
    text = page(Report("shop", "made", "GBP", 9, 9, rows, Timeline(), found, []))
    return " ".join(re.sub("<style>.*</style>", "", text, flags=re.DOTALL).split())


@given(st.lists(st.tuples(st.integers(0, 299), st.sampled_from("ab")), max_size=6))
@settings(max_examples=30)
def test_whatever_came_the_page_says_it_in_numbers(later: list[tuple[int, str]]) -> None:
    """Cut-offs, or all of them, after which nobody bought: 0 of what was forecast, and no chart or sentence of NaN."""
    cutoffs = [crowd(day * DAY_S, 15) for day in (1, 92, 183)]
    first = [Sale(0.0, customer, 5.0) for customer in cutoffs[0].customer_ids]
    sold = [*first, *(Sale((1 + day) * DAY_S, f"{kind}{i}", 7.0) for day, kind in later for i in range(15))]
    rows = rows_by_score(cutoffs, sold, until=300 * DAY_S)
    spend = rows["expected_spend_90d"]

    text = written(rows)

    assert "nan" not in text.lower()
    each = [100 * spend.truth[spend.as_of == as_of].sum() / (15 * 12.0) for as_of in np.unique(spend.as_of)]
    spent = f"{np.mean(each):.0f} were spent; from cut-off to cut-off, {min(each):.0f} to {max(each):.0f}."
    assert (spent if any(each) else "Nothing was spent in the 90 days after any cut-off.") in text


@pytest.mark.parametrize(("each", "is_shown"), [(1, False), (12, False), (13, True)])
def test_of_fewer_than_25_customers_no_share_and_no_difference_is_shown(each: int, is_shown: bool) -> None:
    """2, 24 or 26 customers at one cut-off: a sentence why, instead of percentages and of charts without their points."""
    cutoff = crowd(FEBRUARY, each)
    first = [Sale(0.0, customer, 5.0) for customer in cutoff.customer_ids]
    bought = [Sale(FEBRUARY + (1 + i) * DAY_S, f"b{i}", 7.0) for i in range(each)]
    rows = rows_by_score([cutoff], [*first, *bought], until=300 * DAY_S)
    better = {name: crowd(FEBRUARY, each).scores[:, 0] * 0.5 for name in ("bgnbd", "rfm")}
    rows["p_purchase_30d"] = rows["p_purchase_30d"]._replace(
        forecasts={"served": rows["p_purchase_30d"].forecasts["served"], **better}
    )

    text = written(rows)

    assert bool(differences(rows, draws=20)) == is_shown
    assert ("it takes 25 customers to distinguish a difference from chance" in text) != is_shown
    assert ("customers</b>. So few say nothing about other customers" in text) != is_shown
    assert ("spent an amount within their interval" in text) == is_shown
    assert "Of the tenth of customers with" not in text
    assert text.count("a tenth of these forecasts is fewer than 25") == 4
    assert text.count("it takes two weeks with 200 known outcomes") == 2
    assert text.count("no cut-off has 25 customers") == (0 if is_shown else 3)
    shares = [cell for cell in re.findall("<td>([^<]*)</td>", text) if cell.endswith(" %")]
    assert set(shares) == {"5 %", "10 %", "20 %", "40 %"}


def test_a_difference_without_a_standard_error_is_left_out() -> None:
    """Everybody alike: each draw of customers gives the same, which is not certainty."""
    cutoff = crowd(FEBRUARY, 20)
    scores = np.tile(cutoff.scores[:1], (40, 1))
    cutoff = cutoff._replace(scores=scores, rivals={"bgnbd": scores * 0.5})
    sold = [Sale(day * DAY_S, customer, 5.0) for customer in cutoff.customer_ids for day in (0, 33)]

    rows = rows_by_score([cutoff], sold, until=300 * DAY_S)

    assert differences(rows, draws=5) == []
    assert "or none differed between samples" in written(rows)


@given(st.floats(-1, 1), st.floats(0.001, 1), st.sampled_from(["log loss", "Spearman"]))
def test_the_summary_says_where_a_rival_was_better(value: float, error: float, measure: str) -> None:
    """Beyond two standard errors, in the direction in which the measure is better; otherwise that none was."""
    rows = rows_by_score(
        [crowd(FEBRUARY, 15)], [Sale(0.0, f"{k}{i}", 5.0) for k in "ab" for i in range(15)], 300 * DAY_S
    )
    difference = Difference("p_purchase_30d", measure, value, error, "rfm")

    summary = written(rows, [difference]).split("<h2>")[0]

    lost = value > 2 * error if measure == "log loss" else value < -2 * error
    assert ("<b>RFM was better than Regulars</b>" in summary) == lost
    assert (f"{measure} by {abs(value):.4f}" in summary) == lost
    assert ("Regulars worse than RFM by more than" in summary) != lost


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
    text = page(
        Report("shop", "made", "GBP", 9, 9, rows_by_score([forecasts()], sales(), 50 * DAY_S), Timeline(), [], [])
    )
    (style,) = re.findall("<style>(.*)</style>", text, flags=re.DOTALL)
    on_paper = style.split("@media print")[1]

    assert not re.search(r"minmax\(\d", style)
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

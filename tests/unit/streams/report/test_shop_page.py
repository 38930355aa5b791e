"""Laws of the shop's page: whole, offline, nobody named but those to win back, and every number in report.json."""

import json
import re
from html.parser import HTMLParser

import msgspec
import pytest
from msgspec.structs import replace

from made_up_shop import BEGIN_DAY, DAYS, made_up, tallied
from streams.report.shop_figures import CampaignEffect, ServedModelNote, ShopReport
from streams.report.shop_page import shop_page

VOID = {"meta", "br", "line", "rect", "circle", "polyline"}


class Reader(HTMLParser):
    """Reads a page: its text by section, what it would fetch, and tags that are not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.texts: dict[str, str] = {}
        self._heading = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes what a tag opens and names."""
        if tag not in VOID:
            self.open.append(tag)
        if tag == "h2":
            self._heading = ""
        self.fetched += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href", "srcset")]

    def handle_endtag(self, tag: str) -> None:
        """Closes the latest tag."""
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text of the section that the latest h2 begins."""
        if self.open and self.open[-1] == "h2":
            self._heading += data
        elif self.open and self.open[-1] not in ("style", "title"):
            self.texts[self._heading] = " ".join((self.texts.get(self._heading, ""), *data.split()))


@pytest.fixture(scope="module")
def report() -> ShopReport:
    """Of a made-up shop with campaigns, refused records and a model."""
    tally = tallied([made_up(3, customers=80)])
    effect = CampaignEffect("a", "<b>a-1", True, 7, 5, "GBP", 1.0, 0.5, 1.5, "It adds.", "campaign-1.html")
    return replace(
        tally.report(BEGIN_DAY, BEGIN_DAY + DAYS - 1),
        dead_letters={"schema": 3, "not-json": 1},
        campaigns=[effect],
        model=ServedModelNote("dynamic-5", 1234, "2024-05-01", {"auc": 0.8125, "log_loss": 0.25}),
    )


def test_the_page_is_whole_and_fetches_nothing(report: ShopReport) -> None:
    """All tags closed; nothing but pages beside it is linked; a name with markup is text."""
    page = shop_page(report)
    reader = Reader(page)

    assert reader.open == []
    assert reader.fetched == ["campaign-1.html"]
    assert not re.search(r"<script|url\(|@import|https?://", page)
    assert "&lt;b&gt;a-1" in page
    assert "nan" not in page.lower().replace("finance", "")


def test_customers_are_named_among_those_to_win_back_alone(report: ShopReport) -> None:
    """The rest can be shown to anybody in the shop."""
    texts = Reader(shop_page(report)).texts

    assert report.lost
    assert {heading for heading, text in texts.items() if re.search(r"\bc\d{3}\b", text)} == {"Who to win back"}


def test_the_numbers_of_the_page_are_those_of_the_file(report: ShopReport) -> None:
    """Moves, customers, money, promises, reasons, quality: each table shows what report.json has."""
    file = json.loads(msgspec.json.encode(report))
    texts = Reader(shop_page(report)).texts

    for name in report.dimensions:
        shown = set(re.findall(r"[\d,]+(?:\.\d+)?", texts[name]))
        wanted = [each["moves"] for each in file["migrations"] if each["dimension"] == name]
        wanted += [
            each["customers"]
            for each in file["courses"]
            if each["dimension"] == name and each["day"] in (file["since"], file["until"])
        ]
        assert {f"{each:,}" for each in wanted} <= shown
        money = [each["spend_minor"] / 100 for each in file["revenue"] if each["dimension"] == name]
        assert {f"{each:,.2f}" for each in money} <= shown
    risk = texts[f"What is at risk in the next {report.risk_days} days"]
    for each in file["at_risk"]:
        assert f"{each['net_spend_minor'] / 100:,.2f}" in risk
        assert f"{each['expected_spend']:,.2f}" in risk
    quality = texts["How good the data is"]
    assert all(f"{number:,}" in quality for number in (*file["quality"].values(), *file["dead_letters"].values()))
    assert "auc 0.8125, log loss 0.25" in texts["How good the forecasts are"]


def test_a_shop_without_campaigns_moves_or_model_has_a_page_too(report: ShopReport) -> None:
    """Each section says that there is nothing."""
    bare = replace(
        report, migrations=[], courses=[], revenue=[], at_risk=[], lost=[], reasons=[], campaigns=[], dead_letters={},
        model=None, log_begins="2024-06-01",
    )  # fmt: skip

    texts = Reader(shop_page(bare)).texts

    assert "Nobody." in texts["Who to win back"]
    assert "No campaign is published." in texts["What campaigns did"]
    assert "No record was refused." in texts["How good the data is"]
    assert "Nothing has been learnt yet" in texts["How good the forecasts are"]
    assert "begins on 2024-06-01" in texts[""]

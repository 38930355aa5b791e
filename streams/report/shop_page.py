"""The report of a shop as one HTML page that fetches nothing."""

from datetime import UTC, datetime
from itertools import groupby
from typing import Any, NamedTuple

from markupsafe import Markup

from streams.report.charts import Axis, Line, line_chart
from streams.report.formats import months
from streams.report.pieces import PageTable
from streams.report.rendering import templates
from streams.report.shop_figures import NO_SEGMENT, ShopReport
from streams.words import feature_words

# Told apart in print and by most colour-blind readers (Okabe and Ito, 2008).
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")
REASONS_SHOWN = 6


class DimensionPart(NamedTuple):
    """What the page shows of one dimension."""

    name: str
    matrix: PageTable
    course: Markup
    counts: PageTable
    revenue: PageTable
    reasons: PageTable


def shop_page(report: ShopReport) -> str:
    """The page."""
    return templates().get_template("shop.html.j2").render(_figures(report))


def _figures(report: ShopReport) -> dict[str, Any]:
    def money(minor: float) -> str:
        return f"{minor / report.unit_minor:,.2f}"

    risk = sum(each.customers for each in report.at_risk)
    return {
        "report": report,
        "cards": [
            (f"{report.customers:,}", "customers now"),
            (f"{sum(each.moves for each in report.migrations):,}", "moves between segments in the window"),
            (f"{risk:,}", f"promised moves within {report.risk_days} days"),
            (f"{sum(report.dead_letters.values()):,}", "refused records"),
        ],
        "parts": [_part(report, name) for name in report.dimensions],
        "at_risk": PageTable(
            ("dimension", "from", "to", "customers", f"spent so far, {report.currency}", "expected in 90 days"),
            [
                (
                    each.dimension,
                    each.previous,
                    each.current,
                    f"{each.customers:,}",
                    money(each.net_spend_minor),
                    f"{each.expected_spend:,.2f}",
                )
                for each in report.at_risk
            ],
        ),
        "lost": PageTable(
            ("customer", f"spent, {report.currency}", "last purchase", "now", "since"),
            [
                (
                    each.customer_id,
                    money(each.net_spend_minor),
                    each.last_purchase_at[:10],
                    f"{each.dimension} {each.segment}",
                    each.moved_at[:10],
                )
                for each in report.lost
            ],
        ),
        "quality": PageTable(
            ("of the records of purchases", "records"),
            [
                ("purchases and refunds", f"{report.quality.purchases:,}"),
                ("of them sent again (same event_id)", f"{report.quality.repeated:,}"),
                ("of them late (older than one before)", f"{report.quality.late:,}"),
                ("of them in another currency", f"{report.quality.foreign:,}"),
                ("no valid event", f"{report.quality.refused:,}"),
            ],
        ),
        "letters": PageTable(
            ("refused because of", "records"), [(reason, f"{n:,}") for reason, n in report.dead_letters.items()]
        ),
    }


def _part(report: ShopReport, name: str) -> DimensionPart:
    segments = report.dimensions[name]
    return DimensionPart(
        name,
        _matrix(report, name, segments),
        _course(report, name, segments),
        _counts(report, name),
        _revenue(report, name),
        _reasons(report, name),
    )


def _matrix(report: ShopReport, name: str, segments: list[str]) -> PageTable:
    moves = {(each.previous, each.current): each.moves for each in report.migrations if each.dimension == name}
    rows = []
    for previous in (NO_SEGMENT, *segments):
        counts = [moves.get((previous, current), 0) for current in segments]
        rows.append((previous, *(f"{n:,}" if n else "" for n in counts), f"{sum(counts):,}"))
    return PageTable(("from \\ to", *segments, "all"), rows)


def _course(report: ShopReport, name: str, segments: list[str]) -> Markup:
    points = {
        segment: [(_moment(each.day), float(each.customers)) for each in rows]
        for segment, rows in groupby((each for each in report.courses if each.dimension == name), lambda c: c.segment)
    }
    lines = [
        Line(segment, points.get(segment, []), COLORS[i % len(COLORS)], dashed=i >= len(COLORS))
        for i, segment in enumerate(segments)
    ]
    moments = [at for each in points.values() for at, _ in each]
    top = max((n for each in points.values() for _, n in each), default=1.0)
    ticks = _ticks(moments)
    return line_chart(lines, Axis("day", None, ticks), Axis("customers", (0.0, 1.05 * (top or 1.0))))


def _ticks(moments: list[float]) -> list[tuple[float, str]]:
    days = sorted(set(moments))
    if len(days) > 70:
        return months(days)
    return [(at, f"{datetime.fromtimestamp(at, UTC):%m-%d}") for at in days[:: max(1, -(-len(days) // 7))]]


def _counts(report: ShopReport, name: str) -> PageTable:
    rows = []
    for segment, group in groupby((each for each in report.courses if each.dimension == name), lambda c: c.segment):
        days = list(group)
        first, last = days[0].customers, days[-1].customers
        rows.append((segment, f"{first:,}", f"{last:,}", f"{last - first:+,}"))
    first_day, last_day = (report.courses[0].day, report.courses[-1].day) if report.courses else ("start", "end")
    return PageTable(("segment", f"end of {first_day}", f"end of {last_day}", "difference"), rows)


def _revenue(report: ShopReport, name: str) -> PageTable:
    def money(minor: int) -> str:
        return f"{minor / report.unit_minor:,.2f}"

    rows = [
        (
            each.segment,
            f"{each.purchases:,}",
            money(each.spend_minor),
            f"{each.refunds:,}",
            money(each.refunded_minor),
            money(each.spend_minor - each.refunded_minor),
        )
        for each in report.revenue
        if each.dimension == name
    ]
    currency = report.currency
    return PageTable(("segment before", "purchases", f"revenue, {currency}", "refunds", "refunded", "net"), rows)


def _reasons(report: ShopReport, name: str) -> PageTable:
    rows = [
        (feature_words(each.feature), f"{each.up + each.down:,}", f"{each.up:,}", f"{each.down:,}")
        for each in report.reasons
        if each.dimension == name
    ]
    return PageTable(("strongest reason", "moves", "pushed up", "pushed down"), rows[:REASONS_SHOWN])


def _moment(day: str) -> float:
    return datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()

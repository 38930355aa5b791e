"""Every number of the shop's report equals a plain computation with pandas over the same records."""

from typing import Any

import pandas as pd
import pytest
from msgspec.structs import asdict, replace

from made_up_shop import BEGIN_DAY, DAYS, MadeUpShop, made_up, tallied
from schemas.changes import SilenceCause
from schemas.examples import CHANGE, STANDING
from schemas.times import DAY_S, from_rfc3339, to_rfc3339
from streams.report.shop_figures import UNKNOWN_SEGMENT, ShopReport
from streams.report.shop_tally import LOST_CUSTOMERS, RISK_DAYS, NothingToReport, ShopTally, day_of

SEEDS = range(6)
SINCE, UNTIL = BEGIN_DAY + 6, BEGIN_DAY + DAYS - 3


def reported(seed: int, since: int | None = SINCE, until: int | None = UNTIL) -> ShopReport:
    """The report of a made-up shop."""
    return tallied([made_up(seed)]).report(since, until)


def frames(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Standings, changes and purchases, each record once, of customers who have a standing; `at` in seconds."""
    shop = made_up(seed)
    standings = pd.DataFrame([asdict(each) for each in shop.standings])
    changes = pd.DataFrame([asdict(each) for each in shop.changes])
    changes = changes.drop_duplicates("change_id")[lambda c: c.customer_id.isin(standings.customer_id)]
    changes["at"] = changes.changed_at.map(from_rfc3339)
    changes["previous"] = changes.previous.fillna("(none)")
    purchases = pd.DataFrame([asdict(each) for each in shop.purchases])
    purchases["at"] = purchases.event_time.map(lambda each: each.timestamp())
    return standings, changes.reset_index(drop=True), purchases


def in_window(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of the window."""
    return frame[(frame["at"] >= SINCE * DAY_S) & (frame["at"] < (UNTIL + 1) * DAY_S)]


@pytest.mark.parametrize("seed", SEEDS)
def test_moves_are_those_of_a_group_by(seed: int) -> None:
    """Each change once, though it was delivered twice; erased customers' not at all."""
    _, changes, _ = frames(seed)

    expected = in_window(changes).groupby(["dimension", "previous", "current"]).size().to_dict()

    assert {(m.dimension, m.previous, m.current): m.moves for m in reported(seed).migrations} == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_customers_by_day_are_the_last_move_before_its_end(seed: int) -> None:
    """Counting back from the standings gives what folding the log from its beginning gives."""
    _, changes, _ = frames(seed)
    expected = {}
    for day in range(SINCE, UNTIL + 1):
        before = changes[changes["at"] < (day + 1) * DAY_S].groupby(["customer_id", "dimension"]).current.last()
        counts = before.reset_index().groupby(["dimension", "current"]).size()
        expected |= {(*place, day_of(day)): count for place, count in counts.items()}

    counted = {(c.dimension, c.segment, c.day): c.customers for c in reported(seed).courses}

    assert {place: count for place, count in counted.items() if count} == expected
    assert min(counted.values()) >= 0


@pytest.mark.parametrize("seed", SEEDS)
def test_revenue_is_that_of_the_segment_just_before_the_purchase(seed: int) -> None:
    """A retry once; other currencies not; a move at the very second of the purchase comes after it."""
    standings, changes, purchases = frames(seed)
    once = purchases.drop_duplicates(["customer_id", "event_id"])
    once = in_window(once[(once.currency == "GBP") & once.customer_id.isin(standings.customer_id)])
    rows = []
    for dimension in ("lifecycle", "value"):
        moves = changes[changes.dimension == dimension].sort_values("at", kind="stable")
        moves = moves[["at", "customer_id", "current"]]
        joined = pd.merge_asof(once.sort_values("at"), moves, on="at", by="customer_id", allow_exact_matches=False)
        rows.append(joined.assign(dimension=dimension, segment=joined.current.fillna("(none)")))
    sums = pd.concat(rows).groupby(["dimension", "segment", "type"]).amount_minor.agg(["size", "sum"])

    counted: dict[tuple[str, str, str], tuple[int, int]] = {}
    for each in reported(seed).revenue:
        counted[each.dimension, each.segment, "purchase"] = each.purchases, each.spend_minor
        counted[each.dimension, each.segment, "refund"] = each.refunds, each.refunded_minor

    assert {place: pair for place, pair in counted.items() if pair[0]} == {
        place: (row["size"], row["sum"]) for place, row in sums.iterrows()
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_at_risk_is_what_standings_promise(seed: int) -> None:
    """By the end of the last of the days, overdue promises too; net of refunds."""
    standings, _, _ = frames(seed)
    end = (BEGIN_DAY + DAYS - 1 + RISK_DAYS + 1) * DAY_S
    rows = [
        (
            row.next.dimension, row.segments[row.next.dimension], row.next.segment,
            row.profile.spend_minor - row.profile.refunded_minor, row.scores["expected_spend_90d"],
        )
        for row in standings.itertuples()
        if row.next is not None and from_rfc3339(row.next.at) < end
    ]  # fmt: skip
    expected = pd.DataFrame(rows, columns=["dimension", "a", "b", "net", "spend"]).groupby(["dimension", "a", "b"])
    sums = expected.agg(customers=("net", "size"), net=("net", "sum"), spend=("spend", "sum"))

    counted = {
        (m.dimension, m.previous, m.current): (m.customers, m.net_spend_minor, m.expected_spend)
        for m in reported(seed).at_risk
    }

    assert counted == {place: (row.customers, row.net, pytest.approx(row.spend)) for place, row in sums.iterrows()}


@pytest.mark.parametrize("seed", SEEDS)
def test_who_to_win_back_moved_last_of_silence_and_has_not_bought_since(seed: int) -> None:
    """The largest of them by what they spent, less refunds."""
    standings, changes, _ = frames(seed)
    last = in_window(changes.groupby("customer_id").tail(1))
    last = last[last.cause.map(lambda cause: isinstance(cause, SilenceCause))].merge(standings, on="customer_id")
    last["net"] = last.profile.map(lambda p: p.spend_minor - p.refunded_minor)
    bought = last.profile.map(
        lambda p: float("inf") if p.last_purchase_at is None else from_rfc3339(p.last_purchase_at)
    )
    expected = last[bought < last["at"]].sort_values("net", ascending=False).head(LOST_CUSTOMERS)

    assert [(c.customer_id, c.net_spend_minor, c.segment) for c in reported(seed).lost] == list(
        zip(expected.customer_id, expected.net, expected.current, strict=True)
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_reasons_are_the_strongest_of_each_move(seed: int) -> None:
    """By the size of the contribution; what stands for all others is no reason."""
    _, changes, _ = frames(seed)
    rows = []
    for row in in_window(changes).itertuples():
        named: list[Any] = [reason for reason in row.reasons if reason.feature != "others"]
        if named:
            top = max(named, key=lambda reason: abs(reason.contribution))
            rows.append((row.dimension, top.feature, top.contribution > 0, top.contribution < 0))
    table = pd.DataFrame(rows, columns=["dimension", "feature", "up", "down"]).groupby(["dimension", "feature"]).sum()

    counted = {(r.dimension, r.feature): (r.up, r.down) for r in reported(seed).reasons}

    assert counted == {place: (row.up, row.down) for place, row in table.iterrows()}


@pytest.mark.parametrize("seed", SEEDS)
def test_odd_purchases_are_counted(seed: int) -> None:
    """Retries, late ones and other currencies; the last two of customers who have a standing."""
    standings, _, purchases = frames(seed)
    once = purchases.drop_duplicates(["customer_id", "event_id"])
    own = once[once.customer_id.isin(standings.customer_id)]
    late = (own["at"] < own.groupby("customer_id")["at"].cummax()).sum()
    quality = reported(seed).quality

    assert (quality.purchases, quality.repeated) == (len(purchases), len(purchases) - len(once))
    assert (quality.late, quality.foreign) == (late, (own.currency == "EUR").sum())


def test_partitions_add_up() -> None:
    """Two partitions give the sums of both; their customers are others."""
    a, b = made_up(1), made_up(2)
    renamed = MadeUpShop(*([replace(each, customer_id=f"x{each.customer_id}") for each in part] for part in b))  # type: ignore[attr-defined]

    both = tallied([a, renamed]).report(SINCE, UNTIL)

    assert both.customers == len(a.standings) + len(b.standings)
    moves = [sum(each.moves for each in reported(seed).migrations) for seed in (1, 2)]
    assert sum(each.moves for each in both.migrations) == sum(moves)


def test_the_window_ends_by_default_with_the_latest_standing() -> None:
    """Four weeks, the last day included."""
    report = reported(3, None, None)

    assert (report.since, report.until) == (day_of(BEGIN_DAY + DAYS - 28), day_of(BEGIN_DAY + DAYS - 1))
    assert report.log_begins == ""


def test_a_change_that_the_table_does_not_have_yet_counts_not() -> None:
    """Table and log are read one after the other; the report is as of the table."""
    shop = made_up(4)
    newer = replace(CHANGE, customer_id=shop.standings[0].customer_id, sequence=shop.standings[0].sequence + 1)

    assert tallied([shop._replace(changes=[*shop.changes, newer])]).report(SINCE, UNTIL) == reported(4)


def test_of_a_log_that_lost_its_beginning_only_what_is_known_is_counted() -> None:
    """Days before the first change that is left have no count, and a purchase before it no segment."""
    at = (BEGIN_DAY + 10) * DAY_S
    moved = replace(CHANGE, changed_at=to_rfc3339(at))
    stands = replace(STANDING, as_of=to_rfc3339(at + DAY_S), since=dict.fromkeys(STANDING.segments, to_rfc3339(at)))
    purchase = replace(made_up(0).purchases[0], customer_id=stands.customer_id, currency="GBP", type="purchase")
    shop = MadeUpShop([stands], [moved], [purchase])

    report = tallied([shop], whole=False).report(BEGIN_DAY, BEGIN_DAY + DAYS)

    assert report.log_begins == day_of(BEGIN_DAY + 10)
    assert min(each.day for each in report.courses) == day_of(BEGIN_DAY + 9)
    before = purchase.event_time.timestamp() <= at
    assert {each.dimension: each.segment for each in report.revenue} == {
        "lifecycle": UNKNOWN_SEGMENT if before else "active",
        "value": "low" if before else "mid",
    }


@pytest.mark.parametrize(("since", "until"), [(SINCE, SINCE - 1), (BEGIN_DAY + DAYS, None)])
def test_an_empty_window_is_refused(since: int, until: int | None) -> None:
    """The message names both days."""
    with pytest.raises(NothingToReport, match="2024-"):
        reported(5, since, until)


def test_no_standing_is_nothing_to_report() -> None:
    """Before a worker ran."""
    with pytest.raises(NothingToReport, match="no worker"):
        ShopTally().report(None, None)

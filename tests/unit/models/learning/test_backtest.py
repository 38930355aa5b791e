"""Laws of the backtest: forecasts know nothing of what comes later, and equal what the live code would serve."""

from collections.abc import Sequence
from pathlib import Path

import click.testing
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import COLUMN, FEATURE_SET, NAMES, rows
from models.learning.backtest import Forecasts, History, first_cutoff, forecasts_over
from models.learning.learner import Learner
from models.policy import Rules, load, read
from models.scores import PriorScorer
from models.state import Reading
from schemas.events import Event, Purchase
from schemas.groups import TEXT_DIM
from schemas.times import DAY_S
from streams.commands.backtest import command
from streams.report.backtest import Backtest
from streams.sources.events import EventRecord, instant, purchase_record

RULES = Rules(load())
START_S = 1_291_161_600.0  # 2010-12-01
CUTOFF_S = 1_298_937_600.0  # 2011-03-01, three months later
MONTH_LATER_S = 1_301_616_000.0  # 2011-04-01


def bought(number: int, customer: int, days: float, amount: int) -> EventRecord:
    """A purchase `days` after the start."""
    at_s = START_S + days * DAY_S
    event = Purchase(f"e{number}", f"c{customer}", instant(at_s), "purchase", f"o{number}", amount, "GBP")
    return purchase_record(at_s, event)


def shop(days: int, customers: int = 24, seed: int = 3) -> list[EventRecord]:
    """Purchases of customers with rates of their own, by time."""
    rng = np.random.default_rng(seed)
    found = [(0.25, 0, 2_000)]
    for customer in range(customers):
        gap, worth = rng.gamma(2.0, 20.0), rng.gamma(2.0, 2_000.0)
        at = rng.uniform(0, 60)
        while at < days:
            found.append((at, customer, max(1, int(rng.gamma(4.0, worth / 4.0)))))
            at += rng.exponential(gap)
    return [bought(i, customer, at, amount) for i, (at, customer, amount) in enumerate(sorted(found))]


SHOP = shop(150)


def history(seed: int = 0) -> History:
    """Nothing heard, nothing learnt."""
    prior = PriorScorer()
    return History(RULES, Learner(NAMES, FEATURE_SET, prior), prior, seed)


def forecasts(records: Sequence[EventRecord], seed: int = 0) -> list[Forecasts]:
    """At each cut-off."""
    return list(forecasts_over(records, history(seed)))


def as_numbers(found: Forecasts) -> tuple[float, list[str], list[list[float]]]:
    """What can be compared to the bit."""
    return found.as_of, found.customer_ids, found.scores.tolist()


BASE = forecasts(SHOP)


@settings(max_examples=4, deadline=None)
@given(random=st.randoms(use_true_random=False), worth=st.integers(1, 10**7))
def test_nothing_after_a_cut_off_changes_a_forecast_before_it(random: object, worth: int) -> None:
    """Purchases after it are given to other customers, for other amounts, or never happen: the forecasts are the same."""
    past = [item for item in SHOP if item.at_s < CUTOFF_S]
    future = []
    for i, item in enumerate(SHOP[len(past) :]):
        if random.random() < 0.7:  # type: ignore[attr-defined]
            days = (item.at_s - START_S) / DAY_S
            future.append(bought(10_000 + i, random.randrange(60), days, worth))  # type: ignore[attr-defined]
    future.append(bought(20_000, 0, 149.5, 1))

    assert as_numbers(forecasts([*past, *future])[0]) == as_numbers(BASE[0])


@pytest.mark.parametrize("a_day", [0.5, 2.0])
def test_where_customers_buy_daily_amounts_come_near_what_came(a_day: float) -> None:
    """200 customers of a coffee shop, far from any prior: from 500 labels on, totals are right to a factor of 1.7."""
    rng = np.random.default_rng(0)
    purchases = []
    for customer, rate in enumerate(rng.gamma(4.0, a_day / 4.0, size=200)):
        start = rng.uniform(0, 20)
        purchases += [(at, customer) for at in rng.uniform(start, 200, size=rng.poisson(rate * (200 - start)))]
    days, told = np.sort([at for at, _ in purchases]), history()
    records = [bought(i, customer, at, 500) for i, (at, customer) in enumerate(sorted(purchases))]
    off = []

    for day in range(1, 101):
        for record in records[np.searchsorted(days, day - 1) : np.searchsorted(days, day)]:
            told.hear(*record)
        told.reach(START_S + day * DAY_S)
        if told.learner.labels >= 500 and day % 5 == 0:
            came = np.searchsorted(days, day + 90) - np.searchsorted(days, day)
            off.append(told.forecasts().scores[:, 2:].sum(axis=0) / (came, 5.0 * came))

    assert len(off) >= 8
    assert np.exp(np.abs(np.log(off)).max()) < 1.7


def test_a_label_teaches_only_after_its_horizon() -> None:
    """At a cut-off the learner has learnt labels that matured before it, and none that did later."""
    told = history()
    for each in forecasts_over(SHOP, told):
        assert told.learner.learnt_to < each.as_of
    assert told.learner.labels > 0


def test_forecasts_are_what_the_live_code_serves() -> None:
    """Those of the snapshot's scorer, or of the prior, on the features of the states as of the cut-off."""
    told = history()
    made = next(iter(forecasts_over(SHOP, told)))
    states = [told._states[each][0] for each in made.customer_ids]
    x = rows(states, [made.as_of] * len(states), RULES.shop)

    expected = [told.learner.predict_one(row) for row in x.tolist()]

    np.testing.assert_allclose(made.scores, expected, rtol=1e-9)
    np.testing.assert_array_equal(made.prior, PriorScorer().score(x))


def test_what_an_event_says_reaches_the_features_of_its_customer_and_of_no_other() -> None:
    """An ablation reads events as a worker reads texts: into the pooled vector and sentiment of who sent them."""
    prior = PriorScorer()
    said = Reading((1.0,) * TEXT_DIM, -1.0)

    def read(event: Event) -> Reading | None:
        return said if event.customer_id == "c1" else None

    told = History(RULES, Learner(NAMES, FEATURE_SET, prior), prior, 0, read)
    made = next(iter(forecasts_over(SHOP, told)))
    x = rows([told._states[each][0] for each in made.customer_ids], [made.as_of] * len(made.customer_ids))
    spoke = np.array([each == "c1" for each in made.customer_ids])

    assert spoke.sum() == 1
    assert (x[spoke, COLUMN["sentiment"]] < 0).all()
    assert (x[spoke][:, COLUMN["text_0"] :] > 0).all()
    assert not x[~spoke][:, COLUMN["sentiment"] :].any()


def test_rivals_saw_what_the_learner_saw_and_the_previous_version_a_month_less() -> None:
    """At the second cut-off the previous version is what was served at the first; none of the others is the learner."""
    told = history()
    made = forecasts_over(SHOP, told)
    next(made)
    a_month_ago = told._scorer
    second = next(made)
    states = [told._states[each][0] for each in second.customer_ids]
    x = rows(states, [second.as_of] * len(states), RULES.shop)

    assert second.rivals.keys() == {"previous", "rfm", "bgnbd"}
    np.testing.assert_array_equal(second.rivals["previous"], a_month_ago.score(x))
    for scores in second.rivals.values():
        assert scores.shape == second.scores.shape
        assert not np.allclose(scores, second.scores)


def test_cut_offs_are_the_first_of_each_month_after_three() -> None:
    """150 days from 1 December on: 1 March and 1 April; everybody who bought before is in, each once."""
    assert [each.as_of for each in BASE] == [CUTOFF_S, MONTH_LATER_S]
    assert first_cutoff(START_S + 0.25 * DAY_S) == CUTOFF_S
    for each in BASE:
        known = sorted({item.key.decode() for item in SHOP if item.at_s < each.as_of})
        assert each.customer_ids == known


def test_the_same_seed_gives_the_same_forecasts() -> None:
    """Equal history, equal seed, equal numbers; who is forecast never depends on it."""
    assert [as_numbers(each) for each in forecasts(SHOP)] == [as_numbers(each) for each in BASE]
    assert [each.customer_ids for each in forecasts(SHOP, seed=1)] == [each.customer_ids for each in BASE]


def test_history_is_read_forward() -> None:
    """An event before what was reached would change what was said already."""
    told = history()
    told.reach(CUTOFF_S)

    with pytest.raises(ValueError, match="event-time order"):
        told.hear(*SHOP[0])


def test_the_command_writes_what_the_evaluator_reads(tmp_path: Path) -> None:
    """One row for each buyer and cut-off that the data cover thirty days beyond, all numbers in their range."""
    table = pd.DataFrame(
        [(item.key.decode(), instant(item.at_s), 10.0 + i) for i, item in enumerate(SHOP)],
        columns=["customer_id", "purchased_at", "amount"],
    )
    table.to_parquet(tmp_path / "shop.parquet")
    arguments = ["generic", str(tmp_path / "shop.parquet"), "--out", str(tmp_path / "forecasts.parquet")]

    done = click.testing.CliRunner().invoke(command, arguments)

    assert done.exit_code == 0, done.output
    written = pd.read_parquet(tmp_path / "forecasts.parquet")
    assert written.columns.tolist() == [
        "customer_id", "as_of", "p_purchase_30d", "p_purchase_90d", "expected_purchases_90d", "expected_spend_90d",
        "expected_spend_90d_low", "expected_spend_90d_high",
    ]  # fmt: skip
    covered = [at for at in (CUTOFF_S, MONTH_LATER_S) if at + 30 * DAY_S <= SHOP[-1].at_s]
    assert sorted({at.timestamp() for at in written.as_of}) == covered
    assert not written.duplicated(["customer_id", "as_of"]).any()
    assert written.iloc[:, 2:4].stack().between(0, 1).all()
    assert (written.iloc[:, 4:] >= 0).all(axis=None)
    assert (written.expected_spend_90d_low <= written.expected_spend_90d_high).all()


def whole_amounts(path: Path) -> Path:
    """The shop's purchases in whole units of a currency."""
    rows = [(item.key.decode(), instant(item.at_s), 1000 + i) for i, item in enumerate(SHOP)]
    pd.DataFrame(rows, columns=["customer_id", "purchased_at", "amount"]).to_parquet(path)
    return path


def test_yen_and_pounds_of_equal_amounts_are_forecast_alike(tmp_path: Path) -> None:
    """The policy's minor units are those that the file is read in."""
    file, yen = whole_amounts(tmp_path / "shop.parquet"), tmp_path / "yen.yaml"
    yen.write_text(read().replace("currency: GBP", "currency: JPY").replace("unit_minor: 100", "unit_minor: 1"))

    pounds, yens = Backtest("generic", file), Backtest("generic", file, policy=yen)

    assert [sale.amount for sale in yens.history.sales] == [1000.0 + i for i in range(len(SHOP))]
    for one, other in zip(pounds.forecasts, yens.forecasts, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-6)


def test_a_data_set_of_another_currency_than_the_policys_is_told(tmp_path: Path) -> None:
    """CDNOW is in dollars, the shipped policy in pounds: said on stderr and on the page, which shows dollars."""
    lines = [f"{item.key.decode()[1:]} {instant(item.at_s):%Y%m%d} 1 {10 + i}.00" for i, item in enumerate(shop(250))]
    (tmp_path / "cdnow.txt").write_text("\n".join(lines))
    said = "amounts are in USD and the policy default-1 is in GBP: nothing is converted"

    done = click.testing.CliRunner().invoke(
        command, ["cdnow", str(tmp_path / "cdnow.txt"), "--report", str(tmp_path / "a" / "b")]
    )

    assert done.exit_code == 0, done.output
    assert f"cdnow: {said}\n" in done.output
    assert "cdnow: left out: 0 purchases" in done.output
    page = (tmp_path / "a" / "b" / "index.html").read_text("utf-8")
    assert said in page
    assert "For every 100 USD" in page
    assert "100 GBP" not in page


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--out", "{}/nodir/x.parquet"], "nodir is not there"),
        (["--out", "{}/shop.parquet/x.parquet"], "shop.parquet is not a folder"),
        (["--report", "{}/shop.parquet/x"], "shop.parquet is not a folder"),
        (["--out", "{}/x.parquet", "--group-by", "nope"], "has no column nope"),
        (["--out", "{}/x.parquet", "--policy", "{}/shop.parquet"], "shop.parquet: not UTF-8"),
    ],
)
def test_a_wrong_option_is_told_before_the_history_is_read(tmp_path: Path, options: list[str], says: str) -> None:
    """One line, though the history has a mistake too, and nothing is left behind."""
    rows = pd.DataFrame({"customer_id": ["a"], "purchased_at": ["no time"], "amount": [5.0]})
    rows.to_parquet(tmp_path / "shop.parquet")
    given_options = [option.format(tmp_path) for option in options]

    done = click.testing.CliRunner().invoke(command, ["generic", str(tmp_path / "shop.parquet"), *given_options])

    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert says in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["shop.parquet"]


def test_a_history_without_a_cut_off_is_refused(tmp_path: Path) -> None:
    """Exit code 1 and one line that says what is missing."""
    short = pd.DataFrame({"customer_id": ["a"], "purchased_at": [instant(START_S)], "amount": [5.0]})
    short.to_parquet(tmp_path / "short.parquet")
    arguments = ["generic", str(tmp_path / "short.parquet"), "--out", str(tmp_path / "forecasts.parquet")]

    done = click.testing.CliRunner().invoke(command, arguments)

    assert done.exit_code == 1
    assert "three months" in done.output

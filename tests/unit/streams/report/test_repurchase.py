"""`regulars evaluate clicks taobao2013`, by what it prints and writes."""

import json
import random
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from streams.cli import main
from streams.report.repurchase import NothingToJudge, judge_horizons, run_trials
from streams.sources.brand_events import BrandEvents, read_brand_events

FIRST = date(2013, 4, 15)
COLUMNS = ["user_id", "brand_id", "event", "day"]


def _shop(days: int = 80, customers: int = 60, seed: int = 0) -> pd.DataFrame:
    """Customers who buy at random, most times a few days after a burst of clicks for the brand."""
    rnd, rows = random.Random(seed), []
    for customer in range(customers):
        for day in range(days):
            rows += [(customer, rnd.randrange(9), "click", day)] * (rnd.random() < 0.2)
            if rnd.random() < 0.02 + customer / 1500:
                brand = rnd.randrange(9)
                rows += [(customer, brand, "click", day)] * 6 + [(customer, brand, "cart", day)]
                rows.append((customer, brand, "purchase", day + rnd.randint(2, 6)))
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame = frame[frame.day < days]
    return frame.assign(day=[FIRST + timedelta(days=day) for day in frame.day])


def _read(tmp_path: Path, frame: pd.DataFrame) -> BrandEvents:
    frame.to_parquet(tmp_path / "shop.parquet")
    return read_brand_events(tmp_path / "shop.parquet")


def _run(*arguments: object) -> Result:
    words = ["evaluate", "clicks", "taobao2013", *(str(each) for each in arguments)]
    return CliRunner().invoke(main, words, catch_exceptions=False)


def test_clicks_gain_where_they_foretell(tmp_path: Path) -> None:
    """Both horizons are judged on the same rows by three ways, and a second run writes the same bytes."""
    _shop().to_csv(tmp_path / "shop.csv", index=False)
    for out in ("out.json", "again.json"):
        run = _run(tmp_path / "shop.csv", "--json", tmp_path / out)
        assert run.exit_code == 0, run.output
    assert "gain over BG/NBD" in run.output
    assert (tmp_path / "out.json").read_bytes() == (tmp_path / "again.json").read_bytes()
    figures = json.loads((tmp_path / "out.json").read_text())
    assert list(figures["horizon_days"]) == ["7", "30"]
    week = figures["horizon_days"]["7"]
    assert list(week["auc"]) == ["with_clicks", "without", "bgnbd"]
    gain = week["gain_over_bgnbd"]
    assert gain["value"] == pytest.approx(week["auc"]["with_clicks"] - week["auc"]["bgnbd"])
    assert gain["value"] > 3 * gain["se"] > 0
    assert 0.0 <= week["ece"] < 0.1
    rates = figures["next_brand_hit_rate_10"]
    assert list(rates) == ["affinities", "bought_before", "popular"]
    assert rates["affinities"] == 1.0  # nine brands in all
    assert week["rows"] > figures["horizon_days"]["30"]["rows"] > 0


def _forecasts(events: BrandEvents) -> dict[tuple[int, int], dict[str, list[float]]]:
    """(horizon, place of the cut-off) -> forecasts by way."""
    return {
        (trial.days, place): {way: forecast.tolist() for way, forecast in scored.forecasts.items()}
        for trial in run_trials(events)
        for place, scored in enumerate(trial.judged)
    }


def test_no_forecast_knows_what_came_after_its_cut_off(tmp_path: Path) -> None:
    """A file that ends earlier has the same forecasts at the cut-offs that both judge."""
    frame = _shop(customers=30)
    whole = _forecasts(_read(tmp_path, frame))
    part = _forecasts(_read(tmp_path, frame[frame.day < FIRST + timedelta(days=73)]))
    assert {days for days, _ in part} == {7, 30}
    assert len(part) < len(whole)
    for key, forecasts in part.items():
        for way, values in forecasts.items():
            np.testing.assert_allclose(values, whole[key][way], rtol=1e-9, err_msg=f"{key} {way}")


def test_the_order_of_rows_of_different_days_changes_nothing(tmp_path: Path) -> None:
    """The file stands by customer, the stream runs by day."""
    frame = _shop(days=40, customers=20)
    by_day = frame.sort_values("day", kind="stable", ascending=False)
    both = [judge_horizons(_read(tmp_path, each))[7] for each in (frame.sort_values("day", kind="stable"), by_day)]
    assert both[0] is not None
    assert both[1] is not None
    assert both[0].auc["bgnbd"] == pytest.approx(both[1].auc["bgnbd"])
    assert both[0].rows == both[1].rows


def test_a_month_is_too_short_for_thirty_days_and_long_enough_for_seven(tmp_path: Path) -> None:
    """The longer horizon is null, and the table says that it was not judged."""
    _shop(days=40).to_parquet(tmp_path / "short.parquet")
    run = _run(tmp_path / "short.parquet", "--json", tmp_path / "out.json")
    assert run.exit_code == 0, run.output
    assert "not judged" in run.output
    figures = json.loads((tmp_path / "out.json").read_text())["horizon_days"]
    assert figures["30"] is None
    assert figures["7"]["rows"] > 0


def test_a_file_in_which_nothing_can_be_judged_is_refused_in_one_line(tmp_path: Path) -> None:
    """Too few days, one customer, or nobody who buys."""
    frame = _shop()
    with pytest.raises(NothingToJudge, match="has one customer"):
        judge_horizons(_read(tmp_path, frame[frame.user_id == 1]))
    with pytest.raises(NothingToJudge, match="covers 12 days"):
        judge_horizons(_read(tmp_path, frame[frame.day < FIRST + timedelta(days=12)]))
    frame[frame.event != "purchase"].to_parquet(tmp_path / "nobody.parquet")
    run = _run(tmp_path / "nobody.parquet")
    assert run.exit_code == 1
    assert "customers who buy in a week" in run.output.replace("\n", " ")

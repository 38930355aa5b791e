"""Laws of local days: they begin at midnight where there is one, and only ever go forward."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from histories import START_S, purchase
from models.localdays import LocalDays, ZoneUnknown
from models.policy import Rules
from models.scores import PriorScorer
from models.step import Customer, Terms, step
from policies import zoned
from schemas.states import NEVER

zones = st.sampled_from(sorted(available_timezones() - {"localtime", "posixrules", "Factory"}))
# From before most zones had rules to beyond what they foresee, to the second.
instants = st.integers(-2_500_000_000, 4_000_000_000).map(float)
# Midnights that don't exist, exist twice, and a day that doesn't exist.
SAO_PAULO = datetime(2017, 10, 15, 3, tzinfo=UTC).timestamp()
ST_JOHNS = datetime(2010, 11, 7, 2, 31, tzinfo=UTC).timestamp()
APIA = datetime(2011, 12, 30, 10, tzinfo=UTC).timestamp()


def local(zone: str, at: float) -> datetime:
    """What a clock in `zone` shows at `at`."""
    return datetime.fromtimestamp(at, ZoneInfo(zone))


@given(zones, instants)
@example("America/Sao_Paulo", SAO_PAULO)
@example("America/St_Johns", ST_JOHNS)
@example("Pacific/Apia", APIA)
def test_a_day_begins_at_the_first_second_whose_date_has_come_so_far(zone: str, at: float) -> None:
    """A second before, clocks show an earlier date; at it, that date or one after it where it was left out."""
    days = LocalDays(zone)
    day = days.day(at)
    begins, ends = days.begins(day), days.begins(day + 1)
    assert begins <= at < ends
    for first, number in ((begins, day), (ends, day + 1)):
        assert local(zone, first).toordinal() >= number
        assert local(zone, first - 1).toordinal() < number


@given(zones, instants)
def test_a_day_begins_at_midnight_where_clocks_show_one(zone: str, at: float) -> None:
    """Clocks that are set at another time of the day change nothing of when it begins."""
    begins = LocalDays(zone).begins(LocalDays(zone).day(at))
    shown = local(zone, begins)
    jumped = local(zone, begins - 1).utcoffset() != shown.utcoffset()
    assert jumped or (shown.hour, shown.minute, shown.second) == (0, 0, 0)


@given(zones, instants, st.floats(0, 4e6, allow_nan=False))
@example("America/St_Johns", ST_JOHNS - 120.0, 240.0)
@example("Pacific/Apia", APIA - 1.0, 2.0)
def test_days_never_go_back(zone: str, at: float, later: float) -> None:
    """Also in the hour in which clocks that went back say yesterday's date once more."""
    days = LocalDays(zone)
    assert days.day(at) <= days.day(at + later)
    assert days.between(at, at + later) >= 0
    assert days.between(at + later, at) == 0


@given(zones, instants, st.integers(0, 400))
def test_after_so_many_days_is_the_first_second_at_which_so_many_have_passed(zone: str, at: float, number: int) -> None:
    """What a bound promises is what counting says, at that second and not one earlier."""
    days = LocalDays(zone)
    then = days.after(at, number)
    assert days.between(at, then) >= number
    assert number == 0 or days.between(at, then - 1) < number
    assert days.after(at, number - 0.5) == then


@pytest.mark.parametrize(
    ("zone", "bought", "lapsed"),
    [
        ("UTC", "2024-01-01T15:00:00+00:00", "2024-03-31T00:00:00+00:00"),
        ("Europe/London", "2024-01-01T15:00:00+00:00", "2024-03-31T00:00:00+00:00"),
        ("Europe/London", "2024-01-02T23:59:59+00:00", "2024-03-31T23:00:00+00:00"),  # summer time began on that day
        ("Asia/Kathmandu", "2024-01-01T18:14:59+00:00", "2024-03-30T18:15:00+00:00"),
        ("Asia/Kathmandu", "2024-01-01T18:15:00+00:00", "2024-03-31T18:15:00+00:00"),  # 00:00 of the 2nd there
        ("America/Sao_Paulo", "2017-07-17T12:00:00+00:00", "2017-10-15T03:00:00+00:00"),  # no midnight: 01:00 there
    ],
)
def test_lapsed_after_90_days_is_the_local_midnight_that_begins_day_90(zone: str, bought: str, lapsed: str) -> None:
    """Whatever the hour of the purchase, and whatever clocks did in between."""
    at, then = datetime.fromisoformat(bought).timestamp(), datetime.fromisoformat(lapsed).timestamp()
    terms = Terms(Rules(zoned(zone)), PriorScorer(), then + 0.5)
    moves = step(Customer("c", None, NEVER, [purchase(0, at)]), terms).moves
    lifecycle = [(move.current, move.at) for move in moves if move.dimension == "lifecycle"]
    assert lifecycle[-1] == ("lapsed", then)
    assert lifecycle[0] == ("active", at)


@given(zones, instants)
def test_days_of_utc_are_86_400_seconds(zone: str, at: float) -> None:
    """A zone whose clocks are never set has days of one length."""
    days = LocalDays("UTC")
    assert days.begins(days.day(at) + 1) - days.begins(days.day(at)) == timedelta(days=1).total_seconds()
    assert days.begins(days.day(at)) % 86_400 == 0


@pytest.mark.parametrize("name", ["Europe/Lundon", "", "../etc/passwd", "Europe", "localtime"])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    """By one error, whatever the way in which the name is wrong."""
    with pytest.raises(ZoneUnknown, match="is no time zone"):
        LocalDays(name)


@pytest.mark.parametrize("at", [-1e18, -62_135_596_800.0, 253_402_300_799.0, 1e18])
def test_the_ends_of_the_calendar_are_no_error(at: float) -> None:
    """An event may carry any year; a bound beyond the calendar is never reached."""
    days = LocalDays("Pacific/Auckland")
    assert days.between(at, START_S) >= 0
    assert days.after(at, 1e9) == NEVER

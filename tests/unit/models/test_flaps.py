"""Laws of the flap budget: what counts as taken back, and that a calibrated margin keeps the budget when it is served."""

import json
from itertools import pairwise
from pathlib import Path

import click.testing
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.flaps import WITHIN_DAYS, Flaps
from models.policy import PolicyError, load, parse, read
from models.step import Move
from schemas.changes import SilenceCause
from schemas.times import DAY_S
from streams.commands.policy import command
from streams.policy.editing import with_margins


def move(previous: str | None, current: str, days: float) -> Move:
    """A move in one dimension."""
    return Move(1, "value", previous, current, days * DAY_S, SilenceCause(""), ())


def counted(*moves: Move) -> tuple[int, int]:
    """Changes and reversals of one customer."""
    flaps = Flaps()
    flaps.count("c", moves)
    return flaps.changes["value"], flaps.reversals["value"]


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ([(None, "low", 0)], (0, 0)),
        ([(None, "low", 0), ("low", "mid", 1)], (1, 0)),
        ([("low", "mid", 0), ("mid", "low", 7)], (2, 1)),
        ([("low", "mid", 0), ("mid", "low", 7.1)], (2, 0)),
        ([("low", "mid", 0), ("mid", "high", 1), ("high", "low", 2)], (3, 0)),
        ([("low", "mid", 0), ("mid", "low", 1), ("low", "mid", 2)], (3, 2)),
    ],
)
def test_what_is_taken_back(moves: list[tuple[str | None, str, float]], expected: tuple[int, int]) -> None:
    """A change back to where the one before it came from, within a week of it; a first placement is no change."""
    assert counted(*(move(*each) for each in moves)) == expected


@given(
    st.lists(st.tuples(st.sampled_from(["low", "mid", "high"]), st.floats(0.01, 20)), min_size=1, max_size=20),
    st.integers(0, 20),
)
def test_counting_in_pieces_is_counting_at_once(steps: list[tuple[str, float]], cut: int) -> None:
    """A reversal is one wherever the history is cut; customers and dimensions don't touch each other."""
    moves, at, held = [], 0.0, "none"
    for segment, days in steps:
        at += days
        if segment != held:
            moves.append(move(held, segment, at))
            held = segment
    whole, pieces = Flaps(), Flaps()
    whole.count("c", moves)
    for part in (moves[:cut], moves[cut:]):
        pieces.count("c", part)
        pieces.count("another", part[:1])
        pieces.count("c", [each._replace(dimension="other") for each in part])
    assert pieces.reversals["value"] == whole.reversals["value"] == pieces.reversals["other"]
    back = sum(
        later.current == earlier.previous and later.at - earlier.at <= WITHIN_DAYS * DAY_S + 0.001
        for earlier, later in pairwise(moves)
    )
    assert whole.reversals["value"] == back


SEGMENTS = "segments: [{name: a}, {name: b, from: 1}]"
HEAD = 'name: a\nversion: "1"\ndimensions:'
FIRST = f"{{name: x, over: bought, {SEGMENTS}}}"
MARGIN = "    exit_margin: 0.10      # a segment is left downwards only below 90 % of its bound\n"
STYLES = {
    "block": read(),
    "block without": read().replace(MARGIN, ""),
    "over first": f"{HEAD}\n  - {FIRST}\n  - over: spend\n    name: y\n    {SEGMENTS}\n",
    "braces": f"{HEAD} [{FIRST}, {{name: y, over: spend, {SEGMENTS}}}]\n",
    "braces with": f"{HEAD} [{FIRST}, {{exit_margin: 0, name: y, over: spend, {SEGMENTS}}}]\n",
}


@pytest.mark.parametrize("style", STYLES)
def test_a_margin_is_written_into_any_style_and_nothing_else_is_touched(style: str) -> None:
    """In blocks and in braces, whether the dimension had one or not."""
    document = STYLES[style]
    before, after = parse(document), parse(with_margins(document, {1: 0.35}))
    assert after.dimensions[1].exit_margin == 0.35
    margins = [dimension.exit_margin for dimension in before.dimensions]
    assert parse(with_margins(document, {1: margins[1]})) == before
    assert with_margins(document, {}) == document


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Purchases of customers who spend about the bound, again and again."""
    rng = np.random.default_rng(5)
    rows = ["customer_id,purchased_at,amount"]
    for customer in range(40):
        at = rng.uniform(0, 20)
        while at < 150:
            day = np.datetime64("2024-01-01T00:00:00") + np.timedelta64(int(at * DAY_S), "s")
            rows.append(f"c{customer},{day}Z,{rng.uniform(2, 30):.2f}")
            at += rng.exponential(9.0)
    file = tmp_path_factory.mktemp("flaps") / "purchases.csv"
    file.write_text("\n".join(rows))
    return file


def run(*arguments: str) -> click.testing.Result:
    """The command."""
    return click.testing.CliRunner().invoke(command, list(arguments))


def test_a_calibrated_margin_keeps_the_budget(data: Path, tmp_path: Path) -> None:
    """Over the budget as it stands; with the margins that calibration writes, the same history is under it, as said."""
    loose = read().replace("exit_margin: 0.10", "exit_margin: 0.00").replace("dwell_days: 1", "dwell_days: 0")
    bare, budgeted, out = tmp_path / "bare.yaml", tmp_path / "budgeted.yaml", tmp_path / "out.yaml"
    bare.write_text(loose)
    told = run("flaps", str(bare), "generic", str(data), "--json")
    assert told.exit_code == 0, told.output
    value = next(flap for flap in json.loads(told.stdout)["dimensions"] if flap["dimension"] == "value")
    assert value["reversals"] > 0
    budget = value["per_1000"] / 2
    budgeted.write_text(loose.replace("currency: GBP", f"currency: GBP\nflap_budget: {budget:.3f}"))
    told = run("flaps", str(budgeted), "generic", str(data))
    assert told.exit_code == 1
    assert "over the budget" in told.output
    assert "lifecycle" in told.output

    told = run("calibrate", str(budgeted), "--history", "generic", str(data), "--out", str(out))
    assert told.exit_code == 0, told.output
    assert parse(out.read_text()).dimensions[1].exit_margin > 0
    assert out.read_text().count("#") == loose.count("#")
    said = told.stderr
    told = run("flaps", str(out), "generic", str(data), "--json")
    assert told.exit_code == 0, told.output
    value = next(flap for flap in json.loads(told.stdout)["dimensions"] if flap["dimension"] == "value")
    assert f"{value['reversals']:,} of {value['changes']:,} changes taken back" in said


def test_a_budget_that_no_margin_keeps_is_said(data: Path, tmp_path: Path) -> None:
    """With the dimension, what comes nearest, and another way: amounts leap across any margin.

    The other way does not help here: only purchases move this dimension, and no dwell holds a purchase back.
    """
    document = (
        read().replace("dwell_days: 1", "dwell_days: 0").replace("currency: GBP", "currency: GBP\nflap_budget: 1")
    )
    document = document.replace("over: expected_spend_90d", "over: last_amount").replace("from: 50.00", "from: 15.00")
    strict = tmp_path / "strict.yaml"
    strict.write_text(document)
    told = run("calibrate", str(strict), "--history", "generic", str(data))
    assert told.exit_code == 1
    assert "dimension value: no exit margin up to 0.6" in told.output
    assert "dwell of 8 days" in told.output
    strict.write_text(document.replace("dwell_days: 0", "dwell_days: 8"))
    assert run("flaps", str(strict), "generic", str(data)).exit_code == 1


def test_there_is_nothing_to_calibrate_without_a_budget(data: Path, tmp_path: Path) -> None:
    """One line says what the policy doesn't state, or what is wrong with it."""
    file = tmp_path / "policy.yaml"
    file.write_text(read())
    told = run("calibrate", str(file), "--history", "generic", str(data))
    assert (told.exit_code, "states no `flap_budget`" in told.output) == (1, True)
    file.write_text(read().replace("currency: GBP", "currency: GBP\nflap_budget: -1"))
    told = run("flaps", str(file), "generic", str(data))
    assert (told.exit_code, "flap_budget" in told.output) == (1, True)


def test_a_budget_is_part_of_what_a_policy_says() -> None:
    """Read from the document, within 0 and 1,000, and left out of the tag where it isn't stated."""
    stated = parse(read().replace("currency: GBP", "currency: GBP\nflap_budget: 5"))
    assert stated.flap_budget == 5
    assert stated.tag != load().tag
    with pytest.raises(PolicyError, match="flap_budget"):
        parse(read().replace("currency: GBP", "currency: GBP\nflap_budget: 1001"))

"""`regulars policy flaps`, `season` and `calibrate`: numbers of a policy from a shop's own customers and history."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands.options import Failure, setting_options, settings_from
from streams.commands.policy_inputs import FILE, STATES, load_policy, replay_history, run
from streams.sources.registry import SOURCES

if TYPE_CHECKING:
    from models.policy import Policy

DATASET = click.argument("dataset", type=click.Choice(list(SOURCES)))
DATA = click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.command("flaps")
@FILE
@DATASET
@DATA
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def flaps(file: Path, dataset: str, data: Path, as_json: bool) -> None:
    """Measure how often FILE takes a change back within 7 days, over DATA, a real DATASET, through the live code.

    Exit code 1 if a dimension does so more often than FILE's `flap_budget` allows.
    """
    from streams.policy.flap_budget import measure, over_budget

    policy = load_policy(file)
    rates = replay_history(lambda: measure(policy, dataset, data))
    if as_json:
        rows = [flap._asdict() for flap in rates]
        click.echo(json.dumps({"policy": policy.label, "flap_budget": policy.flap_budget, "dimensions": rows}))
    else:
        for flap in rates:
            note = "" if flap.budgeted else "; not budgeted, because days since a purchase do not flutter"
            click.echo(
                f"{flap.dimension}: {flap.changes:,} changes, {flap.reversals:,} taken back within 7 days: "
                f"{flap.per_1000:.1f} per 1,000 (exit margin {flap.exit_margin:g}{note})"
            )
    over = over_budget(policy, rates)
    if over:
        raise Failure(
            f"over the budget of {policy.flap_budget:g} per 1,000: {', '.join(flap.dimension for flap in over)}",
            f"`regulars policy calibrate {file} --history {dataset} {data}` raises exit margins",
        )


@click.command("season")
@DATASET
@DATA
def season(dataset: str, data: Path) -> None:
    """Measure a shop's year in DATA, a DATASET of two whole years or more, and print the policy's line `season:`."""
    from models.season import TooShort
    from streams.policy.seasonality import measure

    try:
        index, growth = replay_history(lambda: measure(dataset, data))
    except TooShort as exc:
        raise Failure(str(exc), "until then a policy without `season` is served with the year of online shops") from exc
    click.echo(f"# purchases a day by month, January first; growth of {growth - 1:+.0%} a year is taken out")
    # A policy takes .01 and more: a shop that sells in summer alone still sells something.
    click.echo(f"season: [{', '.join(f'{max(each, 0.01):.3f}' for each in index)}]")


@click.command("calibrate")
@FILE
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file; default: to stdout.")
@click.option(
    "--history", type=(click.Choice(list(SOURCES)), click.Path(exists=True, dir_okay=False, path_type=Path)),
    metavar="DATASET DATA", help="Also raise exit margins until DATA, replayed, stays within FILE's `flap_budget`.",
)  # fmt: skip
@setting_options(*STATES)
def calibrate(file: Path, out: Path | None, history: tuple[str, Path] | None, **options: Any) -> None:
    """Replace FILE's quantiles (`from_quantile: 0.8`) by numbers of the live customers; the rest stays as it is.

    With --history, also set exit margins: the smallest ones at which every dimension takes back no more of its changes
    within 7 days than `flap_budget` allows. Only quantiles need a broker.
    """
    from models.policy import PolicyError, parse, parse_marked, read
    from streams.policy.editing import calibrated, with_margins
    from streams.policy.preview import quantiles

    try:
        text = read(file)
        policy, _ = parse_marked(text)
        has_quantiles = any(segment.quantile is not None for each in policy.dimensions for segment in each.segments)
        if has_quantiles or history is None:
            customers, numbers = run(quantiles(settings_from(**options), policy))
            text = calibrated(text, numbers)
            click.echo(f"from {customers:,} customers", err=True)
        policy = parse(text)
        if history is not None:
            text = with_margins(text, _margins(policy, *history))
            parse(text)
    except (PolicyError, ValueError) as exc:
        raise Failure(f"{file}: {exc}") from exc
    if out is None:
        click.echo(text, nl=False)
    else:
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as exc:
            raise Failure(f"{out}: {exc.strerror}") from exc


def _margins(policy: "Policy", dataset: str, data: Path) -> dict[int, float]:
    """The exit margins to set, by the index of the dimension."""
    from streams.policy import flap_budget

    if policy.flap_budget is None:
        raise ValueError("it states no `flap_budget` that margins could be raised for")
    try:
        raised = replay_history(lambda: flap_budget.calibrate(policy, dataset, data))
    except flap_budget.NoMargin as exc:
        raise Failure(str(exc)) from exc
    for flap in raised.values():
        click.echo(
            f"{flap.dimension}: exit margin {flap.exit_margin:g}, {flap.reversals:,} of {flap.changes:,} changes taken "
            f"back within 7 days: {flap.per_1000:.1f} per 1,000",
            err=True,
        )
    return {place: flap.exit_margin for place, flap in raised.items()}

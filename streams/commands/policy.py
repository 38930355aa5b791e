"""`regulars policy`: check a policy, see what it would do, publish it, take it back, calibrate it."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from streams.commands.options import Failure, setting_options, settings_from
from streams.sources.registry import SOURCES

if TYPE_CHECKING:
    from models.policy import Policy
    from streams.policy.preview import Preview

T = TypeVar("T")

FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
BROKER = ("bootstrap_servers", "topic_prefix")
STATES = (*BROKER, "app_id", "clock", "clock_grace_s")


@click.group("policy")
def command() -> None:
    """Policies: what segments are. docs/policies.md explains every field."""


@command.command("check")
@FILE
def check(file: Path) -> None:
    """Say whether FILE is a policy, and if not where it isn't: line and column."""
    policy = _load(file)
    click.echo(f"{file}: {policy.label} is good: {_summary(policy)}")


@command.command("preview")
@FILE
@click.option("--sample", type=click.IntRange(0, 10_000), default=20, show_default=True, help="Name so many customers.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
@setting_options(*STATES)
def preview(file: Path, sample: int, as_json: bool, **options: Any) -> None:
    """Say who would move if FILE were published now, from every customer's current state; nobody moves."""
    from streams.policy.preview import preview as look
    from streams.policy.published import served

    policy, settings = _load(file), settings_from(**options)
    began = time.perf_counter()
    found = _run(look(settings, policy, sample))
    took_s = time.perf_counter() - began
    _warn_of_currency(policy, _run(served(settings)))
    if as_json:
        click.echo(json.dumps(_plain(policy, found, took_s)))
    else:
        _print(policy, found, took_s)


@command.command("publish")
@FILE
@setting_options(*BROKER)
def publish(file: Path, **options: Any) -> None:
    """Have every worker serve FILE; customers who stand elsewhere under it are moved, each once, with cause policy."""
    from models.policy import load, read
    from streams.policy.published import publish as send

    policy, settings = _load(file), settings_from(**options)
    served, before = _run(send(settings, read(file)))
    _warn_of_currency(policy, before or load(settings.policy))
    if before is not None and before.tag == served.tag:
        click.echo(f"{policy.label} is served already; nothing was published")
    else:
        click.echo(f"{policy.label} published{'' if before is None else f', instead of {before.label}'}")


@command.command("rollback")
@click.option("--to", metavar="VERSION", help="A version that was served before; default: the one before this one.")
@setting_options(*BROKER)
def rollback(to: str | None, **options: Any) -> None:
    """Publish again what was served before; a second rollback takes the first one back."""
    from streams.policy.published import rollback as send

    served, before = _run(send(settings_from(**options), to))
    click.echo(f"{served.label} published again{'' if before is None else f', instead of {before.label}'}")


@command.command("history")
@setting_options(*BROKER)
def history(**options: Any) -> None:
    """List what was published, latest first."""
    from schemas.times import to_rfc3339
    from streams.policy.published import history as read

    versions = _run(read(settings_from(**options)))
    if not versions:
        click.echo("nothing was published: workers serve the default policy, or the file in REGULARS_POLICY")
    for i, version in enumerate(versions):
        policy = version.policy
        label = "unreadable" if policy is None else policy.label
        click.echo(f"{to_rfc3339(round(version.at))}  {label}{'  (served)' if i == 0 else ''}")


@command.command("shadow")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--off", is_flag=True, help="Compare no policy any more.")
@click.option(
    "--worker", "workers", multiple=True, metavar="URL",
    help="Where a worker's pages are, once each; default: this machine at --web-port.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@setting_options(*BROKER, "web_port")
def shadow(file: Path | None, off: bool, workers: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Have every worker compare FILE with the served policy on live traffic, and tell nobody; without FILE, say how.

    What is said covers the customers that the workers have judged since the shadow was set.
    """
    from models.policy import read
    from streams.policy.published import set_shadow

    settings = settings_from(**options)
    if file is not None and off:
        raise click.UsageError("a FILE or --off, not both")
    if file is not None:
        policy = _load(file)
        _run(set_shadow(settings, read(file)))
        click.echo(f"{policy.label} is compared with the served policy from now on; nobody is moved")
    elif off:
        _run(set_shadow(settings, None))
        click.echo("no policy is compared with the served one any more")
    else:
        from streams.policy.comparison import ask, told

        found = _run(ask(workers or (f"http://127.0.0.1:{settings.web_port}",)))
        click.echo(json.dumps(found._asdict() | {"pairs": found.rows()}) if as_json else told(found))


@command.command("flaps")
@FILE
@click.argument("dataset", type=click.Choice(list(SOURCES)))
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def flaps(file: Path, dataset: str, data: Path, as_json: bool) -> None:
    """Say how often FILE takes a change back within 7 days, over DATA, a real DATASET, through the live code.

    Exit code 1 where a dimension does so more often than FILE's `flap_budget` allows.
    """
    policy = _load(file)
    found = _history(lambda: _flapping().measure(policy, dataset, data))
    if as_json:
        rows = [flap._asdict() for flap in found]
        click.echo(json.dumps({"policy": policy.label, "flap_budget": policy.flap_budget, "dimensions": rows}))
    else:
        for flap in found:
            note = "" if flap.budgeted else "; not budgeted, days since a purchase don't flutter"
            click.echo(
                f"{flap.dimension}: {flap.changes:,} changes, {flap.reversals:,} taken back within 7 days: "
                f"{flap.per_1000:.1f} per 1,000 (exit margin {flap.exit_margin:g}{note})"
            )
    over = _flapping().over_budget(policy, found)
    if over:
        raise Failure(
            f"over the budget of {policy.flap_budget:g} per 1,000: {', '.join(flap.dimension for flap in over)}",
            f"`regulars policy calibrate {file} --history {dataset} {data}` raises exit margins",
        )


@command.command("season")
@click.argument("dataset", type=click.Choice(list(SOURCES)))
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def season(dataset: str, data: Path) -> None:
    """Measure a shop's year in DATA, a DATASET of two whole years or more: the line `season:` of a policy."""
    from models.season import TooShort
    from streams.policy.seasonality import measure

    try:
        index, growth = _history(lambda: measure(dataset, data))
    except TooShort as exc:
        raise Failure(str(exc), "until then a policy without `season` is served with the year of online shops") from exc
    click.echo(f"# purchases a day by month, January first; growth of {growth - 1:+.0%} a year is taken out")
    # A policy takes .01 and more: a shop that sells in summer alone still sells something.
    click.echo(f"season: [{', '.join(f'{max(each, 0.01):.3f}' for each in index)}]")


@command.command("calibrate")
@FILE
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write there; default: to stdout.")
@click.option(
    "--history", type=(click.Choice(list(SOURCES)), click.Path(exists=True, dir_okay=False, path_type=Path)),
    metavar="DATASET DATA", help="Also raise exit margins until DATA, replayed, stays within FILE's `flap_budget`.",
)  # fmt: skip
@setting_options(*STATES)
def calibrate(file: Path, out: Path | None, history: tuple[str, Path] | None, **options: Any) -> None:
    """Put numbers of the live customers in place of FILE's quantiles (`from_quantile: 0.8`); all else is kept.

    With --history, exit margins too: the smallest at which no dimension takes back more of its changes within 7 days
    than `flap_budget` allows. Only quantiles need a broker.
    """
    from models.policy import PolicyError, parse, parse_marked, read
    from streams.policy.preview import quantiles
    from streams.policy.published import calibrated, with_margins

    try:
        text = read(file)
        policy, _ = parse_marked(text)
        quantiled = any(segment.quantile is not None for each in policy.dimensions for segment in each.segments)
        if quantiled or history is None:
            customers, numbers = _run(quantiles(settings_from(**options), policy))
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


def _flapping() -> ModuleType:
    from streams.policy import flap_budget as flapping

    return flapping


def _history(work: Callable[[], T]) -> T:
    from streams.sources.tables import FileRefused

    try:
        return work()
    except FileRefused as exc:
        raise Failure(str(exc)) from exc


def _margins(policy: "Policy", dataset: str, data: Path) -> dict[int, float]:
    if policy.flap_budget is None:
        raise ValueError("it states no `flap_budget` that margins could be raised for")
    flapping = _flapping()
    try:
        found = _history(lambda: flapping.calibrate(policy, dataset, data))
    except flapping.NoMargin as exc:
        raise Failure(str(exc)) from exc
    for flap in found.values():
        click.echo(
            f"{flap.dimension}: exit margin {flap.exit_margin:g}, {flap.reversals:,} of {flap.changes:,} changes taken "
            f"back within 7 days: {flap.per_1000:.1f} per 1,000",
            err=True,
        )
    return {place: flap.exit_margin for place, flap in found.items()}


def _warn_of_currency(policy: "Policy", served: "Policy") -> None:
    if policy.currency != served.currency:
        click.echo(
            f"warning: {policy.label} is in {policy.currency}, {served.label}, served until now, in {served.currency}: "
            "amounts are never converted; what was added up stays, and events in another currency count at face value",
            err=True,
        )


def _load(file: Path) -> "Policy":
    from models.policy import PolicyError, load

    try:
        return load(file)
    except PolicyError as exc:
        raise Failure(str(exc)) from exc


def _run(work: Coroutine[Any, Any, T]) -> T:
    import msgspec

    from models.policy import PolicyError
    from streams.kafka.errors import TopicsNotReady
    from streams.kafka.readers import BrokerAway, TopicMissing
    from streams.policy.comparison import NoComparison
    from streams.policy.published import PolicyRefused

    try:
        return asyncio.run(work)
    except (BrokerAway, TopicMissing, TopicsNotReady, PolicyError, PolicyRefused, NoComparison) as exc:
        raise Failure(str(exc)) from exc
    except msgspec.DecodeError as exc:
        raise Failure(f"a state can't be read ({exc})", "it was written by another version of regulars") from exc


def _summary(policy: "Policy") -> str:
    days = "" if policy.time_zone is None else f"days of {policy.time_zone}; "
    return days + "; ".join(
        f"{dimension.name} over {dimension.over}: "
        + ", ".join(
            segment.name if segment.bound is None else f"{segment.name} from {segment.bound:g}"
            for segment in dimension.segments
        )
        for dimension in policy.dimensions
    )


def _plain(policy: "Policy", found: "Preview", took_s: float) -> dict[str, Any]:
    return {
        "policy": policy.label,
        "model": found.model,
        "customers": found.customers,
        "moving": found.moving,
        "moves": [
            {"dimension": dimension, "previous": previous, "current": current, "customers": count}
            for (dimension, previous, current), count in found.moves.most_common()
        ],
        "places": [
            {"dimension": dimension, "segment": segment, "customers": count}
            for (dimension, segment), count in sorted(found.places.items())
        ],
        "sample": [moved._asdict() for moved in found.sample],
        "seconds": round(took_s, 3),
    }


def _print(policy: "Policy", found: "Preview", took_s: float) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    share = found.moving / found.customers if found.customers else 0.0
    console.print(
        f"under {escape(policy.label)}, {found.moving:,} of {found.customers:,} customers would move ({share:.1%}); "
        f"model {escape(found.model)}, {took_s:.1f} s"
    )
    for title, rows in (
        (
            "moves",
            [
                (dimension, f"{previous or '(new)'} -> {current}", f"{count:,}")
                for (dimension, previous, current), count in found.moves.most_common()
            ],
        ),
        (
            "where all would stand",
            [(dimension, segment, f"{found.places[dimension, segment]:,}") for dimension, segment in _order(policy)],
        ),
        (
            "some who would move",
            [
                (
                    moved.customer_id,
                    f"{moved.dimension}: {moved.previous or '(new)'} -> {moved.current}",
                    "never bought" if moved.number is None else f"{moved.number:,.2f}",
                )
                for moved in found.sample
            ],
        ),
    ):
        if rows:
            table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None)
            for row in rows:
                table.add_row(*map(escape, row))
            console.print(table)


def _order(policy: "Policy") -> list[tuple[str, str]]:
    return [(dimension.name, segment.name) for dimension in policy.dimensions for segment in dimension.segments]

"""`regulars models`: a shop's own models beside the served one."""

import asyncio
from typing import Any

import click

from streams.commands.options import Failure, setting_options, settings_from

_BROKER = ("bootstrap_servers", "topic_prefix")
_TARGETS = ("p_purchase_30d", "p_purchase_90d", "expected_purchases_90d", "expected_spend_90d")


@click.group("models")
def command() -> None:
    """A shop's own models, as challengers of the served ones.

    REGULARS_MODELS names them for trainer and workers: `[NAME=]package.module:function`, or one that is shipped (adagrad,
    bagging, dynamic, forest, leaf-tree), comma between several. The function gives a mapping of target to River estimator.
    """


@command.command("check")
@click.argument("models", metavar="MODULE:FUNCTION")
def check(models: str) -> None:
    """Build MODULE:FUNCTION (or a shipped one) and say whether it can take part.

    Runs River's own checks on the shop's features, learns and forecasts made-up labels, stores the state and reads it
    again; says labels/s, rows/s and bytes of each target. Exit code 1 where something stands against it.
    """
    from models.learning.checking import checked
    from models.learning.plug import PlugError, plugged
    from streams.report.challengers import aligned

    try:
        contenders = plugged(models)
    except PlugError as exc:
        raise Failure(str(exc), "a function that gives {target: River estimator}; see docs/models.md") from exc
    if not contenders:
        raise click.UsageError("name a module and its function, package.module:function")
    lines: list[tuple[str, ...]] = [("target", "contestant", "River's checks", "labels/s", "rows/s", "bytes", "gain")]
    problems = []
    for contender in contenders:
        for target, model in contender.models.items():
            found = checked(contender.name, target, model, contender.packages)
            problems += [f"{contender.name}, {target}: {problem}" for problem in found.problems]
            rates = (f"{found.labels_per_s:,.0f}", f"{found.rows_per_s:,.0f}", f"{found.size:,}", f"{found.gain:+.3f}")
            lines.append((target, contender.name, f"{found.passed} passed", *rates))
    click.echo(aligned(lines))
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise Failure(f"{len(problems)} found; a challenger that fails in the trainer is out and never served")


@command.command("list")
@setting_options(*_BROKER)
def list_(**options: Any) -> None:
    """Show every contestant of every target: its loss, the difference to the default model, and which one is served.

    As of the latest snapshot: losses are over all labels that both forecast before they were learnt, the standard error is
    that of the difference.
    """
    from models.learning.contest import Contest
    from streams.report.challengers import standings

    snapshot = _latest(settings_from(**options))
    contest = Contest.of_state(snapshot.contest, snapshot.names)
    click.echo(f"{snapshot.version}: {snapshot.labels:,} labels, up to {_day(snapshot.learnt_to)}")
    rows = contest.rows()
    click.echo(standings(rows) if rows else "no label has been judged yet")


@command.command("promote")
@click.argument("name")
@click.option("--target", type=click.Choice(_TARGETS), help="Only this target; default: all that NAME forecasts.")
@setting_options(*_BROKER)
def promote(name: str, target: str | None, **options: Any) -> None:
    """Serve NAME from now on, whatever the evidence: a challenger, `default`, or `prior`. `regulars models auto` ends it.

    The trainer takes the order within seconds, and publishes; workers serve it with their next chunk.
    """
    from models.learning.contest import Contest
    from schemas.orders import Orders
    from streams.training import orders

    settings = settings_from(**options)
    snapshot = _latest(settings)
    rows = Contest.of_state(snapshot.contest, snapshot.names).rows()
    targets = [row.target for row in rows if row.name == name and target in (None, row.target)]
    if not targets:
        there = ", ".join(dict.fromkeys(row.name for row in rows if target in (None, row.target))) or "none yet"
        raise Failure(f"no contestant {name}{f' of {target}' if target else ''}; there are: {there}")
    failures = [row.failure for row in rows if row.name == name and row.target in targets and row.failure]
    if failures:
        raise Failure(f"{name} is out: {failures[0]}", "`regulars models check` shows what is wrong")
    before = asyncio.run(orders.given(settings)).pinned
    asyncio.run(orders.give(settings, Orders(before | dict.fromkeys(targets, name))))
    click.echo(f"{name} is to be served for {', '.join(targets)}; `regulars models list` shows when it is")


@command.command("auto")
@click.option("--target", type=click.Choice(_TARGETS), help="Only this target; default: all.")
@setting_options(*_BROKER)
def auto(target: str | None, **options: Any) -> None:
    """Let evidence decide again what is served."""
    from schemas.orders import Orders
    from streams.training import orders

    settings = settings_from(**options)
    before = asyncio.run(orders.given(settings)).pinned
    kept = {of: name for of, name in before.items() if target not in (None, of)}
    asyncio.run(orders.give(settings, Orders(kept)))
    click.echo(f"evidence decides {'for ' + target if target else 'for all targets'}; nothing changes until it does")


def _latest(settings: Any) -> Any:
    """The latest snapshot."""
    from models.features import FEATURE_SET
    from models.learning.snapshots import DYNAMIC, SnapshotError, decode_snapshot
    from schemas.topics import MODEL_SNAPSHOTS
    from streams.kafka.broadcast import read_latest

    data = asyncio.run(read_latest(settings, MODEL_SNAPSHOTS)).get(DYNAMIC.encode())
    if data is None:
        raise Failure("nothing has been learnt yet: there is no snapshot", "start `regulars trainer`")
    try:
        return decode_snapshot(data, FEATURE_SET)
    except SnapshotError as exc:
        raise Failure(str(exc)) from exc


def _day(moment: float) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"

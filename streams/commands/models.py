"""`regulars models`: a shop's own models beside the served one."""

import click

from streams.commands.options import Failure


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
        own = (contender.package,) if contender.package else ()
        for target, model in contender.models.items():
            found = checked(contender.name, target, model, own)
            problems += [f"{contender.name}, {target}: {problem}" for problem in found.problems]
            rates = (f"{found.labels_per_s:,.0f}", f"{found.rows_per_s:,.0f}", f"{found.size:,}", f"{found.gain:+.3f}")
            lines.append((target, contender.name, f"{found.passed} passed", *rates))
    click.echo(aligned(lines))
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise Failure(f"{len(problems)} found; a challenger that fails in the trainer is out and never served")

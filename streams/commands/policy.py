"""`regulars policy`: check a policy, publish it, roll it back, compare it with the served one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands.options import setting_options, settings_from
from streams.commands.policy_inputs import BROKER, FILE, load_policy, run, warn_of_currency
from streams.commands.policy_preview import preview
from streams.commands.policy_tuning import calibrate, flaps, season

if TYPE_CHECKING:
    from models.policy import Policy


@click.group("policy")
def command() -> None:
    """Policies: what segments are. docs/policies.md explains every field."""


@command.command("check")
@FILE
def check(file: Path) -> None:
    """Say whether FILE is a policy; if it is not, name line and column of the error."""
    policy = load_policy(file)
    click.echo(f"{file}: {policy.label} is good: {_summary(policy)}")


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


command.add_command(preview)


@command.command("publish")
@FILE
@setting_options(*BROKER)
def publish(file: Path, **options: Any) -> None:
    """Make every worker serve FILE; each customer who stands elsewhere under it moves once, with the cause `policy`."""
    from models.policy import load, read
    from streams.policy.published import publish as send

    policy, settings = load_policy(file), settings_from(**options)
    served, before = run(send(settings, read(file)))
    warn_of_currency(policy, before or load(settings.policy))
    if before is not None and before.tag == served.tag:
        click.echo(f"{policy.label} is served already; nothing was published")
    else:
        click.echo(f"{policy.label} published{'' if before is None else f', instead of {before.label}'}")


@command.command("rollback")
@click.option("--to", metavar="VERSION", help="A version that was served before; default: the latest of those.")
@setting_options(*BROKER)
def rollback(to: str | None, **options: Any) -> None:
    """Publish again what was served before; a second rollback undoes the first one."""
    from streams.policy.published import rollback as send

    served, before = run(send(settings_from(**options), to))
    click.echo(f"{served.label} published again{'' if before is None else f', instead of {before.label}'}")


@command.command("history")
@setting_options(*BROKER)
def history(**options: Any) -> None:
    """List what was published, latest first."""
    from schemas.times import to_rfc3339
    from streams.policy.published import history as read

    versions = run(read(settings_from(**options)))
    if not versions:
        click.echo("nothing was published: workers serve the default policy, or the file in REGULARS_POLICY")
    for i, version in enumerate(versions):
        policy = version.policy
        label = "unreadable" if policy is None else policy.label
        click.echo(f"{to_rfc3339(round(version.at))}  {label}{'  (served)' if i == 0 else ''}")


@command.command("shadow")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--off", is_flag=True, help="End the comparison.")
@click.option(
    "--worker", "workers", multiple=True, metavar="URL",
    help="Address of a worker's pages; give one per worker. Default: this machine at --web-port.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@setting_options(*BROKER, "web_port")
def shadow(file: Path | None, off: bool, workers: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Make every worker compare FILE with the served policy on live traffic; nobody moves. Without FILE, show the result.

    The result covers the customers that the workers have judged since the comparison began.
    """
    from models.policy import read
    from streams.policy.published import set_shadow

    settings = settings_from(**options)
    if file is not None and off:
        raise click.UsageError("give a FILE or --off, not both")
    if file is not None:
        policy = load_policy(file)
        run(set_shadow(settings, read(file)))
        click.echo(f"{policy.label} is compared with the served policy from now on; nobody is moved")
    elif off:
        run(set_shadow(settings, None))
        click.echo("no policy is compared with the served one any more")
    else:
        from streams.policy.comparison import as_text, ask

        compared = run(ask(workers or (f"http://127.0.0.1:{settings.web_port}",)))
        click.echo(json.dumps(compared._asdict() | {"pairs": compared.rows()}) if as_json else as_text(compared))


command.add_command(flaps)
command.add_command(season)
command.add_command(calibrate)

"""`regulars policy`: check a policy, publish it, roll it back, compare it with the served one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands.options import setting_options, settings_from
from streams.commands.policy_inputs import (
    BROKER,
    FILE,
    STATES,
    confirm,
    load_policy,
    run,
    warn_of_currency,
    warn_of_dropped,
    warn_of_restless,
)
from streams.commands.policy_preview import preview, show_preview
from streams.commands.policy_tuning import calibrate, flaps, season

if TYPE_CHECKING:
    from models.policy import Policy


@click.group("policy")
def command() -> None:
    """Policies: what segments are. docs/policies.md explains every field."""


@command.command("check")
@FILE
@click.option(
    "--against",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Another policy, as the one that is served: warn of what FILE drops and of another currency.",
)
def check(file: Path, against: Path | None) -> None:
    """Say whether FILE is a policy; if it is not, name line and column of the error."""
    policy = load_policy(file)
    warn_of_restless(policy)
    if against is not None:
        other = load_policy(against)
        warn_of_currency(policy, other)
        warn_of_dropped(policy, other)
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
@click.option("--yes", is_flag=True, help="Do not ask, also if FILE has another currency than the served policy.")
@setting_options(*BROKER)
def publish(file: Path, yes: bool, **options: Any) -> None:
    """Make every worker serve FILE; each customer who stands elsewhere under it moves once, with the cause `policy`."""
    from models.policy import read
    from streams.policy.published import publish as send
    from streams.policy.published import served as now_served

    policy, settings = load_policy(file), settings_from(**options)
    current = run(now_served(settings))
    warn_of_currency(policy, current)
    warn_of_dropped(policy, current)
    if policy.currency != current.currency and not yes:
        confirm(f"publish a policy in {policy.currency}, while customers' sums are in {current.currency}?")
    served, before = run(send(settings, read(file)))
    warn_of_restless(policy)
    if before is not None and before.tag == served.tag:
        click.echo(f"{policy.label} is served already; nothing was published")
    else:
        click.echo(f"{policy.label} published{'' if before is None else f', instead of {before.label}'}")


@command.command("rollback")
@click.option("--to", metavar="VERSION", help="A version that was served before; default: the latest of those.")
@click.option("--preview", "only_preview", is_flag=True, help="Show who would move; nothing is published.")
@click.option(
    "--sample", type=click.IntRange(0, 10_000), default=20, show_default=True, help="With --preview: name this many."
)
@click.option("--json", "as_json", is_flag=True, help="With --preview: print one JSON object instead of tables.")
@click.option("--yes", is_flag=True, help="Do not ask, also if that policy has another currency than the served one.")
@setting_options(*STATES)
def rollback(to: str | None, only_preview: bool, sample: int, as_json: bool, yes: bool, **options: Any) -> None:
    """Publish again what was served before; a second rollback undoes the first one.

    Every customer is judged anew by that policy, as they are now: a segment that only a dwell or an exit margin held
    does not come back. --preview shows who would stand where.
    """
    from streams.policy.published import former
    from streams.policy.published import rollback as send

    settings = settings_from(**options)
    policy, current = run(former(settings, to))
    if only_preview:
        show_preview(settings, policy, current, sample, as_json)
        return
    warn_of_currency(policy, current)
    warn_of_dropped(policy, current)
    if policy.currency != current.currency and not yes:
        confirm(f"publish a policy in {policy.currency}, while customers' sums are in {current.currency}?")
    served, before = run(send(settings, to))
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
@setting_options(*BROKER, "web_port", "web_token_file")
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
        from streams.signin.tokens import own_headers

        compared = run(ask(workers or (f"http://127.0.0.1:{settings.web_port}",), own_headers(settings)))
        click.echo(json.dumps(compared._asdict() | {"pairs": compared.rows()}) if as_json else as_text(compared))


command.add_command(flaps)
command.add_command(season)
command.add_command(calibrate)

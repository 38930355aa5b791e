"""`regulars erase`: erases everything that is known about customers."""

import asyncio
import time
from typing import TYPE_CHECKING, Any

import click

from streams.commands.failures import kafka_errors_as_failures
from streams.commands.options import Failure, setting_options, settings_from

if TYPE_CHECKING:
    from streams.settings import Settings


@click.command("erase")
@click.argument("customers", nargs=-1, required=True, metavar="CUSTOMER...")
@click.option(
    "--at",
    metavar="TIME",
    help="Their events up to this time (RFC 3339) no longer count, whenever they arrive.  [default: now]",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Wait this long at most until customer-segments shows that they are erased; exit code 1 if it does not.",
)
@setting_options("bootstrap_servers", "topic_prefix", "app_id", "group")
def command(customers: tuple[str, ...], at: str | None, wait_s: float | None, **options: Any) -> None:
    """Erase each CUSTOMER: state, segments, scores, pending labels. Show what remains where, and how long.

    A later event of an erased customer makes a new customer.
    """
    from schemas.patterns import id_mistake
    from schemas.times import from_rfc3339, to_rfc3339

    settings = settings_from(**options)
    if (mistake := next(filter(None, map(id_mistake, customers)), None)) is not None:
        raise click.UsageError(f"a customer id {mistake}")
    try:
        moment = time.time() if at is None else from_rfc3339(at)
    except ValueError as exc:
        raise click.UsageError(f"--at: {exc}") from exc
    if moment > time.time() + settings.future_limit_s:
        raise click.UsageError("--at: later than workers accept; they would refuse the erasure")
    with kafka_errors_as_failures("Kafka refused", "run it again; erasing twice does no harm"):
        missing = asyncio.run(_erase(settings, customers, moment, wait_s))
    if missing:
        raise Failure(
            f"within {wait_s:g} s customer-segments did not show that {', '.join(missing)} is erased",
            "the erasure was sent: `regulars lag` shows which worker reads it and whether it makes progress, "
            "`regulars dead-letters list` whether it was refused",
        )
    click.echo(f"their events up to {to_rfc3339(moment)} no longer count")


async def _erase(settings: "Settings", customers: tuple[str, ...], at: float, wait_s: float | None) -> list[str]:
    from schemas.events import ERASURES, GROUP_TOPICS
    from schemas.topics import DEAD_LETTERS, MODEL_TRAIN, SEGMENT_CHANGES
    from streams.kafka.topics import kept_for
    from streams.ops.erasing import send, wait, workers

    names = (SEGMENT_CHANGES, DEAD_LETTERS, *GROUP_TOPICS, MODEL_TRAIN)
    erasing = await send(settings, customers, at)
    for sent in erasing.sent:
        click.echo(f"sent: erase {sent.customer_id} ({settings.topic(ERASURES)}/{sent.partition}/{sent.offset})")
    kept = await kept_for(settings, names)
    click.echo("what was written before stays until it is deleted:")
    for name in names:
        pseudonym = ", under a pseudonym" if name == MODEL_TRAIN else ""
        click.echo(f"  {settings.topic(name):<24} {_days(kept[name])}{pseudonym}")
    click.echo(
        f"  {'older states, standings':<24} until Kafka compacts: a week, if `regulars topics check` finds no difference"
    )
    if wait_s is None:
        return []
    missing, by = list(await wait(settings, erasing, wait_s)), await workers(settings, erasing)
    for sent in erasing.sent:
        worker = by.get(sent.customer_id, "no worker at present")
        done = "not erased yet" if sent.customer_id in missing else "erased"
        click.echo(f"{done}: {sent.customer_id} (partition {sent.partition}, read by {worker})")
    return missing


def _days(ms: int | None) -> str:
    return "for ever: its retention.ms is -1" if ms is None else f"{ms / 86_400_000:.3g} days"

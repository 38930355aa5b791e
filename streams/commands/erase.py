"""`regulars erase`: everything that is known of customers goes."""

import asyncio
import time
from typing import TYPE_CHECKING, Any

import click

from streams.commands.options import Failure, setting_options, settings_from

if TYPE_CHECKING:
    from streams.settings import Settings

_WHERE = ("segment-changes", "dead-letters", "clickstream", "purchases", "reviews", "model-train")


@click.command("erase")
@click.argument("customers", nargs=-1, required=True, metavar="CUSTOMER...")
@click.option(
    "--at",
    metavar="TIME",
    help="No event of theirs up to this time (RFC 3339) counts any more, whenever it comes.  [default: now]",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Wait until customer-segments says that they are erased, so long at most; exit code 1 where it doesn't.",
)
@setting_options("bootstrap_servers", "topic_prefix", "app_id")
def command(customers: tuple[str, ...], at: str | None, wait_s: float | None, **options: Any) -> None:
    """Erase each CUSTOMER: state, segments, scores, pending labels; say what remains where, and how long.

    Who is heard of later comes back as a new customer.
    """
    from aiokafka.errors import KafkaError

    from schemas.events import ID_LIMIT_CHARS
    from schemas.times import from_rfc3339, to_rfc3339
    from streams.kafka.readers import BrokerAway, TopicMissing
    from streams.kafka.security import DENIALS, AccessRefused

    settings = settings_from(**options)
    if any(not 1 <= len(customer) <= ID_LIMIT_CHARS for customer in customers):
        raise click.UsageError(f"a customer id has 1 to {ID_LIMIT_CHARS} characters")
    try:
        moment = time.time() if at is None else from_rfc3339(at)
    except ValueError as exc:
        raise click.UsageError(f"--at: {exc}") from exc
    if moment > time.time() + settings.future_limit_s:
        raise click.UsageError("--at: later than workers accept; they would refuse it")
    try:
        missing = asyncio.run(_erase(settings, customers, moment, wait_s))
    except (BrokerAway, TopicMissing) as exc:
        raise Failure(str(exc)) from exc
    except (AccessRefused, *DENIALS):
        raise  # the command line says the same of it for every command
    except KafkaError as exc:
        raise Failure(f"Kafka refused: {exc!r}", "run it again; to erase twice does no harm") from exc
    if missing:
        raise Failure(
            f"within {wait_s:g} s customer-segments did not say that {', '.join(missing)} is erased",
            "the erasure is sent: see `regulars lag` whether workers get on, `regulars dead-letters list` if it was refused",
        )
    click.echo(f"no event of theirs up to {to_rfc3339(moment)} counts any more")


async def _erase(settings: "Settings", customers: tuple[str, ...], at: float, wait_s: float | None) -> "list[str]":
    from streams.kafka.topics import kept_for
    from streams.ops.erasing import send, wait

    erasing = await send(settings, customers, at)
    for sent in erasing.sent:
        click.echo(f"sent: erase {sent.customer_id} ({settings.topic('purchases')}/{sent.partition}/{sent.offset})")
    kept = await kept_for(settings, _WHERE)
    click.echo("what was written before stays until it is deleted:")
    for name in _WHERE:
        under = ", under a pseudonym" if name == "model-train" else ""
        click.echo(f"  {settings.topic(name):<24} {_days(kept[name])}{under}")
    click.echo(
        f"  {'older states, standings':<24} until Kafka compacts: a week, where `regulars topics check` finds nothing"
    )
    if wait_s is None:
        return []
    missing = list(await wait(settings, erasing, wait_s))
    for sent in erasing.sent:
        if sent.customer_id not in missing:
            click.echo(f"erased: {sent.customer_id}")
    return missing


def _days(ms: int | None) -> str:
    return "for ever: its retention.ms is -1" if ms is None else f"{ms / 86_400_000:.3g} days"

"""`regulars explain`: one customer in words."""

import asyncio
from typing import TYPE_CHECKING

import click

from streams.commands.options import Failure, setting_options, settings_from

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from schemas.changes import Change
    from schemas.states import CustomerState
    from streams.ops.explain import CustomerHistory


@click.command("explain")
@click.argument("customer")
@click.option(
    "--history", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many changes to show."
)
@setting_options("bootstrap_servers", "topic_prefix", "app_id")
def command(
    customer: str, history: int, bootstrap_servers: str | None, topic_prefix: str | None, app_id: str | None
) -> None:
    """Show where CUSTOMER stands, why, what would change it, and what comes next; from the topics alone."""
    from rich.console import Console

    from streams.ops.explain import look_up, spend_interval

    settings = settings_from(bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, app_id=app_id)
    known = asyncio.run(look_up(settings, customer, history))
    if known.state is None and known.standing is None:
        raise Failure(
            f"no customer {customer!r} is known to {settings.app_id} at {settings.bootstrap_servers}",
            "ids are exact (case, leading zeros); `regulars lag` shows whether events still wait to be processed",
        )
    if known.state is not None and known.state.is_erased:
        _print_erased(customer, known.state)
        return
    interval = None if known.standing is None else asyncio.run(spend_interval(settings, known.standing))
    _print(Console(highlight=False), known, interval)


def _print_erased(customer: str, remainder: "CustomerState") -> None:
    from schemas.times import to_rfc3339

    at = to_rfc3339(remainder.erased_at or 0.0)
    click.echo(f"{customer} was erased: events up to {at} do not count, and no later one has come")
    click.echo(f"a later event makes a new customer, whose changes begin with number {remainder.sequence + 1}")


def _print(console: "Console", customer: "CustomerHistory", interval: tuple[float, float] | None) -> None:
    from rich.text import Text

    console.print(Text(customer.customer_id, "bold"), Text(f"(partition {customer.partition})", "dim"))
    _print_standing(console, customer, interval)
    _print_profile(console, customer)
    _print_next(console, customer)
    _print_history(console, customer.changes)


def _print_standing(console: "Console", customer: "CustomerHistory", interval: tuple[float, float] | None) -> None:
    from rich.markup import escape

    from schemas.times import to_rfc3339
    from streams.words import day

    if customer.standing is None:
        console.print("no segment yet")
        return
    held = {} if customer.state is None else customer.state.segments
    table = _grid("standing")
    for dimension, segment in customer.standing.segments.items():
        since = f"since {day(to_rfc3339(held[dimension].since))}" if dimension in held else ""
        if (until := customer.standing.held_until.get(dimension)) is not None:
            since += f", held until {day(until)} unless they buy or return"
        if dimension in customer.standing.retired:
            since += ", retired: the policy no longer has it"
        table.add_row(escape(dimension), f"[bold]{escape(segment)}[/bold]", since)
    console.print(table)
    scores = _grid("scores")
    for name, value in customer.standing.scores.items():
        scores.add_row(name.replace("_", " "), f"{value:,.3f}", "")
    if interval is not None:
        scores.add_row("spend 90d", f"{interval[0]:,.2f} to {interval[1]:,.2f}", "four in five such customers")
    versions = customer.standing.versions
    scores.add_row("by", escape(f"policy {versions.policy}, model {versions.model}, encoder {versions.encoder}"), "")
    console.print(scores)


def _print_profile(console: "Console", customer: "CustomerHistory") -> None:
    from schemas.currencies import unit_minor_of
    from streams.words import day

    if customer.standing is None:
        return
    profile, currency = customer.standing.profile, customer.standing.currency or ""
    unit = customer.standing.unit_minor or unit_minor_of(currency) or 100

    def money(minor: float) -> str:
        return f"{minor / unit:,.{len(str(unit)) - 1}f} {currency}".rstrip()

    table = _grid("profile")
    table.add_row("purchases", f"{profile.purchases:,}", f"{money(profile.spend_minor)} in all")
    if profile.purchases:
        table.add_row("mean purchase", money(profile.monetary_minor or 0.0), "")
        table.add_row(
            "first, last", f"{day(profile.first_purchase_at or '')}, {day(profile.last_purchase_at or '')}", ""
        )
    if profile.refunds:
        table.add_row("refunds", f"{profile.refunds:,}", f"{money(profile.refunded_minor)} in all")
    table.add_row("clicks, reviews", f"{profile.clicks:,}, {profile.reviews:,}", "")
    table.add_row("last heard of", day(profile.last_event_at or ""), f"as of {day(customer.standing.as_of)}")
    console.print(table)


def _print_next(console: "Console", customer: "CustomerHistory") -> None:
    from streams.words import counterfactual_words, next_words

    latest: dict[str, Change] = {}
    for change in customer.changes:
        latest.setdefault(change.dimension, change)
    table = _grid("what comes next, and what would have kept things as they were")
    if customer.standing is not None:
        table.add_row("next", next_words(customer.standing.next), "")
    for dimension, change in latest.items():
        # Of another policy, or before a later move that fell out of the history, it would be no advice.
        served = customer.standing is not None and change.versions.policy == customer.standing.versions.policy
        if change.counterfactual is not None and served:
            table.add_row(dimension, counterfactual_words(change.counterfactual, change.previous), "")
    console.print(table)


def _print_history(console: "Console", changes: "tuple[Change, ...]") -> None:
    from rich.markup import escape
    from rich.table import Table

    from streams.words import cause_words, day, reason_words

    if not changes:
        return
    table = Table(
        title="changes, latest first", title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0)
    )
    for name, justify in (("no.", "right"), ("when", "left"), ("moved", "left"), ("why", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for change in changes:
        why = "; ".join([cause_words(change.cause), *map(reason_words, change.reasons)])
        moved = (
            f"{escape(change.dimension)}: {escape(change.previous or 'new')} -> [bold]{escape(change.current)}[/bold]"
        )
        table.add_row(str(change.sequence), day(change.changed_at), moved, escape(why))
    console.print(table)


def _grid(title: str) -> "Table":
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", title_style="bold", show_header=False, box=None, padding=(0, 2, 0, 2)
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_column(style="dim")
    return table

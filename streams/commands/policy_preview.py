"""`regulars policy preview`: which customers would move under a policy."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands.options import setting_options, settings_from
from streams.commands.policy_inputs import FILE, STATES, load_policy, run, warn_of_currency, warn_of_dropped

if TYPE_CHECKING:
    from models.policy import Policy
    from streams.policy.preview import Preview
    from streams.settings import Settings


@click.command("preview")
@FILE
@click.option(
    "--sample", type=click.IntRange(0, 10_000), default=20, show_default=True, help="Name this many customers."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@setting_options(*STATES)
def preview(file: Path, sample: int, as_json: bool, **options: Any) -> None:
    """Show which customers would move if FILE were published now, from every customer's current state; nobody moves."""
    from streams.policy.published import served

    policy, settings = load_policy(file), settings_from(**options)
    show_preview(settings, policy, run(served(settings)), sample, as_json)


def show_preview(settings: "Settings", policy: "Policy", before: "Policy", sample: int, as_json: bool) -> None:
    """Prints who would move if `policy` were served instead of `before`."""
    from streams.policy.preview import preview as compute

    began = time.perf_counter()
    result = run(compute(settings, policy, sample, before))
    took_s = time.perf_counter() - began
    warn_of_currency(policy, before)
    warn_of_dropped(policy, before)
    if as_json:
        click.echo(json.dumps(_as_json(policy, result, took_s)))
    else:
        _print(policy, result, took_s)


def _as_json(policy: "Policy", result: "Preview", took_s: float) -> dict[str, Any]:
    return {
        "policy": policy.label,
        "model": result.model,
        "customers": result.customers,
        "moving": result.moving,
        "moves": [
            {
                "dimension": dimension,
                "previous": previous,
                "current": current,
                "customers": count,
                "lifted_dwells": result.lifted[dimension, previous, current],
            }
            for (dimension, previous, current), count in result.moves.most_common()
        ],
        "before": [
            {"dimension": dimension, "segment": segment, "customers": count}
            for (dimension, segment), count in sorted(result.before.items())
        ],
        "places": [
            {"dimension": dimension, "segment": segment, "customers": count}
            for (dimension, segment), count in sorted(result.places.items())
        ],
        "sample": [moved._asdict() for moved in result.sample],
        "seconds": round(took_s, 3),
    }


def _print(policy: "Policy", result: "Preview", took_s: float) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    share = result.moving / result.customers if result.customers else 0.0
    console.print(
        f"under {escape(policy.label)}, {result.moving:,} of {result.customers:,} customers would move ({share:.1%}); "
        f"model {escape(result.model)}, {took_s:.1f} s"
    )
    for title, rows in (
        ("moves", _moves(result)),
        ("where all stand now, and would stand", _places(policy, result)),
        ("some who would move", _sample(result)),
    ):
        if rows:
            table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None)
            for row in rows:
                table.add_row(*map(escape, row))
            console.print(table)


def _moves(result: "Preview") -> list[tuple[str, ...]]:
    return [
        (
            dimension,
            f"{previous or '(new)'} -> {current}",
            f"{count:,}",
            f"{lifted:,} of them only because a dwell ends" if (lifted := result.lifted[kind]) else "",
        )
        for kind, count in result.moves.most_common()
        for dimension, previous, current in (kind,)
    ]


def _places(policy: "Policy", result: "Preview") -> list[tuple[str, ...]]:
    kept = [(dimension.name, segment.name) for dimension in policy.dimensions for segment in dimension.segments]
    names = {dimension.name for dimension in policy.dimensions}
    gone = [place for place in sorted(result.before) if place not in kept]
    rows: list[tuple[str, ...]] = [
        (*place, f"{result.before[place]:,}", "->", f"{result.places[place]:,}") for place in kept
    ]
    return rows + [
        (*place, f"{result.before[place]:,}", "->", "0" if place[0] in names else "stays, retired") for place in gone
    ]


def _sample(result: "Preview") -> list[tuple[str, ...]]:
    return [
        (
            moved.customer_id,
            f"{moved.dimension}: {moved.previous or '(new)'} -> {moved.current}",
            "never bought" if moved.number is None else f"{moved.number:,.2f}",
        )
        for moved in result.sample
    ]

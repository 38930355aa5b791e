"""`regulars lag`: how far the group is behind, read by a client of its own."""

import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from streams.commands.options import setting_options, settings_from

if TYPE_CHECKING:
    from rich.table import Table

    from streams.ops.lag import LagMonitor, PartitionLag

    Owners = Mapping[tuple[str, int], str]


@click.command("lag")
@setting_options("bootstrap_servers", "topic_prefix", "app_id", "group")
@click.option("--watch", is_flag=True, help="Update every two seconds, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per sample: totals, and every partition.")
def command(watch: bool, as_json: bool, **options: str | None) -> None:
    """Show the lag of every partition of the group, assigned or not, in records and in seconds, and who reads it.

    Seconds are the age of the oldest record that is not processed yet. The command does not join the group and commits
    nothing.
    """
    from streams.ops.lag import LagMonitor

    settings = settings_from(**options)
    show = _follow if watch else _once
    try:
        asyncio.run(show(LagMonitor(settings), as_json, settings.consumer_group))
    except KeyboardInterrupt:
        return


async def _once(monitor: "LagMonitor", as_json: bool, group: str) -> None:
    from rich.console import Console

    try:
        rows, owners = await _rows(monitor)
    finally:
        await monitor.close()
    click.echo(_as_json(rows, owners, group)) if as_json else Console().print(_table(rows, owners, group))


async def _follow(monitor: "LagMonitor", as_json: bool, group: str) -> None:
    from rich.console import Console
    from rich.live import Live

    from streams.ops.lag import EVERY_S

    try:
        if as_json or not Console().is_terminal:
            while True:
                rows, owners = await _rows(monitor)
                click.echo(_as_json(rows, owners, group) if as_json else _as_line(rows))
                await asyncio.sleep(EVERY_S)
        with Live(_table(*await _rows(monitor), group), auto_refresh=False) as live:
            while True:
                await asyncio.sleep(EVERY_S)
                live.update(_table(*await _rows(monitor), group), refresh=True)
    finally:
        await monitor.close()


async def _rows(monitor: "LagMonitor") -> tuple[list["PartitionLag"], "Owners"]:
    lags = await monitor.sample()
    return list(lags.values()), await monitor.owners()


def _as_json(rows: list["PartitionLag"], owners: "Owners", group: str) -> str:
    from streams.ops.lag import total

    records, seconds = total(rows)
    return json.dumps(
        {
            "group": group,
            "records": records,
            "seconds": round(seconds, 3),
            "partitions": [
                row._asdict()
                | {
                    "seconds": None if row.seconds is None else round(row.seconds, 3),
                    "stalled_s": round(row.stalled_s, 3),
                    "worker": owners.get((row.topic, row.partition)),
                }
                for row in rows
            ],
        }
    )


def _as_line(rows: list["PartitionLag"]) -> str:
    from streams.ops.lag import total
    from streams.words import duration

    records, seconds = total(rows)
    return f"lag {records:,} records, oldest {duration(seconds)}"


def _table(rows: list["PartitionLag"], owners: "Owners", group: str) -> "Table":
    from rich.table import Table

    from streams.ops.lag import total
    from streams.words import duration

    records, seconds = total(rows)
    table = Table(
        title=f"group {group}",
        caption=_verdict(rows, owners, group),
        caption_justify="left",
        title_justify="left",
        show_footer=True,
        box=None,
        padding=(0, 2, 0, 0),
    )
    table.add_column("topic", "all")
    table.add_column("partition", justify="right")
    table.add_column("committed", justify="right")
    table.add_column("end", justify="right")
    table.add_column("lag, records", f"{records:,}", justify="right")
    table.add_column("lag, time", duration(seconds), justify="right")
    table.add_column("worker")
    previous = ""
    for row in rows:
        table.add_row(
            row.topic if row.topic != previous else "",
            str(row.partition),
            "none" if row.committed is None else f"{row.committed:,}",
            f"{row.end:,}",
            f"{row.records:,}" if row.records else "0",
            "?" if row.seconds is None else duration(row.seconds),
            owners.get((row.topic, row.partition), "none"),
            style="" if row.records else "dim",
        )
        previous = row.topic
    return table


def _verdict(rows: list["PartitionLag"], owners: "Owners", group: str) -> str:
    if all(row.committed is None for row in rows) and not owners:
        return f"{group} has committed nothing here: no worker has run yet, or --app-id, --topic-prefix or --group is wrong"
    if not owners:
        return "no worker is in the group: nobody reads these partitions"
    stuck = [row for row in rows if row.stalled_s > 30.0]
    if stuck:
        return "not moving for over 30 s: " + ", ".join(f"{row.topic} [{row.partition}]" for row in stuck)
    return ""

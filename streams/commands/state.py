"""`regulars state export`: every customer's state as a parquet file."""

import asyncio
import time
from pathlib import Path

import click

from streams.commands.options import Failure, setting_options, settings_from


@click.group("state")
def command() -> None:
    """Customers' states."""


@command.command("export")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The parquet file to write."
)
@setting_options("bootstrap_servers", "topic_prefix", "app_id")
def export_states(out: Path, bootstrap_servers: str | None, topic_prefix: str | None, app_id: str | None) -> None:
    """Write every customer's state, one row per customer, from the changelog topic alone."""
    import msgspec

    from streams.kafka.errors import TopicsNotReady
    from streams.ops.export import export

    settings = settings_from(bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, app_id=app_id)
    began = time.perf_counter()
    try:
        done = asyncio.run(export(settings, out))
    except TopicsNotReady as exc:
        raise Failure(
            f"{settings.changelog_topic} does not exist at {settings.bootstrap_servers}",
            "run `regulars worker` first, or name the group with --app-id",
        ) from exc
    except msgspec.DecodeError as exc:
        raise Failure(
            f"a state in {settings.changelog_topic} cannot be read ({exc})",
            "it was written by another version of regulars; export with that one, or upgrade",
        ) from exc
    except OSError as exc:
        raise Failure(
            f"cannot write {out}: {exc.strerror or exc}", "name a file in a folder that can be written"
        ) from exc
    took_s = time.perf_counter() - began
    click.echo(
        f"{done.customers:,} customers to {out}, from {done.records:,} changelog records in {took_s:.1f} s", err=True
    )

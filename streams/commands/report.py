"""`regulars report shop`: the shop's report from topics alone."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands.failures import kafka_errors_as_failures
from streams.commands.options import Failure, setting_options, settings_from

if TYPE_CHECKING:
    from streams.settings import Settings

PAGE, NUMBERS = "index.html", "report.json"
_DAY = click.DateTime(["%Y-%m-%d"])


@click.group("report")
def command() -> None:
    """What happened in the shop."""


@command.command("shop")
@click.option(
    "--out", "folder", required=True, metavar="DIR", type=click.Path(file_okay=False, path_type=Path),
    help="Write a page there, index.html, every number of it, report.json, and a page per campaign.",
)  # fmt: skip
@click.option("--since", type=_DAY, metavar="DAY", help="First day, UTC.  [default: 27 days before the last]")
@click.option("--until", type=_DAY, metavar="DAY", help="Last day, UTC.  [default: that of the latest standing]")
@setting_options("bootstrap_servers", "topic_prefix", "app_id")
def shop(folder: Path, since: datetime | None, until: datetime | None, **options: Any) -> None:
    """Write the shop's report to DIR: who moves, what it is worth, who is at risk and why, campaigns, quality of the data.

    Read from topics alone; no worker needs to run. The page fetches nothing, and can be printed or sent. It names up to 20
    customers to win back.
    """
    import msgspec

    from streams.report.shop_tally import NothingToReport

    settings = settings_from(**options)
    try:
        with kafka_errors_as_failures("Kafka refused", "run it again; it changes nothing"):
            files = asyncio.run(_files(settings, _number(since), _number(until)))
    except NothingToReport as exc:
        raise Failure(
            str(exc), "`regulars lag` shows whether events wait; `--since` and `--until` name other days"
        ) from exc
    except msgspec.DecodeError as exc:
        raise Failure(
            f"a standing or a change cannot be read ({exc})",
            "it was written by another version of regulars; report with that one, or upgrade",
        ) from exc
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = sorted({path.name for path in folder.iterdir()} - files.keys())
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as exc:
        raise Failure(f"cannot write to {folder}: {exc.strerror or exc}", "name a folder that can be written") from exc
    if others:
        shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        click.echo(f"{folder} also has other files, which were left as they are: {shown}", err=True)
    click.echo(f"{folder / PAGE} written")


async def _files(settings: "Settings", since: int | None, until: int | None) -> dict[str, str]:
    """Text of each file, by name."""
    import msgspec

    from streams.report.campaign import campaign_page
    from streams.report.shop_page import shop_page
    from streams.report.shop_reading import campaign_reports, effect_of, refusals, served_model, tally_of

    figures = (await tally_of(settings)).report(since, until)
    files: dict[str, str] = {}
    effects = []
    for i, (name, report) in enumerate(await campaign_reports(settings)):
        # Numbered, because a campaign's name may be none that a file can have.
        page = "" if report is None else f"campaign-{i + 1}.html"
        if report is not None:
            files[page] = campaign_page(report)
        effects.append(effect_of(name, report, page))
    figures = msgspec.structs.replace(
        figures, dead_letters=await refusals(settings), campaigns=effects, model=await served_model(settings)
    )
    numbers = msgspec.json.format(msgspec.json.encode(figures), indent=1).decode() + "\n"
    return {PAGE: shop_page(figures), NUMBERS: numbers, **files}


def _number(day: datetime | None) -> int | None:
    """Days since 1970-01-01."""
    return None if day is None else (day.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days

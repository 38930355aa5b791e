"""`regulars access`: everything that is held about one customer, as one file."""

import asyncio
from pathlib import Path
from typing import Any

import click

from streams.commands.failures import kafka_errors_as_failures
from streams.commands.options import Failure, setting_options, settings_from


@click.command("access")
@click.argument("customer")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The JSON file to write.")
@setting_options("bootstrap_servers", "topic_prefix", "app_id", "group", "cache_dir", "pseudonym_key_file")
def command(customer: str, out: Path, **options: Any) -> None:
    """Write everything that is held about CUSTOMER to one file, with what it is used for and how long it is kept.

    It reads every topic that can hold something, and says which places it cannot read. Labels and rewards are under
    pseudonyms, so it needs the secret of the workers: REGULARS_PSEUDONYM_KEY, or --pseudonym-key-file.
    """
    from schemas.patterns import id_mistake
    from streams.keys import has_secret
    from streams.ops.access import write_access
    from streams.settings import WrongSetting

    settings = settings_from(**options)
    if (mistake := id_mistake(customer)) is not None:
        raise click.UsageError(f"a customer id {mistake}")
    if not has_secret(settings):
        raise Failure(
            "labels and rewards are under pseudonyms, and there is no secret to compute them with",
            "give the one that the workers use: REGULARS_PSEUDONYM_KEY_FILE, or REGULARS_PSEUDONYM_KEY; a worker on this "
            f"machine that was given none made one in REGULARS_CACHE_DIR ({settings.cache_dir})",
        )
    try:
        with kafka_errors_as_failures("Kafka refused", "run it again; it changes nothing"):
            held = asyncio.run(write_access(settings, customer, out))
    except WrongSetting as exc:
        raise click.UsageError(str(exc)) from exc
    except OSError as exc:
        raise Failure(
            f"cannot write {out}: {exc.strerror or exc}", "name a file in a folder that can be written"
        ) from exc
    for each in held:
        replaced = f", {each.replaced:,} older ones not deleted yet" if each.replaced else ""
        missing = "the topic does not exist" if each.is_missing else f"{each.records:,}{replaced}"
        click.echo(f"  {each.topic:<32} {missing}")
    total = sum(each.records for each in held)
    held_words = f"{total:,} records about {customer}" if total else f"nothing is held about {customer}; what was read"
    click.echo(f"{held_words}: {out}")
    click.echo("what cannot be read from here stands in the file under `not_read`")

"""`regulars intents`: train the head that tells what a text wants."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands.encoder_display import ProgressBar
from streams.commands.options import Failure, setting_options, settings_from

if TYPE_CHECKING:
    from streams.teaching.intent_training import IntentMeasures


@click.group("intents")
def command() -> None:
    """The intent head: what customers want from support, read from their words. docs/text.md gives measurements."""


@command.command("train")
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the versions of the head.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, envvar="REGULARS_SEED", show_envvar=True,
    help="Seed of the order in which the head learns.",
)  # fmt: skip
@setting_options("encoder", "device", "cache_dir", "text_cache_mb")
def train(data: Path, out: Path, seed: int, **options: Any) -> None:
    """Train a head on DATA (parquet or csv: text, intent, urgency?), judge it by 5 folds, write it below OUT.

    `urgency` says from 0 to 1 how urgent a text is; an intent is as urgent as its texts are on average. The head becomes
    OUT/intents-<version>, with training.json (figures): use it with REGULARS_INTENTS. It holds weights of hashed words
    and of vector components and the names of the intents, and no text.
    """
    settings = settings_from(**options)
    from models.text.directory import EncoderUnavailable, open_directory
    from models.text.intents import FILE, encode_intents
    from streams.sources.labelled import read_intended
    from streams.sources.tables import FileRefused
    from streams.teaching.intent_training import teach_intents
    from streams.teaching.progress import TrainingProgress
    from streams.teaching.vectors import vectors_of

    with ProgressBar() as bar:
        try:
            intended = read_intended(data)
            directory = open_directory(settings.encoder)

            def show(done: int) -> None:
                bar.show(TrainingProgress("encoding", done, len(intended.texts)))
                if bar.stopping():
                    raise Failure("stopped: the same command continues after the texts that are encoded")

            vectors = vectors_of(intended.texts, directory, settings, show)
            taught = teach_intents(
                intended, vectors, directory.version, seed=seed,
                progress=lambda step: bar.show(TrainingProgress(f"learning, {step}", 0, 0)),
            )  # fmt: skip
        except (FileRefused, EncoderUnavailable) as exc:
            raise Failure(str(exc)) from exc
    click.echo(
        f"{len(intended.texts):,} texts, {len(intended.names)} intents; 5 folds; {intended.left_out:,} rows left out"
    )
    _print(taught.measures)
    encoded, folder = encode_intents(taught.head), out / taught.head.version
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(encoded)
    (folder / "training.json").write_text(
        json.dumps(_card(taught.measures, len(intended.texts), directory.version), indent=2)
    )
    click.echo(f"{folder}, {len(encoded) / 1e6:.1f} MB: used by REGULARS_INTENTS={folder}")


def _print(measures: "IntentMeasures") -> None:
    from rich.console import Console
    from rich.table import Table

    click.echo(
        f"accuracy {measures.accuracy:.4f} (standard error {measures.accuracy_error:.4f}), macro F1 {measures.macro_f1:.4f},"
        f" log loss {measures.log_loss:.4f}, ECE {measures.ece:.4f}"
    )
    if not measures.confused:
        return
    table = Table(title="most often taken for another", title_justify="left")
    for column in ("intent", "taken for", "texts"):
        table.add_column(column, justify="right" if column == "texts" else "left")
    for pair in measures.confused:
        table.add_row(pair.intent, pair.taken_for, f"{pair.texts:,}")
    Console(width=110).print(table)


def _card(measures: "IntentMeasures", texts: int, encoder: str) -> dict[str, object]:
    figures = measures._asdict()
    figures["confused"] = [pair._asdict() for pair in measures.confused]
    return {"encoder": encoder, "texts": texts, "folds": 5} | figures

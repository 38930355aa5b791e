"""`regulars encoder`: fine-tune the text encoder on labelled texts, train its sentiment head, read a file's texts."""

import asyncio
from pathlib import Path
from typing import Any

import click

from streams.commands.encoder_display import ProgressBar, print_figures, print_judged
from streams.commands.options import Failure, setting_options, settings_from

DATA = click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
SEED = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, envvar="REGULARS_SEED", show_envvar=True,
    help="Seed of the order of texts, of dropout and of folds.",
)  # fmt: skip


@click.group("encoder")
def command() -> None:
    """The text encoder: fine-tune it, train the head that reads sentiment, read texts. docs/text.md gives measurements."""


@command.command("finetune")
@DATA
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for its versions.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=2, show_default=True, help="Passes over the texts.")
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Texts per step.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), default=5e-5, show_default=True, help="Peak of the rate."
)
@click.option(
    "--held-out",
    type=click.FloatRange(0.01, 0.5),
    default=0.2,
    show_default=True,
    help="Share of texts that only judge.",
)
@SEED
@click.option("--force", is_flag=True, help="Publish the encoder even if it is not better than the served one.")
@setting_options("encoder", "device", "cache_dir", "text_cache_mb")
def finetune(
    data: Path, out: Path, epochs: int, batch: int, rate: float, held_out: float, seed: int, force: bool, **options: Any
) -> None:
    """Fine-tune all weights of the encoder on DATA (parquet or csv: text, title?, recommended or rating) into OUT.

    You may stop it at any time (Ctrl-C, SIGTERM): the same command continues from the checkpoint. If the result is better
    than the served encoder on held-out texts, it becomes OUT/encoder-<version>, with a sentiment head: set REGULARS_ENCODER
    to it. A GPU is used if there is one.
    """
    settings = settings_from(**options)
    from models.text.directory import EncoderUnavailable
    from models.text.finetuning import CheckpointRefused, Recipe
    from streams.sources.labelled import OneSided
    from streams.sources.tables import FileRefused
    from streams.teaching.finetuning import NotBetter, Stopped, TooFew
    from streams.teaching.finetuning import finetune as run

    with ProgressBar() as bar:
        try:
            published = run(
                data, out, settings, Recipe(epochs=epochs, batch=batch, rate=rate, seed=seed), held_out, force,
                bar.stopping, bar.show,
            )  # fmt: skip
        except (FileRefused, OneSided, TooFew, EncoderUnavailable, CheckpointRefused, Stopped, NotBetter) as exc:
            raise Failure(str(exc)) from exc
    print_figures(published.figures)
    click.echo(f"{published.folder}: served by REGULARS_ENCODER={published.folder}")


@command.command("read")
@DATA
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Parquet file to write.")
@setting_options("encoder", "sentiment", "intents", "device", "cache_dir", "text_cache_mb")
def read(data: Path, out: Path, **options: Any) -> None:
    """Read each text of DATA (parquet or csv: text, title?) and write what the heads say of it: a row per row of DATA.

    Columns: sentiment (-1 to 1) and p_content (probability; not with the anchors), urgency (0 to 1), and with an intent
    head intent and p_intent. OUT holds no text. A row without a text is null in every column. You may stop it at any
    time: the same command goes on after the texts that are encoded.
    """
    settings = settings_from(**options)
    from models.text.directory import EncoderUnavailable
    from models.text.head import HeadRefused
    from models.text.intents import IntentsRefused
    from streams.sources.tables import FileRefused
    from streams.teaching.progress import TrainingProgress
    from streams.teaching.text_table import read_texts

    with ProgressBar() as bar:

        def show(done: int, of: int) -> None:
            bar.show(TrainingProgress("encoding", done, of))
            if bar.stopping():
                raise Failure("stopped: the same command continues after the texts that are encoded")

        try:
            table = read_texts(data, settings, show)
        except (FileRefused, EncoderUnavailable, HeadRefused, IntentsRefused) as exc:
            raise Failure(str(exc)) from exc
    out.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(out, index=False)
    click.echo(
        f"{len(table):,} rows, {int(table['sentiment'].notna().sum()):,} with a text: {', '.join(table.columns)} in {out}"
    )


@command.group("head")
def head() -> None:
    """The sentiment head of an encoder."""


@head.command("train")
@click.argument("data", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--from-topic", is_flag=True, help="Learn from the ratings in the topic `reviews` instead of DATA.")
@click.option(
    "--latest",
    type=click.IntRange(min=1),
    default=50_000,
    show_default=True,
    help="At most this many texts of the topic.",
)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File of the head.")
@click.option("--passes", type=click.IntRange(min=1), default=2, show_default=True, help="Passes over the texts.")
@SEED
@setting_options("bootstrap_servers", "topic_prefix", "encoder", "device", "cache_dir", "text_cache_mb")
def train(data: Path | None, from_topic: bool, latest: int, out: Path, passes: int, seed: int, **options: Any) -> None:
    """Train a head on DATA (parquet or csv: text, title?, recommended or rating), judge it by 5 folds, write it to OUT.

    With --from-topic it learns from what this shop's customers have written and how they rated it. Serve it with
    REGULARS_SENTIMENT=OUT, or as sentiment.safetensors in the encoder's directory. It holds weights of hashed n-grams and
    of vector components, and no text.
    """
    settings = settings_from(**options)
    if (data is None) != from_topic:
        raise click.UsageError("give a file to learn from, or --from-topic: exactly one of the two")
    from models.text.directory import EncoderUnavailable, open_directory
    from models.text.head import encode_head
    from models.text.sentiment import ANCHORS, AnchorSentiment
    from streams.sources.labelled import OneSided, read_labelled
    from streams.sources.tables import FileRefused
    from streams.teaching.head_training import teach
    from streams.teaching.judging import binary_measures
    from streams.teaching.progress import TrainingProgress
    from streams.teaching.ratings import read_ratings
    from streams.teaching.vectors import vectors_of

    with ProgressBar() as bar:
        try:
            labelled = asyncio.run(read_ratings(settings, latest)) if data is None else read_labelled(data)
            directory = open_directory(settings.encoder)

            def show(done: int) -> None:
                bar.show(TrainingProgress("encoding", done, len(labelled.texts)))
                if bar.stopping():
                    raise Failure("stopped: the same command continues after the texts that are encoded")

            vectors = vectors_of(labelled.texts, directory, settings, show)
            anchors = AnchorSentiment(vectors_of(ANCHORS, directory, settings))
            taught = teach(
                labelled.texts, vectors, labelled.positive, directory.version, anchors.direction, passes, seed,
                lambda step: bar.show(TrainingProgress(f"learning, {step}", 0, 0)),
            )  # fmt: skip
        except (FileRefused, OneSided, EncoderUnavailable) as exc:
            raise Failure(str(exc)) from exc
    print_judged(
        f"{len(labelled.texts):,} texts, {labelled.positive.mean():.1%} content; 5 folds",
        {
            "n-grams": binary_measures(taught.base + taught.outputs[:, 0], labelled.positive),
            "vector": binary_measures(taught.base + taught.outputs[:, 1], labelled.positive),
            "anchors": binary_measures(taught.base + taught.outputs[:, 2], labelled.positive),
            "blended": binary_measures(taught.raw, labelled.positive),
        },
    )
    encoded = encode_head(taught.head)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(encoded)
    click.echo(f"{taught.head.version} in {out}, {len(encoded) / 1e6:.2f} MB: served by REGULARS_SENTIMENT={out}")

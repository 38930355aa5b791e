"""`regulars encoder`: fine-tune the text encoder on labelled texts, teach its sentiment head."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands.options import Failure, setting_options, settings_from

if TYPE_CHECKING:
    from streams.teaching.finetuning import Figures, Told
    from streams.teaching.judging import Judged

DATA = click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
SEED = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, envvar="REGULARS_SEED", show_envvar=True,
    help="Orders texts, draws dropout and folds.",
)  # fmt: skip


@click.group("encoder")
def command() -> None:
    """The text encoder: fine-tuning, and the head that reads sentiment off it. docs/text.md says what each is worth."""


@command.command("finetune")
@DATA
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of its versions.")
@click.option("--epochs", type=click.IntRange(min=1), default=2, show_default=True, help="Passes over the texts.")
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Texts of a step.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), default=5e-5, show_default=True, help="Peak rate.")
@click.option(
    "--held-out", type=click.FloatRange(0.01, 0.5), default=0.2, show_default=True, help="Share of texts to judge by."
)
@SEED
@click.option("--force", is_flag=True, help="Publish even what isn't better than the served encoder.")
@setting_options("encoder", "device", "cache_dir", "text_cache_mb")
def finetune(
    data: Path, out: Path, epochs: int, batch: int, rate: float, held_out: float, seed: int, force: bool, **options: Any
) -> None:
    """Fine-tune all weights of the encoder on DATA (parquet or csv: text, title?, recommended or rating) into OUT.

    Stop it as you like (Ctrl-C, SIGTERM): the same command goes on from the checkpoint. What is better than the served
    encoder on held-out texts becomes OUT/encoder-<version>, with a sentiment head: set REGULARS_ENCODER to it. A GPU is used
    where there is one.
    """
    settings = settings_from(**options)
    from models.text.directory import EncoderUnavailable
    from models.text.finetuning import CheckpointRefused, Recipe
    from streams.sources.labelled import OneSided
    from streams.sources.tables import FileRefused
    from streams.teaching.finetuning import NotBetter, Stopped, TooFew
    from streams.teaching.finetuning import finetune as run

    with _Watch() as watch:
        try:
            published = run(
                data, out, settings, Recipe(epochs=epochs, batch=batch, rate=rate, seed=seed), held_out, force,
                watch.stopping, watch.told,
            )  # fmt: skip
        except (FileRefused, OneSided, TooFew, EncoderUnavailable, CheckpointRefused, Stopped, NotBetter) as exc:
            raise Failure(str(exc)) from exc
    _show_figures(published.figures)
    click.echo(f"{published.folder}: served by REGULARS_ENCODER={published.folder}")


@command.group("head")
def head() -> None:
    """The sentiment head of an encoder."""


@head.command("train")
@click.argument("data", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--from-topic", is_flag=True, help="Learn from the ratings in the topic reviews, instead of DATA.")
@click.option(
    "--latest", type=click.IntRange(min=1), default=50_000, show_default=True, help="Of the topic, so many at most."
)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File of the head.")
@click.option("--passes", type=click.IntRange(min=1), default=2, show_default=True, help="Passes over the texts.")
@SEED
@setting_options("bootstrap_servers", "topic_prefix", "encoder", "device", "cache_dir", "text_cache_mb")
def train(data: Path | None, from_topic: bool, latest: int, out: Path, passes: int, seed: int, **options: Any) -> None:
    """Teach a head by DATA (parquet or csv: text, title?, recommended or rating), judge it by 5 folds, write it to OUT.

    With --from-topic by what this shop's customers wrote and how they rated it, up to now. Serve it by
    REGULARS_SENTIMENT=OUT, or as sentiment.safetensors in the encoder's own directory. It holds weights of hashed
    n-grams and of vector components, no text.
    """
    settings = settings_from(**options)
    if (data is None) != from_topic:
        raise click.UsageError("name a file to learn from, or say --from-topic: one of the two")
    from models.text.directory import EncoderUnavailable, open_directory
    from models.text.head import encode_head
    from models.text.sentiment import ANCHORS, AnchorSentiment
    from streams.kafka.readers import BrokerAway, TopicMissing
    from streams.sources.labelled import OneSided, read_labelled
    from streams.sources.tables import FileRefused
    from streams.teaching.finetuning import Told
    from streams.teaching.head_training import teach
    from streams.teaching.judging import judged
    from streams.teaching.ratings import read_ratings
    from streams.teaching.vectors import vectors_of

    with _Watch() as watch:
        try:
            labelled = asyncio.run(read_ratings(settings, latest)) if data is None else read_labelled(data)
            directory = open_directory(settings.encoder)

            def told(done: int) -> None:
                watch.told(Told("encoding", done, len(labelled.texts)))
                if watch.stopping():
                    raise Failure("stopped: the same command goes on from the texts that are encoded")

            vectors = vectors_of(labelled.texts, directory, settings, told)
            anchors = AnchorSentiment(vectors_of(ANCHORS, directory, settings))
            taught = teach(
                labelled.texts, vectors, labelled.positive, directory.version, anchors.direction, passes, seed,
                lambda step: watch.told(Told(f"learning, {step}", 0, 0)),
            )  # fmt: skip
        except (FileRefused, OneSided, BrokerAway, TopicMissing, EncoderUnavailable) as exc:
            raise Failure(str(exc)) from exc
    _show(
        f"{len(labelled.texts):,} texts, {labelled.positive.mean():.1%} content; 5 folds",
        {
            "n-grams": judged(taught.base + taught.said[:, 0], labelled.positive),
            "vector": judged(taught.base + taught.said[:, 1], labelled.positive),
            "anchors": judged(taught.base + taught.said[:, 2], labelled.positive),
            "blended": judged(taught.raw, labelled.positive),
        },
    )
    encoded = encode_head(taught.head)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(encoded)
    click.echo(f"{taught.head.version} in {out}, {len(encoded) / 1e6:.2f} MB: served by REGULARS_SENTIMENT={out}")


class _Watch:
    """A progress bar on stderr, and whether somebody asked to stop."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._asked = False
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}"), console=console, transient=True,
            disable=not console.is_terminal,
        )  # fmt: skip
        self._task: Any = None
        self._what = ""

    def __enter__(self) -> "_Watch":
        import signal

        self._before = {
            number: signal.signal(number, lambda *_: setattr(self, "_asked", True))
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        import signal

        self._bar.stop()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stopping(self) -> bool:
        return self._asked

    def told(self, progress: "Told") -> None:
        if progress.what != self._what:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(progress.what, total=progress.of or None, loss="")
            self._what = progress.what
        loss = "" if progress.loss is None else f"loss {progress.loss:.3f}"
        self._bar.update(self._task, completed=progress.done, loss=loss)


def _show_figures(figures: "Figures") -> None:
    _show(
        f"{figures.learnt:,} texts learnt, {figures.held_out:,} held out",
        {
            "served encoder, its head": figures.served,
            "fine-tuned, alone": figures.candidate,
            "fine-tuned, its head": figures.with_ngrams,
        },
    )
    click.echo(f"log loss lower by {figures.gain.mean:.4f} (standard error {figures.gain.error:.4f})")


def _show(title: str, rows: "dict[str, Judged]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in ("", "AUC", "log loss", "ECE", "F1", "F1 discontent", "accuracy"):
        table.add_column(column, justify="left" if not column else "right")
    confusion = Table(title="at probability .5")
    for column in ("", "right: discontent", "wrong: discontent", "wrong: content", "right: content"):
        confusion.add_column(column, justify="left" if not column else "right")
    for name, each in rows.items():
        table.add_row(
            name, f"{each.auc:.4f}", f"{each.log_loss:.4f}", f"{each.ece:.4f}", f"{each.f1:.4f}",
            f"{each.f1_discontent:.4f}", f"{each.accuracy:.4f}",
        )  # fmt: skip
        (right_no, wrong_yes), (wrong_no, right_yes) = each.confusion
        confusion.add_row(name, f"{right_no:,}", f"{wrong_no:,}", f"{wrong_yes:,}", f"{right_yes:,}")
    console = Console(width=110)
    console.print(table)
    console.print(confusion)

"""What `regulars encoder` shows: a progress bar, and tables of figures."""

import signal
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from streams.teaching.finetuning import Figures
    from streams.teaching.judging import BinaryMeasures
    from streams.teaching.progress import TrainingProgress


class ProgressBar:
    """A progress bar on stderr that also notes whether somebody asked to stop (Ctrl-C, SIGTERM)."""

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

    def __enter__(self) -> "ProgressBar":
        self._before = {
            number: signal.signal(number, lambda *_: setattr(self, "_asked", True))
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stopping(self) -> bool:
        """Whether somebody asked to stop."""
        return self._asked

    def show(self, progress: "TrainingProgress") -> None:
        """Shows how far the work is."""
        if progress.what != self._what:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(progress.what, total=progress.of or None, loss="")
            self._what = progress.what
        loss = "" if progress.loss is None else f"loss {progress.loss:.3f}"
        self._bar.update(self._task, completed=progress.done, loss=loss)


def print_figures(figures: "Figures") -> None:
    """Prints how the fine-tuned encoder compares with the served one."""
    print_judged(
        f"{figures.learnt:,} texts learnt, {figures.held_out:,} held out",
        {
            "served encoder, its head": figures.served,
            "fine-tuned, alone": figures.candidate,
            "fine-tuned, its head": figures.with_ngrams,
        },
    )
    click.echo(f"log loss lower by {figures.gain.mean:.4f} (standard error {figures.gain.error:.4f})")


def print_judged(title: str, rows: "dict[str, BinaryMeasures]") -> None:
    """Prints the measures of each row of `rows`, and its confusion matrix."""
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

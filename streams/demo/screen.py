"""The demo's output: what `Watch` has seen, as a terminal screen, as plain lines, and as a summary at the end."""

from collections.abc import Iterable, Sequence
from itertools import islice

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from schemas.changes import Change
from streams import words
from streams.demo.follower import Watch, percentile

# Lines that are not rows of the table of changes.
FRAME_LINES = 6
SIDE_COLUMNS = 42
LATEST = 200
# On a narrower screen, only the changes are shown.
WIDE_COLUMNS = 110


class Screen:
    """A live view of `watch`, as high as the terminal."""

    def __init__(self, watch: Watch, web: str) -> None:
        self._watch, self._web = watch, web

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = (options.height or console.height) - FRAME_LINES
        changes = _changes(self._watch.recent, max(3, height))
        if console.width >= WIDE_COLUMNS:
            side = Group(_segments(self._watch), Text(), _lag(self._watch))
            body = Table.grid(padding=(0, 3, 0, 0), expand=True)
            body.add_column(ratio=1)
            body.add_column(width=SIDE_COLUMNS)
            body.add_row(changes, side)
            yield Group(_figures(self._watch), Text(), body, _foot(self._web))
        else:
            yield Group(Text(line(self._watch)), changes, _foot(self._web))


def line(watch: Watch) -> str:
    """The figures in one line, for output that is not a terminal."""
    worker, lag = watch.worker, watch.lag
    return (
        f"{worker.get('events', 0):,} events ({worker.get('events_per_s', 0):,.0f}/s), {watch.total:,} changes, "
        f"consumed to emitted {_short_pair(watch.inside_s)}, "
        f"produced to seen {_short_pair(watch.whole_s)} (p50 / p99), "
        f"lag {lag.get('records', 0):,} records {words.duration(lag.get('seconds') or 0.0)}"
    )


def change_line(change: Change) -> str:
    """One change in one line."""
    return f"{change.customer_id}  {words.move_words(change)}  {words.reasons_words(change)}"


def summary(watch: Watch, logs: str) -> RenderableType:
    """A summary of the demo, for its end."""
    figures = Table.grid(padding=(0, 2, 0, 0))
    figures.add_column(style="dim")
    figures.add_column()
    first = "none came" if watch.first_change_s is None else f"after {watch.first_change_s:.1f} s"
    figures.add_row("events", f"{watch.worker.get('events', 0):,}")
    figures.add_row("changes", f"{watch.total:,}; the first {first}")
    figures.add_row("consumed to emitted", _pair(watch.inside_s))
    figures.add_row("produced to seen", f"{_pair(watch.whole_s)} (sample of {len(watch.whole_s):,})")
    figures.add_row("customers", f"{watch.worker.get('customers', 0):,}")
    figures.add_row("model versions", escape(", ".join(watch.models) or "none"))
    for name, quality in watch.worker.get("learners", {}).items():
        measures = ", ".join(f"{k.replace('_', ' ')} {v:.3f}" for k, v in quality.items() if v is not None)
        if measures:
            figures.add_row(f"model of {escape(name)}", measures)
    figures.add_row("logs", escape(logs))
    moves = Table(box=None, padding=(0, 3, 0, 0))
    for name in ("dimension", "from", "to"):
        moves.add_column(name)
    moves.add_column("changes", justify="right")
    for (dimension, previous, current), n in sorted(watch.moves.items(), key=lambda item: (item[0][0], -item[1])):
        moves.add_row(escape(dimension), escape(previous or "(new)"), escape(current), f"{n:,}")
    return Group(Text("Summary", "bold"), figures, Text(), moves)


def milliseconds(seconds: float | None) -> str:
    """A latency.

    >>> milliseconds(0.0123), milliseconds(None)
    ('12 ms', '-')
    """
    return "-" if seconds is None else f"{seconds * 1000:,.0f} ms"


def _pair(values: Iterable[float]) -> str:
    held = list(values)
    return f"p50 {milliseconds(percentile(held, 0.5))}, p99 {milliseconds(percentile(held, 0.99))}"


def _figures(watch: Watch) -> RenderableType:
    worker, lag = watch.worker, watch.lag
    grid = Table.grid(padding=(0, 4, 0, 0))
    cells = (
        (f"{worker.get('events_per_s', 0):,.0f}/s", "events"),
        (f"{watch.total:,}", "changes"),
        (_short_pair(watch.inside_s), "consumed to emitted"),
        (_short_pair(watch.whole_s), "produced to seen"),
        (f"{lag.get('records', 0):,}", "lag, records"),
        (words.duration(lag.get("seconds") or 0.0), "lag, oldest"),
        (f"{worker.get('customers', 0):,}", "customers"),
    )
    grid.add_row(*(Text(value, "bold") for value, _ in cells))
    grid.add_row(*(Text(label, "dim") for _, label in cells))
    return grid


def _short_pair(values: Sequence[float]) -> str:
    # The latest values show the present: the first events waited for a worker that was still loading its encoder.
    held = list(islice(reversed(values), LATEST))
    return f"{milliseconds(percentile(held, 0.5))} / {milliseconds(percentile(held, 0.99))}"


def _changes(changes: Iterable[Change], rows: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), expand=True)
    table.add_column("customer", no_wrap=True, max_width=24)
    table.add_column("moved", no_wrap=True)
    table.add_column("why", no_wrap=True, overflow="ellipsis", ratio=1)
    shown = list(changes)[:rows]
    if not shown:
        table.add_row("", "", Text("waiting for the first change", "dim"))
    for change in shown:
        moved = Text.assemble(
            (f"{change.dimension} ", "dim"), f"{change.previous or 'new'} -> ", (change.current, "bold green")
        )
        table.add_row(Text(change.customer_id), moved, Text(words.reasons_words(change), "dim"))
    return table


def _segments(watch: Watch) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
    for dimension, places in watch.segments.get("segments", {}).items():
        table.add_row(Text(dimension, "bold"), "", "")
        whole = sum(places.values()) or 1
        for segment, n in sorted(places.items(), key=lambda item: -item[1]):
            table.add_row(f" {escape(segment)}", f"[green]{'█' * round(16 * n / whole)}[/]", f"{n:,}")
    return table


def _lag(watch: Watch) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("lag", style="dim")
    topics = list(dict.fromkeys(row["topic"] for row in watch.lag.get("partitions", ())))
    for topic in topics:
        table.add_column(escape(topic[-12:]), justify="right")
    cells: dict[int, list[str]] = {}
    for row in watch.lag.get("partitions", ()):
        age = "?" if row["seconds"] is None else words.duration(row["seconds"])
        cells.setdefault(row["partition"], []).append(f"{row['records']:,} {age}" if row["records"] else "0")
    for partition, row_cells in sorted(cells.items()):
        table.add_row(str(partition), *row_cells)
    return table


def _foot(web: str) -> Text:
    return Text.assemble(("dashboard ", "dim"), (web, "bold underline"), ("   Ctrl-C ends the demo", "dim"))

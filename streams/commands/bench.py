"""`regulars bench`: the benchmarks, which are scripts in the repository's folder `benchmarks/`; each runs in a process."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from streams.commands.options import Failure, setting_option, settings_from

FOLDER = Path(__file__).parents[2] / "benchmarks"


@click.group("bench")
def command() -> None:
    """Measure speed, beside other systems on the same machine at the same time.

    The benchmarks are part of the repository, not of the installed package.
    """


@command.command("common")
@setting_option("bootstrap_servers")
@click.option(
    "--events", default=1_000_000, show_default=True, help="events of the backlog; 0: throughput is not measured"
)
@click.option("--customers", default=100_000, show_default=True, help="customers of the events")
@click.option("--poll", default=8_000, show_default=True, help="records per poll")
@click.option("--rate", default=1_000, show_default=True, help="events per second while latency is measured")
@click.option("--seconds", default=25.0, show_default=True, help="how long latency is measured; 0: not at all")
@click.option("--topic", default="", help="a topic that has the events already, instead of a new one")
def common(bootstrap_servers: str | None, **options: Any) -> None:
    """The common job: JSON events, one state per customer, one output whenever the tier changes.

    Prints events/s, CPU per event and seconds per stage, then p50 and p99 from an event to its change.
    """
    options["bootstrap_servers"] = settings_from(bootstrap_servers=bootstrap_servers).bootstrap_servers
    run_script("common/run.py", options)


@command.command("whole")
@setting_option("bootstrap_servers")
@click.option("--events", default=300_000, show_default=True, help="events of the backlog")
@click.option("--customers", default=20_000, show_default=True, help="customers of the events")
@click.option("--poll", default=8_000, show_default=True, help="records per poll")
@click.option("--rate", default=1_000, show_default=True, help="events per second while latency is measured")
@click.option("--seconds", default=25.0, show_default=True, help="how long latency is measured; 0: not at all")
def whole(bootstrap_servers: str | None, **options: Any) -> None:
    """The whole job on one worker: 90 % clicks, 9 % purchases, 1 % reviews whose vectors are cached; scoring on.

    Prints events/s, CPU per event and seconds per stage, then p50 and p99 from a purchase to its change.
    """
    options["bootstrap_servers"] = settings_from(bootstrap_servers=bootstrap_servers).bootstrap_servers
    run_script("whole/run.py", options)


@command.command("restore")
@setting_option("bootstrap_servers")
@click.option("--records", default=500_000, show_default=True, help="states in the changelog")
@click.option("--bytes", default=400, show_default=True, help="bytes per state")
@click.option("--tries", default=3, show_default=True, help="number of restores")
def restore(bootstrap_servers: str | None, **options: Any) -> None:
    """An empty worker restores its state from a changelog; Faust's own recovery of the same changelog runs beside it.

    Prints records/s of both.
    """
    options["bootstrap_servers"] = settings_from(bootstrap_servers=bootstrap_servers).bootstrap_servers
    run_script("restore.py", options)


@command.command("encoder")
@click.option("--texts", default=400, show_default=True, help="reviews to encode")
def encoder(**options: Any) -> None:
    """The text encoder: texts/s and tokens/s by batch budget, on the CPU, and on CUDA if there is a GPU."""
    run_script("encoder.py", options)


@command.command("learning")
@click.option("--online-retail", type=click.Path(exists=True, dir_okay=False), help="UCI Online Retail")
@click.option("--cdnow", type=click.Path(exists=True, dir_okay=False), help="the CDNOW 1/10 sample")
@click.option("--batch", is_flag=True, help="retrain an ensemble of batch models at each cut-off; needs scikit-learn")
@click.option("--draws", default=200, show_default=True, help="bootstrap draws over customers")
@click.option("--repeats", default=3, show_default=True, help="timed runs; the median counts")
@click.option(
    "--hindsight", is_flag=True, help="models fitted to the weeks of CDNOW that are forecast; needs scikit-learn"
)
@click.option("--batch-season", is_flag=True, help="batch models know the season, as the learner does")
def learning(batch: bool, batch_season: bool, hindsight: bool, **options: Any) -> None:
    """The learner: labels/s, snapshot size, rows/s; with real data its gain over BG/NBD and batch models."""
    asked = {"--batch": batch, "--batch-season": batch_season, "--hindsight": hindsight}
    run_script("learning.py", options, [name for name, on in asked.items() if on])


def run_script(script: str, options: dict[str, Any], switches: Sequence[str] = ()) -> None:
    """Runs a benchmark with its options as arguments.

    Raises:
        Failure: there is no such benchmark, or it failed.
    """
    path = FOLDER / script
    if not path.exists():
        raise Failure(f"no benchmark at {path}", "run it from a checkout of the repository (`make setup`)")
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value not in ("", None)]
    arguments += switches
    code = subprocess.run([sys.executable, str(path), *arguments], check=False).returncode
    if code:
        raise Failure(f"{script} ended with code {code}", "its last line says why")

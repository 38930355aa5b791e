"""`regulars broker`: a single-node Kafka on this machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from streams.broker.jars import KAFKA_VERSION
from streams.commands.options import Failure, setting_option, settings_from


@click.group("broker")
def command() -> None:
    """A single-node Kafka (KRaft) for this machine, or the one that REGULARS_BOOTSTRAP_SERVERS names.

    Its jars come from KAFKA_HOME, otherwise from the cache folder, which Maven fills once.
    """


def _place(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--dir",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("regulars-data/broker"),
        show_default=True,
        envvar="REGULARS_BROKER_DIR",
        show_envvar=True,
        help="configuration, data and log of the broker",
    )(function)


_port = click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=9092,
    show_default=True,
    envvar="REGULARS_BROKER_PORT",
    show_envvar=True,
    help="port on 127.0.0.1",
)


@command.command()
@_port
@_place
@click.option(
    "--kafka-version",
    default=KAFKA_VERSION,
    show_default=True,
    envvar="REGULARS_KAFKA_VERSION",
    show_envvar=True,
    help="version whose jars are fetched; 3.9.1 and 4.2.0 work as well",
)
@setting_option("cache_dir")
def start(port: int, folder: Path, kafka_version: str, cache_dir: Path | None) -> None:
    """Start the broker in the background; returns when it answers."""
    from streams.broker import Broker, BrokerError

    settings = settings_from(cache_dir=cache_dir)
    try:
        broker = Broker.for_settings(settings, folder, port, kafka_version)
    except BrokerError as exc:
        if exc.log:
            click.echo(exc.log, err=True)
        raise Failure(exc.why, exc.way_out) from exc
    if broker.folder is None:
        click.echo(f"{broker.bootstrap} answers (REGULARS_BOOTSTRAP_SERVERS); nothing to start")
    elif broker.started:
        click.echo(f"Kafka answers at {broker.bootstrap}; log in {broker.folder / 'broker.log'}")
    else:
        click.echo(f"Kafka already runs at {broker.bootstrap}")
    if broker.folder is not None and broker.bootstrap != settings.bootstrap_servers:
        click.echo(f"other commands find it with: export REGULARS_BOOTSTRAP_SERVERS={broker.bootstrap}")


_port_asked = click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=None,
    help="port on 127.0.0.1; default: the port of the broker of --dir",
)


@command.command()
@_port_asked
@_place
def stop(port: int | None, folder: Path) -> None:
    """Stop the broker of --dir; its data stays. With --port, stop it only if it listens there."""
    from streams.broker import BrokerError, storage
    from streams.broker import stop as end

    running = storage.read_pid(folder.expanduser().resolve())
    if running is not None and port is not None and not running[1].endswith(f":{port}"):
        raise Failure(f"the broker of {folder} listens at {running[1]}", "name the other one's folder with --dir")
    try:
        stopped = end(folder)
    except BrokerError as exc:
        raise Failure(exc.why, exc.way_out) from exc
    click.echo("stopped" if stopped else f"no broker runs on {folder}")


@command.command()
@_port_asked
@_place
@setting_option("bootstrap_servers")
def status(port: int | None, folder: Path, bootstrap_servers: str | None) -> None:
    """Show whether a broker answers: the named one, otherwise the one of --dir. Exit code 1 if it does not."""
    from streams.broker import probe, storage

    running = storage.read_pid(folder.expanduser().resolve())
    asked = None if port is None else f"127.0.0.1:{port}"
    address = asked or bootstrap_servers or (running[1] if running else settings_from().bootstrap_servers)
    ours = running is not None and running[1] == address
    cluster = probe.ask(address) if asked or ours else probe.ask_named(settings_from(bootstrap_servers=address))
    if cluster is None:
        raise Failure(f"no Kafka answers at {address}", "start one with `regulars broker start`")
    click.echo(f"{address} answers: cluster {cluster.cluster_id}, brokers {', '.join(cluster.brokers)}")
    click.echo(f"process {running[0]} on {folder}" if running and ours else f"not the broker of {folder}")

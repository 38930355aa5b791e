"""`regulars topics`: makes or checks every topic."""

import asyncio
from typing import TYPE_CHECKING

import click

from streams.commands.options import Failure, setting_options, settings_from

if TYPE_CHECKING:
    from streams.kafka.topics import Finding

_connection = setting_options("bootstrap_servers", "topic_prefix", "app_id", "partitions", "replication_factor")


@click.group("topics")
def command() -> None:
    """Every topic: partitions, compaction, retention, size limits."""


@command.command()
@_connection
def create(**options: object) -> None:
    """Make the topics that are missing; an existing one is never altered. Exit code 1 if one differs."""
    from streams.kafka.errors import TopicRefused
    from streams.kafka.topics import create as make

    try:
        findings = asyncio.run(make(settings_from(**options)))
    except TopicRefused as exc:
        raise Failure(
            str(exc), "see the brokers' log; --replication-factor must not exceed the number of brokers"
        ) from exc
    _report(findings)


@command.command()
@_connection
def check(**options: object) -> None:
    """Check every topic; changes nothing. Exit code 1 if one is missing or differs."""
    from streams.kafka.topics import check as compare

    _report(asyncio.run(compare(settings_from(**options))))


def _report(findings: "list[Finding]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column("topic", overflow="fold")
    for title in ("partitions", "kept"):
        table.add_column(title)
    table.add_column("state", min_width=28)  # a difference stays in one line on a narrow terminal
    for finding in findings:
        if finding.missing:
            state = "[red]missing[/]"
        elif finding.differences:
            state = f"[red]{'; '.join(finding.differences)}[/]"
        else:
            state = "[green]created[/]" if finding.created else "ok"
        topic = finding.topic
        table.add_row(topic.name, str(topic.partitions), topic.config["cleanup.policy"], state)
    Console().print(table)
    missing = sum(finding.missing for finding in findings)
    differing = sum(bool(finding.differences) for finding in findings)
    if missing:
        raise Failure(f"{missing} of {len(findings)} topics are missing", "make them with `regulars topics create`")
    if differing:
        raise Failure(
            f"{differing} of {len(findings)} topics are not as they must be",
            "alter them with your Kafka's own tools (`kafka-configs --alter --topic TOPIC --add-config NAME=VALUE`, "
            "`kafka-topics --alter --topic TOPIC --partitions N`), or use another --topic-prefix",
        )

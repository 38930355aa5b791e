"""`regulars worker`: one scoring process of the group."""

import os
from typing import Any

import click

from streams.commands.options import setting_options, settings_from

SETTINGS = (
    "data_dir",
    "store_memory_mb",
    "web_port",
    "web_host",
    "bootstrap_servers",
    "topic_prefix",
    "app_id",
    "partitions",
    "instance_id",
    "clock",
    "clock_grace_s",
    "future_limit_s",
    "max_poll_records",
    "commit_interval_s",
    "session_timeout_s",
    "watchdog_limit_s",
    "policy",
    "encoder",
    "sentiment",
    "encoder_preload",
    "device",
    "cache_dir",
    "text_cache_mb",
    "pseudonym_key",
)


@click.command("worker")
@setting_options(*SETTINGS)
def command(**options: Any) -> None:
    """Score customers until SIGINT or SIGTERM: one process of the group; start as many as there is work for.

    Health is at /live and /ready of --web-port, metrics at /metrics, the dashboard at /. Give each worker a --data-dir
    of its own and keep it: a restart reads back only what is missing.
    """
    settings_from(**options)  # a value that is not allowed ends here, with exit code 2
    # streams.app is also what `faust -A streams.app worker` imports, so it is wired from the environment alone.
    os.environ.update({f"REGULARS_{name.upper()}": str(value) for name, value in options.items() if value is not None})

    from streams.app import app
    from streams.plane.app import run_worker

    run_worker(app)

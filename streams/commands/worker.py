"""`regulars worker`: one scoring process of the group."""

import errno
import socket
from typing import Any

import click

from streams.commands.options import Failure, setting_options, settings_from
from streams.settings import Settings, WrongSetting

SETTINGS = (
    "data_dir",
    "store_memory_mb",
    "web_port",
    "web_host",
    "web_customer_port",
    "web_open",
    "web_token_file",
    "web_trusted_header",
    "web_trusted_role",
    "web_trusted_proxies",
    "web_hosts",
    "web_readers",
    "models",
    "bootstrap_servers",
    "security_protocol",
    "sasl_mechanism",
    "sasl_username",
    "sasl_password_file",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
    "topic_prefix",
    "app_id",
    "group",
    "partitions",
    "instance_id",
    "clock",
    "clock_grace_s",
    "future_limit_s",
    "max_poll_records",
    "commit_interval_s",
    "session_timeout_s",
    "watchdog_limit_s",
    "accept_truncated_changelog",
    "policy",
    "encoder",
    "sentiment",
    "encoder_preload",
    "device",
    "cache_dir",
    "text_cache_mb",
    "pseudonym_key_file",
)


@click.command("worker")
@setting_options(*SETTINGS)
def command(**options: Any) -> None:
    """Score customers until SIGINT or SIGTERM: one process of the group; start as many as there is work for.

    Health is at /live and /ready of --web-port, metrics at /metrics, the dashboard at /. Give each worker a --data-dir
    of its own and keep it: a restart reads back only what is missing. The password of --sasl-username is
    REGULARS_SASL_PASSWORD, or in --sasl-password-file; the secret of pseudonyms is REGULARS_PSEUDONYM_KEY, or in
    --pseudonym-key-file.
    """
    settings = settings_from(**options)  # a value that is not allowed ends here, with exit code 2

    from models.policy import PolicyError
    from streams.app import scoring_app
    from streams.plane.runtime import run_worker
    from streams.worker.wiring import ScoringWorker

    try:
        app = scoring_app(ScoringWorker(settings))
    except PolicyError as exc:
        raise Failure(str(exc), "correct the file or REGULARS_POLICY") from exc
    except WrongSetting as exc:  # a file that a setting names holds something else
        raise click.UsageError(str(exc)) from exc
    app.hold_directory()  # first: a worker before this one that is still ending holds the port, too
    check_ports(settings)
    run_worker(app)


def check_ports(settings: Settings) -> None:
    """Refuses addresses that the web servers could not bind. Otherwise the group rebalances for a worker that then ends.

    Raises:
        Failure: a port is taken or given twice, or the address is not this host's.
    """
    if settings.web_port and settings.web_port == settings.web_customer_port:
        raise Failure(f"--web-port and --web-customer-port are both {settings.web_port}", "give each a port of its own")
    for name in ("web_port", "web_customer_port"):
        if (port := getattr(settings, name)) != 0:
            _check_port(settings, port, f"REGULARS_{name.upper()}")


def _check_port(settings: Settings, port: int, variable: str) -> None:
    try:
        addresses = socket.getaddrinfo(
            settings.web_host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as exc:
        raise Failure(f"web address {settings.web_host}: {exc.strerror}", "set REGULARS_WEB_HOST") from exc
    refusals = {address: _refusal(family, address) for family, *_, address in addresses}
    for why in refusals.values():
        if why is not None and why.errno != errno.EADDRNOTAVAIL:
            raise Failure(f"web port {port}: {_text_of(why)}", f"set {variable}") from why
    elsewhere = [why for why in refusals.values() if why is not None]
    if len(elsewhere) == len(
        refusals
    ):  # one address of several is enough: localhost is ::1 also where there is no IPv6
        raise Failure(f"web address {settings.web_host}: {_text_of(elsewhere[0])}", "set REGULARS_WEB_HOST")


def _refusal(family: int, address: tuple[Any, ...]) -> OSError | None:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as asyncio's servers do
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
    except OSError as exc:
        return exc
    return None


def _text_of(exc: OSError) -> str:
    return (exc.strerror or str(exc)).lower()

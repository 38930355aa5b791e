"""Settings as the arguments with which every Kafka client reaches the cluster: addresses, TLS, user and password."""

import ssl
from functools import lru_cache
from pathlib import Path
from typing import Any

from aiokafka.helpers import create_ssl_context

from streams.kafka.errors import AccessRefused
from streams.keys import secret_text
from streams.settings import Settings, WrongSetting


def servers(settings: Settings) -> list[str]:
    """The bootstrap servers, each as ``host:port``."""
    return [server.strip() for server in settings.bootstrap_servers.split(",") if server.strip()]


def kafka_options(settings: Settings) -> dict[str, Any]:
    """The arguments with which every aiokafka client reaches the cluster: addresses, TLS, user and password.

    Raises:
        AccessRefused: a file that a setting names cannot be read, or holds something else.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": servers(settings),
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol in ("SSL", "SASL_SSL"):
        options["ssl_context"] = _context(settings.ssl_cafile, settings.ssl_certfile, settings.ssl_keyfile)
    if settings.security_protocol.startswith("SASL_"):
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": _password(settings),
        }
    return options


def _password(settings: Settings) -> str:
    if settings.sasl_password_file is None:
        return settings.sasl_password.get_secret_value()
    try:
        return secret_text(settings.sasl_password_file, "REGULARS_SASL_PASSWORD_FILE")
    except WrongSetting as exc:
        raise AccessRefused(str(exc)) from None


@lru_cache
def _context(cafile: Path | None, certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext:
    """The TLS context, read once per process: a renewed certificate is read when the process starts again."""
    try:
        create_ssl_context(cafile=cafile)
    except OSError as exc:
        raise AccessRefused(f"{cafile}: {_cause(exc)}; correct REGULARS_SSL_CAFILE") from exc
    if certfile is None and keyfile is not None:
        raise AccessRefused("REGULARS_SSL_KEYFILE is set without REGULARS_SSL_CERTFILE; set both, or neither")
    try:
        # The empty passphrase keeps OpenSSL from asking for one on the terminal.
        context: ssl.SSLContext = create_ssl_context(cafile=cafile, certfile=certfile, keyfile=keyfile, password="")
    except OSError as exc:
        raise AccessRefused(
            f"{certfile} and {keyfile or 'the key in it'}: {_cause(exc)}; correct REGULARS_SSL_CERTFILE and "
            "REGULARS_SSL_KEYFILE (PEM, the key without a passphrase)"
        ) from exc
    return context


def _cause(exc: OSError) -> str:
    if isinstance(exc, ssl.SSLError):
        return f"no PEM file of that kind ({exc.reason or exc})"
    return exc.strerror or str(exc)

"""How Kafka is reached: the one place that turns settings into an aiokafka client's arguments, and says who is refused.

Aiokafka logs what a broker says to a wrong password or certificate and raises that it could not connect, as it does where
nobody listens. `telling` looks again with one connection and raises the reason, with the setting to mend.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import collect_hosts
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.helpers import create_ssl_context
from aiokafka.protocol.metadata import MetadataRequest

from streams.settings import Settings

# Of the connection that finds out why; a broker that is there answers in milliseconds.
LOOK_LIMIT_S = 5.0
END_LIMIT_S = 1.0  # of its close_notify, as well

DENIALS = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL
_OTHER_NAME = (62, 64)


class AccessRefused(KafkaError):
    """Kafka doesn't let this client in, or not do what it asked; operator action: the message names the setting."""

    def __str__(self) -> str:
        return str(self.args[0])


def servers(settings: Settings) -> list[str]:
    """Bootstrap servers, ``host:port`` each."""
    return [server.strip() for server in settings.bootstrap_servers.split(",") if server.strip()]


def kafka_options(settings: Settings) -> dict[str, Any]:
    """The arguments with which every aiokafka client reaches the cluster: where it is, TLS, who asks.

    Raises:
        AccessRefused: a file that a setting names can't be read, or holds something else.
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
        password = settings.sasl_password_file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
        raise AccessRefused(f"{settings.sasl_password_file}: {why}; correct REGULARS_SASL_PASSWORD_FILE") from None
    if not password:
        raise AccessRefused(f"{settings.sasl_password_file} is empty; correct REGULARS_SASL_PASSWORD_FILE")
    return password


@lru_cache
def _context(cafile: Path | None, certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext:
    """Read once a process: whoever renews a certificate starts the process again."""
    try:
        create_ssl_context(cafile=cafile)
    except OSError as exc:
        raise AccessRefused(f"{cafile}: {_why(exc)}; correct REGULARS_SSL_CAFILE") from exc
    if certfile is None and keyfile is not None:
        raise AccessRefused("REGULARS_SSL_KEYFILE is set without REGULARS_SSL_CERTFILE; set both, or neither")
    try:
        # an empty passphrase: otherwise OpenSSL would ask for one on the terminal
        context: ssl.SSLContext = create_ssl_context(cafile=cafile, certfile=certfile, keyfile=keyfile, password="")
    except OSError as exc:
        raise AccessRefused(
            f"{certfile} and {keyfile or 'the key in it'}: {_why(exc)}; correct REGULARS_SSL_CERTFILE and "
            "REGULARS_SSL_KEYFILE (PEM, the key without a passphrase)"
        ) from exc
    return context


def _why(exc: OSError) -> str:
    if isinstance(exc, ssl.SSLError):
        return f"no PEM of that kind ({exc.reason or exc})"
    return exc.strerror or str(exc)


@contextlib.asynccontextmanager
async def telling(settings: Settings) -> AsyncIterator[None]:
    """Around what talks to Kafka: where that fails because this client is refused, the exception says so.

    Raises:
        AccessRefused: instead of what came out of the block, if a broker is there and refuses.
    """
    try:
        yield
    except AccessRefused:
        raise
    except DENIALS as exc:
        raise AccessRefused(denied(exc)) from exc
    except (KafkaError, OSError, TimeoutError) as exc:
        if (why := await refusal(settings)) is not None:
            raise AccessRefused(why) from exc
        raise


def denied(exc: BaseException) -> str:
    """What to say where Kafka let this client in but does not allow what it asked for."""
    said = str(exc) or type(exc).__name__
    return f"Kafka does not allow that ({said}); give the client's user what docs/operations.md lists for the command"


async def who_answers(settings: Settings) -> tuple[str, list[str]]:
    """Id of the cluster, and its brokers' own addresses, ``host:port`` each.

    Raises:
        AccessRefused: a broker is there and refuses.
        KafkaError: no broker answers.
    """
    admin = AIOKafkaAdminClient(**kafka_options(settings))
    try:
        async with telling(settings), asyncio.timeout(LOOK_LIMIT_S):
            await admin.start()
            found = await admin.describe_cluster()
    except (OSError, TimeoutError) as exc:
        raise KafkaConnectionError(str(exc)) from exc
    finally:
        await admin.close()
    return found["cluster_id"] or "", [f"{broker['host']}:{broker['port']}" for broker in found["brokers"]]


async def refusal(settings: Settings) -> str | None:
    """Why brokers that are there don't let this client in, and the setting to mend; None: one does, or none is there.

    Brokers are tried under their addresses in the settings, then under those that they give themselves.
    """
    refused: str | None = None
    asked = [(host, port) for host, port, _ in collect_hosts(servers(settings))]
    for host, port in asked:
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                found = await _ask(host, port, settings)
        except (KafkaError, OSError, TimeoutError) as exc:
            refused = refused or await _reason(host, port, settings, exc)
        else:
            asked += [address for address in found if address not in asked]
            if (host, port) not in found and found:
                continue  # its own address decides
            return None
    return None if refused is None else f"Kafka at {refused}"


async def _ask(host: str, port: int, settings: Settings) -> list[tuple[str, int]]:
    """The brokers' own addresses."""
    options = kafka_options(settings)
    del options["bootstrap_servers"]
    async with _connection(host, port, options) as connection:
        answer = await connection.send(MetadataRequest([]))
    return [(name, number) for _, name, number, *_ in answer.brokers]


@contextlib.asynccontextmanager
async def _connection(host: str, port: int, options: dict[str, Any]) -> AsyncIterator[AIOKafkaConnection]:
    """A connection that has ended when the block has.

    Aiokafka doesn't wait for the end of one over which a broker refuses it, and TLS ends only when both sides said so.
    """
    connection = AIOKafkaConnection(host, port, request_timeout_ms=int(1000 * LOOK_LIMIT_S), **options)
    try:
        await connection.connect()
    except KafkaError:
        await _ended(connection)
        raise
    try:
        yield connection
    finally:
        await _ended(connection)


async def _ended(connection: AIOKafkaConnection) -> None:
    """Closes; waits a moment for the end, and no longer: what was found out counts, even of a broker that doesn't answer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_LIMIT_S):
            await connection.close()


async def _reason(host: str, port: int, settings: Settings, exc: BaseException) -> str | None:
    if isinstance(exc, TimeoutError):
        return None  # who doesn't answer refuses nothing
    if isinstance(exc, AccessRefused):
        return f"{host}:{port} was not asked: {exc}"  # a file has gone since this process started
    at, protocol = f"{host}:{port}", settings.security_protocol
    if isinstance(exc, ssl.SSLCertVerificationError):
        if exc.verify_code in _OTHER_NAME:
            return (
                f"{at} has a certificate for another name ({exc.verify_message.rstrip('.')}); name the broker in "
                "REGULARS_BOOTSTRAP_SERVERS as its certificate does"
            )
        return (
            f"{at} has a certificate that is not trusted ({exc.verify_message}); name the authority that signed it "
            "with REGULARS_SSL_CAFILE"
        )
    if isinstance(exc, SaslAuthenticationFailed):
        file = settings.sasl_password_file
        secret = "REGULARS_SASL_PASSWORD" if file is None else f"REGULARS_SASL_PASSWORD_FILE ({file})"
        return (
            f"{at} refuses user {settings.sasl_username} by {settings.sasl_mechanism}; correct REGULARS_SASL_USERNAME "
            f"or {secret}, or set another REGULARS_SASL_MECHANISM"
        )
    if isinstance(exc, UnsupportedSaslMechanismError):
        return f"{at} does not take {settings.sasl_mechanism}; set another REGULARS_SASL_MECHANISM"
    tls, sasl = "SSL" in protocol, protocol.startswith("SASL_")
    if not tls and await _speaks_tls(host, port):
        return f"{at} speaks TLS; set REGULARS_SECURITY_PROTOCOL to {'SASL_SSL' if sasl else 'SSL or SASL_SSL'}"
    if tls and await _speaks_plainly(host, port):
        return f"{at} speaks no TLS; set REGULARS_SECURITY_PROTOCOL to {protocol.replace('SSL', 'PLAINTEXT')}"
    if isinstance(exc, IllegalSaslStateError):
        return f"{at} asks for no user; set REGULARS_SECURITY_PROTOCOL to {protocol.removeprefix('SASL_')}"
    if tls and "certificate" in f"{exc} {exc.__cause__}".lower():
        return f"{at} wants a certificate of this client that it trusts; set REGULARS_SSL_CERTFILE and REGULARS_SSL_KEYFILE"
    if not sasl and await _asks_for_user(host, port, settings):
        return f"{at} asks for a user; set REGULARS_SECURITY_PROTOCOL to SASL_{protocol}, and REGULARS_SASL_USERNAME"
    return None


async def _speaks_tls(host: str, port: int) -> bool:
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(LOOK_LIMIT_S):
            _, writer = await asyncio.open_connection(host, port, ssl=anybody)
    except ssl.SSLError as exc:
        return "ALERT" in str(exc).upper()  # a broker that wants a certificate answers in TLS, too
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(LOOK_LIMIT_S):
            await writer.wait_closed()
    return True


async def _speaks_plainly(host: str, port: int) -> bool:
    """Whether Kafka answers there without TLS what versions it knows, which it tells everybody."""
    try:
        async with asyncio.timeout(LOOK_LIMIT_S), _connection(host, port, {}):
            return True
    except (KafkaError, OSError, TimeoutError):
        return False


async def _asks_for_user(host: str, port: int, settings: Settings) -> bool:
    """Whether the listener takes part in SASL: then it refuses a mechanism that nobody has."""
    options = kafka_options(settings)
    del options["bootstrap_servers"]
    options |= {"security_protocol": f"SASL_{settings.security_protocol}", "sasl_mechanism": "NONE"}
    try:
        async with asyncio.timeout(LOOK_LIMIT_S), _connection(host, port, options):
            return False
    except UnsupportedSaslMechanismError:
        return True
    except (KafkaError, OSError, TimeoutError):
        return False

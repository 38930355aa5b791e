"""Why a broker refuses a client.

Aiokafka logs the broker's answer to a wrong password or certificate, and raises only that it could not connect: the same
error as where nobody listens. `explaining_refusals` connects once more, finds the reason and raises it with the setting to
correct.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

from aiokafka.client import collect_hosts
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from streams.kafka.errors import DENIALS, AccessRefused, BrokerLost, denied
from streams.kafka.security import kafka_options, servers
from streams.settings import Settings

# Limit of the connection that looks for the reason; a broker that runs answers in milliseconds.
LOOK_LIMIT_S = 5.0
# Limit for the end of that connection, which waits for the broker's close_notify as well.
END_LIMIT_S = 1.0

# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL
_OTHER_NAME = (62, 64)


@contextlib.asynccontextmanager
async def explaining_refusals(settings: Settings, purpose: str = "") -> AsyncIterator[None]:
    """A block that talks to Kafka for a `purpose`: if it fails because a broker refuses this client, the error says why.

    Raises:
        AccessRefused: a broker answers and refuses this client; it replaces the error that left the block.
    """
    try:
        yield
    except AccessRefused:
        raise
    except DENIALS as exc:
        raise AccessRefused(denied(exc, purpose)) from exc
    except (KafkaError, OSError, TimeoutError) as exc:
        if (why := await refusal(settings)) is not None:
            raise AccessRefused(why) from exc
        raise


def unreached(settings: Settings, exc: Exception) -> Exception:
    """The error to raise for one that left `explaining_refusals`: a refusal stays, all else is a lost broker."""
    return exc if isinstance(exc, AccessRefused) else BrokerLost.at(settings.bootstrap_servers, type(exc).__name__)


async def refusal(settings: Settings) -> str | None:
    """Why the brokers that answer refuse this client, with the setting to correct.

    None: a broker accepts the client, or no broker answers. Each broker is tried under its address in the settings, then
    under the address that it advertises.
    """
    refused: str | None = None
    asked = [(host, port) for host, port, _ in collect_hosts(servers(settings))]
    for host, port in asked:
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                advertised = await _advertised(host, port, settings)
        except (KafkaError, OSError, TimeoutError) as exc:
            refused = refused or await _reason(host, port, settings, exc)
        else:
            asked += [address for address in advertised if address not in asked]
            if (host, port) not in advertised and advertised:
                continue  # the advertised address decides
            return None
    return None if refused is None else f"Kafka at {refused}"


async def _advertised(host: str, port: int, settings: Settings) -> list[tuple[str, int]]:
    """The addresses that the brokers of the cluster advertise."""
    options = kafka_options(settings)
    del options["bootstrap_servers"]
    async with _connection(host, port, options) as connection:
        answer = await connection.send(MetadataRequest([]))
    return [(name, number) for _, name, number, *_ in answer.brokers]


@contextlib.asynccontextmanager
async def _connection(host: str, port: int, options: dict[str, Any]) -> AsyncIterator[AIOKafkaConnection]:
    """A connection that is closed when the block ends.

    Aiokafka does not wait until a connection is closed over which a broker refused it; TLS closes one only when both
    sides have said so.
    """
    connection = AIOKafkaConnection(host, port, request_timeout_ms=int(1000 * LOOK_LIMIT_S), **options)
    try:
        await connection.connect()
    except KafkaError:
        await _close(connection)
        raise
    try:
        yield connection
    finally:
        await _close(connection)


async def _close(connection: AIOKafkaConnection) -> None:
    """Closes the connection and waits for its end, but only for a moment: the reason is known already."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_LIMIT_S):
            await connection.close()


async def _reason(host: str, port: int, settings: Settings, exc: BaseException) -> str | None:
    if isinstance(exc, TimeoutError):
        return None  # no answer is no refusal
    if isinstance(exc, AccessRefused):
        return f"{host}:{port} was not asked: {exc}"  # a file has disappeared since this process started
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
    """Whether a TLS server listens there, whatever its certificate says."""
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(LOOK_LIMIT_S):
            _, writer = await asyncio.open_connection(host, port, ssl=unverified)
    except ssl.SSLError as exc:
        return "ALERT" in str(exc).upper()  # a broker that wants a certificate answers in TLS as well
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(LOOK_LIMIT_S):
            await writer.wait_closed()
    return True


async def _speaks_plainly(host: str, port: int) -> bool:
    """Whether Kafka answers there without TLS. Every client may ask for the versions that it supports."""
    try:
        async with asyncio.timeout(LOOK_LIMIT_S), _connection(host, port, {}):
            return True
    except (KafkaError, OSError, TimeoutError):
        return False


async def _asks_for_user(host: str, port: int, settings: Settings) -> bool:
    """Whether the listener uses SASL: such a listener refuses a mechanism that does not exist."""
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

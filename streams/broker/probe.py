"""Asks a broker for its metadata: the proof that a Kafka is alive.

It sends one Metadata request (API key 3, version 2) over a plain socket, which needs no client, no event loop and no
library: numbers are big-endian, a length stands before each message, and a null string has the length -1. For a secured
Kafka it uses aiokafka.
"""

import asyncio
import socket
import struct
from typing import NamedTuple

from streams.settings import Settings

ANSWER_LIMIT_BYTES = 1 << 24


class Cluster(NamedTuple):
    """A cluster as one of its brokers describes it: its id, and its brokers, each as `host:port`."""

    cluster_id: str
    brokers: tuple[str, ...]


def ask(bootstrap_servers: str, timeout_s: float = 2.0) -> Cluster | None:
    """The cluster at `host:port[,host:port]`, from the first broker that answers; None: none does."""
    for server in bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s) as connection:
                return _metadata(connection)
        except (OSError, ValueError, struct.error):
            continue
    return None


def ask_named(settings: Settings, timeout_s: float = 2.0) -> Cluster | None:
    """As `ask`, for the brokers that the settings name, with the user and TLS of the settings.

    Raises:
        AccessRefused: a broker answers and refuses this client.
    """
    if settings.security_protocol == "PLAINTEXT":
        return ask(settings.bootstrap_servers, timeout_s)
    from streams.kafka.cluster import who_answers
    from streams.kafka.errors import BrokerLost

    try:
        cluster_id, brokers = asyncio.run(who_answers(settings))
    except BrokerLost:
        return None
    return Cluster(cluster_id, tuple(brokers))


def _metadata(connection: socket.socket) -> Cluster:
    client = b"regulars-probe"
    # api key, api version, correlation id, client id; then an empty array: no topics are asked for.
    request = struct.pack(f">hhih{len(client)}si", 3, 2, 1, len(client), client, 0)
    connection.sendall(struct.pack(">i", len(request)) + request)
    (size,) = struct.unpack(">i", _read(connection, 4))
    if not 0 < size <= ANSWER_LIMIT_BYTES:
        raise ValueError("not Kafka's protocol")
    answer = _Answer(_read(connection, size))
    (correlation,) = answer.take(">i")
    if correlation != 1:
        raise ValueError("not Kafka's protocol")
    brokers = []
    for _ in range(answer.take(">i")[0]):
        answer.take(">i")  # node id
        host, port = answer.string(), answer.take(">i")[0]
        answer.string()  # rack
        brokers.append(f"{host}:{port}")
    return Cluster(answer.string(), tuple(brokers))


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("closed early")
        data += part
    return data


class _Answer:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, layout: str) -> tuple[int, ...]:
        values = struct.unpack_from(layout, self._data, self._at)
        self._at += struct.calcsize(layout)
        return values

    def string(self) -> str:
        (size,) = self.take(">h")
        if size < 0:
            return ""
        text = self._data[self._at : self._at + size].decode()
        self._at += size
        return text

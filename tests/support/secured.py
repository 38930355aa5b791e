"""A broker with every kind of listener, and the certificates for it, made anew each time by openssl."""

import socket
import subprocess
from pathlib import Path
from typing import NamedTuple

from streams.broker import Broker

# Known by PLAIN; each password is `password_of` its user's name.
USERS = ("admin", "worker", "trainer", "on-call", "producer", "publisher")
_NEW_KEY = ("-newkey", "rsa:2048", "-nodes", "-days", "2")


class Secured(NamedTuple):
    """Addresses by what the listener speaks, and where the files are."""

    broker: Broker
    plaintext: str
    ssl: str
    sasl_plaintext: str
    sasl_ssl: str
    wants_certificate: str
    ca: Path
    other_ca: Path
    client: Path  # certificate and key of User:CN=client

    @classmethod
    def start(cls, folder: Path) -> "Secured":
        """A broker on which `USERS` may do nothing yet; whoever comes without a name, as tests do, may do everything."""
        certificates = folder / "certificates"
        certificates.mkdir()
        ca = _authority(certificates, "ca")
        server, client = _signed(certificates, "server", ca), _signed(certificates, "client", ca)
        ports = _free_ports(6)
        names = ("PLAINTEXT", "TLS", "USERS", "SECURED", "MUTUAL")
        at = dict(zip(names, (f"127.0.0.1:{port}" for port in ports), strict=False))
        listeners = ",".join(f"{name}://{address}" for name, address in at.items())
        properties = {
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{ports[5]}",
            "controller.quorum.voters": f"1@127.0.0.1:{ports[5]}",
            "advertised.listeners": listeners,
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL,USERS:SASL_PLAINTEXT,"
            "SECURED:SASL_SSL,MUTUAL:SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(server),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(ca),
            "listener.name.mutual.ssl.client.auth": "required",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }
        known = " ".join(f'user_{user}="{password_of(user)}"' for user in USERS)
        for name in ("users", "secured"):
            login = "org.apache.kafka.common.security"
            properties |= {
                f"listener.name.{name}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
                f"listener.name.{name}.plain.sasl.jaas.config": f"{login}.plain.PlainLoginModule required {known};",
                f"listener.name.{name}.scram-sha-256.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
            }
        broker = Broker.start(folder / "broker", ports[0], heap="512m", properties=properties)
        return cls(broker, *at.values(), ca, _authority(certificates, "other"), client)


def password_of(user: str) -> str:
    """What a user proves themselves with."""
    return f"let {user} in"


def _authority(folder: Path, name: str) -> Path:
    certificate = folder / f"{name}.pem"
    _openssl("req", "-x509", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", f"{folder / name}.key", "-out", certificate)
    return certificate


def _signed(folder: Path, name: str, ca: Path) -> Path:
    """A file with key and certificate of 127.0.0.1, signed by `ca`."""
    key, certificate, both = folder / f"{name}.key", folder / f"{name}.crt", folder / f"{name}.pem"
    by = ("-CA", ca, "-CAkey", ca.with_suffix(".key"), "-addext", "subjectAltName=IP:127.0.0.1")
    _openssl("req", "-x509", *_NEW_KEY, "-subj", f"/CN={name}", *by, "-keyout", key, "-out", certificate)
    both.write_text(key.read_text() + certificate.read_text())
    return both


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


def _free_ports(count: int) -> list[int]:
    listeners = [socket.socket() for _ in range(count)]
    for listener in listeners:
        listener.bind(("127.0.0.1", 0))
    ports = [int(listener.getsockname()[1]) for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports

"""How settings become a client's arguments, and what is said of files that can't be used."""

import subprocess
from pathlib import Path
from typing import Any

import faust
import pytest

from streams.kafka.errors import AccessRefused
from streams.kafka.security import kafka_options
from streams.plane.faust_options import credentials
from streams.settings import Settings

USER: dict[str, Any] = {"security_protocol": "SASL_PLAINTEXT", "sasl_username": "shop"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and its certificate."""
    both = tmp_path_factory.mktemp("certificate") / "both.pem"
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a", "-keyout", both]
    made = subprocess.run(new, check=True, capture_output=True, timeout=60).stdout
    with both.open("ab") as file:
        file.write(made)
    return both


def test_plain_kafka_gets_no_credentials() -> None:
    """The default says where the brokers are, and nothing else."""
    options = kafka_options(Settings(bootstrap_servers="a:1, b:2"))

    assert options == {"bootstrap_servers": ["a:1", "b:2"], "security_protocol": "PLAINTEXT"}
    assert credentials(Settings()) is None


def test_password_comes_from_the_file_without_its_line_end(tmp_path: Path) -> None:
    """A mounted secret mostly ends with one; blanks are the password's own."""
    file = tmp_path / "password"
    file.write_text(" let me in \n")

    options = kafka_options(Settings(**USER, sasl_password_file=file, sasl_mechanism="SCRAM-SHA-512"))

    assert options["sasl_plain_password"] == " let me in "
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"


def test_faust_shows_what_all_other_clients_show(certificate: Path) -> None:
    """The worker's own consumer and producer are made by faust, from the same settings."""
    shown = credentials(
        Settings(**USER | {"security_protocol": "SASL_SSL"}, sasl_password="hush", ssl_cafile=certificate)
    )
    alone = credentials(Settings(security_protocol="SSL", ssl_cafile=certificate))

    assert isinstance(shown, faust.SASLCredentials)
    assert (shown.username, shown.password, shown.protocol.value) == ("shop", "hush", "SASL_SSL")
    assert "hush" not in repr(shown)
    assert isinstance(alone, faust.SSLCredentials)


def test_certificates_are_read_once(certificate: Path) -> None:
    """Every client of a process has the same context."""
    settings = Settings(security_protocol="SSL", ssl_cafile=certificate, ssl_certfile=certificate)

    assert kafka_options(settings)["ssl_context"] is kafka_options(settings)["ssl_context"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ssl_cafile": "absent"}, "absent: No such file or directory; correct REGULARS_SSL_CAFILE"),
        ({"ssl_cafile": "empty"}, "correct REGULARS_SSL_CAFILE"),
        ({"ssl_certfile": "absent"}, "correct REGULARS_SSL_CERTFILE"),
        ({"ssl_certfile": "empty"}, "correct REGULARS_SSL_CERTFILE"),
        ({"ssl_keyfile": "empty"}, "REGULARS_SSL_KEYFILE is set without REGULARS_SSL_CERTFILE"),
        (USER | {"sasl_password_file": "absent"}, "correct REGULARS_SASL_PASSWORD_FILE"),
        (USER | {"sasl_password_file": "empty"}, "is empty; correct REGULARS_SASL_PASSWORD_FILE"),
    ],
)
def test_file_that_can_not_be_used_is_named_with_its_setting(
    given: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything connects, in one line."""
    monkeypatch.chdir(tmp_path)
    Path("empty").touch()

    with pytest.raises(AccessRefused) as caught:
        kafka_options(Settings(**{"security_protocol": "SSL", **given}))

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_key_with_a_passphrase_is_refused_and_asks_nobody(tmp_path: Path, certificate: Path) -> None:
    """OpenSSL would wait at the terminal for whoever isn't there."""
    locked = tmp_path / "locked.pem"
    lock = ["openssl", "pkey", "-in", certificate, "-aes128", "-passout", "pass:geheim", "-out", locked]
    subprocess.run(lock, check=True, capture_output=True, timeout=60)

    with pytest.raises(AccessRefused, match="without a passphrase"):
        kafka_options(Settings(security_protocol="SSL", ssl_certfile=certificate, ssl_keyfile=locked))

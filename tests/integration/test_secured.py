"""The product on a secured Kafka: TLS, users, permissions; and what it says where one of them is wrong."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from secured import Secured, password_of
from shop_worker import Shop, changes_of
from streams.kafka.errors import AccessRefused
from streams.kafka.topics import check
from streams.settings import Settings

# One process runs the file: its broker takes long to start.
pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("secured")]

READ, WRITE, DESCRIBE = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE
INPUTS = ("clickstream", "purchases", "reviews", "erasures")


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A broker with every kind of listener."""
    secured = Secured.start(tmp_path_factory.mktemp("secured"))
    yield secured
    secured.broker.stop()


class SecuredShop(Shop):
    """A shop whose processes come by SASL_SSL, each as a user who may do what docs/operations.md lists."""

    def __init__(self, kafka: Secured, prefix: str, folder: Path) -> None:
        self.kafka = kafka
        self.user = "admin"
        super().__init__(
            Settings(bootstrap_servers=kafka.plaintext, topic_prefix=prefix, data_dir=folder / "data", partitions=2)
        )
        self._allow()

    def environment(self, name: str) -> dict[str, str]:
        """As the shop's, for the secured listener and the user of the moment."""
        password = self.settings.data_dir.parent / f"{self.user}.password"
        password.write_text(password_of(self.user) + "\n")
        return super().environment(name) | {
            "REGULARS_BOOTSTRAP_SERVERS": self.kafka.sasl_ssl,
            "REGULARS_SECURITY_PROTOCOL": "SASL_SSL",
            "REGULARS_SSL_CAFILE": str(self.kafka.ca),
            "REGULARS_SASL_USERNAME": self.user,
            "REGULARS_SASL_PASSWORD_FILE": str(password),
        }

    def run_as(self, user: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs `regulars ARGUMENTS` as a user, to a good end."""
        self.user = user
        told = self.run(*arguments)
        assert told.returncode == 0, (user, arguments, told.stderr)
        return told

    def lag(self) -> int:
        """As the user who is on call."""
        return int(json.loads(self.run_as("on-call", "lag", "--json").stdout)["records"])

    def _allow(self) -> None:
        group, topic = self.settings.consumer_group, ResourceType.TOPIC
        changelog = f"{self.settings.app_id}-customers-changelog"
        outputs = (
            "segment-changes",
            "customer-segments",
            "actions",
            "action-rewards",
            "dead-letters",
            "model-train",
            changelog,
        )
        rules = [
            *_rules("worker", topic, self._names(*INPUTS, "policies", "campaigns", "model-snapshots", changelog), READ),
            *_rules("worker", topic, self._names(*outputs), WRITE),
            *_rules(
                "worker",
                topic,
                self._names(*INPUTS, *outputs, "policies", "campaigns", "model-snapshots"),
                AclOperation.DESCRIBE_CONFIGS,
            ),
            *_rules("worker", ResourceType.GROUP, [group], READ),
            *_rules("worker", ResourceType.TRANSACTIONAL_ID, [f"{group}-"], WRITE, ResourcePatternType.PREFIXED),
            *_rules("trainer", topic, self._names("model-train", "model-snapshots"), READ),
            *_rules("trainer", topic, self._names("model-snapshots", "dead-letters"), WRITE),
            *_rules("trainer", ResourceType.GROUP, [f"{group}-trainer"], READ),
            *_rules("on-call", topic, self._names(*INPUTS, "segment-changes", "customer-segments", changelog), READ),
            *_rules("on-call", topic, self._names("dead-letters", "model-snapshots", "policies"), READ),
            *_rules("on-call", ResourceType.GROUP, [group], DESCRIBE),
            *_rules("producer", topic, self._names(*INPUTS), WRITE),
            *_rules("publisher", topic, self._names("policies"), READ),
            *_rules("publisher", topic, self._names("policies"), WRITE),
            *(
                rule
                for operation in (AclOperation.CREATE, DESCRIBE, AclOperation.DESCRIBE_CONFIGS)
                for rule in _rules(
                    "admin", topic, [self.settings.topic_prefix], operation, ResourcePatternType.PREFIXED
                )
            ),
        ]
        admin = AdminClient({"bootstrap.servers": self.kafka.plaintext})  # its answers end with it
        for made in admin.create_acls(rules).values():
            made.result(30)

    def _names(self, *short: str) -> list[str]:
        return [self.settings.topic(name) for name in short]


def _rules(
    user: str,
    kind: ResourceType,
    names: Sequence[str],
    operation: AclOperation,
    pattern: ResourcePatternType = ResourcePatternType.LITERAL,
) -> list[AclBinding]:
    return [AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW) for name in names]


@pytest.fixture
def shop(kafka: Secured, prefix: str, tmp_path: Path) -> Iterator[SecuredShop]:
    """A shop of its own."""
    shop = SecuredShop(kafka, prefix, tmp_path)
    yield shop
    shop.close()


@pytest.mark.slow
def test_every_command_works_with_the_permissions_that_are_listed(
    shop: SecuredShop, kafka: Secured, tmp_path: Path
) -> None:
    """Topics, events, worker, trainer, on call, policies: all by TLS, each as a user who may do that and no more."""
    (tmp_path / "purchases.csv").write_text(
        "customer_id,purchased_at,amount\n" + "".join(f"anna-{n},2024-01-0{n}T10:00:00Z,99.50\n" for n in range(1, 9))
    )
    shop.run_as("admin", "topics", "create", "--topic-prefix", f"{shop.settings.topic_prefix}more-")
    shop.run_as("admin", "topics", "check")
    assert kafka.sasl_ssl in shop.run_as("admin", "broker", "status").stdout
    shop.run_as("producer", "replay", "generic", str(tmp_path / "purchases.csv"), "--currency", "GBP")
    shop.user = "worker"
    worker = shop.start()
    shop.user = "trainer"
    trainer = shop.start("streams.cli", "trainer", name="trainer")

    shop.settle(worker)

    Shop.until(lambda: len(changes_of(shop.read("segment-changes"))) == 8, worker)
    assert "anna-3" in shop.run_as("on-call", "explain", "anna-3").stdout
    shop.run_as("on-call", "state", "export", "--out", str(tmp_path / "states.parquet"))
    shop.run_as("on-call", "dead-letters", "list")
    policy = Path(__file__).parents[2] / "models" / "policies" / "default.yaml"
    shop.run_as("on-call", "policy", "preview", str(policy))
    shop.run_as("publisher", "policy", "publish", str(policy))
    shop.run_as("publisher", "policy", "history")
    (log,) = tmp_path.glob("trainer-*.log")
    Shop.until(lambda: '"learning"' in log.read_text(), trainer)
    assert shop.stop(trainer) == 0
    assert shop.stop(worker) == 0


def test_wrong_password_ends_every_command_with_the_setting_to_mend(shop: SecuredShop, tmp_path: Path) -> None:
    """One line, exit code 1 (a worker: 70), not "start a broker"; the password is in no output."""
    (tmp_path / "wrong").write_text("geheim")
    wrong = {"REGULARS_SASL_PASSWORD_FILE": str(tmp_path / "wrong")}
    for code, *command in (
        (70, "worker"),
        (1, "trainer"),
        (1, "lag"),
        (1, "topics", "check"),
        (1, "dead-letters", "list"),
    ):
        process = shop.start("streams.cli", *command, name=command[0], **wrong)

        assert process.wait(60) == code
        (log,) = tmp_path.glob(f"{command[0]}-*.log")
        last = log.read_text().splitlines()[-1]
        assert "refuses user admin by PLAIN" in last
        assert f"REGULARS_SASL_PASSWORD_FILE ({tmp_path / 'wrong'})" in last
        assert "broker start" not in last
        assert "geheim" not in log.read_text()
        assert "Traceback" not in log.read_text()


def test_what_is_not_allowed_is_said_to_be(shop: SecuredShop) -> None:
    """A missing permission isn't taken for a broker that is away."""
    shop.user = "on-call"

    told = shop.run("policy", "publish", str(Path(__file__).parents[2] / "models" / "policies" / "default.yaml"))

    assert told.returncode == 1
    assert "Kafka does not allow that" in told.stderr.splitlines()[-1]
    assert "policies" in told.stderr.splitlines()[-1]


async def test_every_listener_is_reached_by_its_settings(kafka: Secured, prefix: str) -> None:
    """TLS alone, a certificate of the client's, PLAIN and SCRAM, with TLS and without."""
    admin = AdminClient({"bootstrap.servers": kafka.plaintext})
    known = UserScramCredentialUpsertion("sam", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), b"sesame")
    for made in admin.alter_user_scram_credentials([known]).values():
        made.result(30)
    plain: dict[str, Any] = {"sasl_username": "admin", "sasl_password": password_of("admin")}
    scram: dict[str, Any] = {
        "sasl_username": "sam",
        "sasl_password": "sesame",
        "sasl_mechanism": "SCRAM-SHA-256",
    }
    for given in (
        {"bootstrap_servers": kafka.ssl, "security_protocol": "SSL"},
        {"bootstrap_servers": kafka.wants_certificate, "security_protocol": "SSL", "ssl_certfile": kafka.client},
        {"bootstrap_servers": kafka.sasl_plaintext, "security_protocol": "SASL_PLAINTEXT", **plain},
        {"bootstrap_servers": kafka.sasl_plaintext, "security_protocol": "SASL_PLAINTEXT", **scram},
        {"bootstrap_servers": kafka.sasl_ssl, "security_protocol": "SASL_SSL", **plain},
        {"bootstrap_servers": kafka.sasl_ssl, "security_protocol": "SASL_SSL", **scram},
    ):
        settings = Settings(topic_prefix=prefix, ssl_cafile=kafka.ca, **given)

        assert all(finding.missing for finding in await check(settings))


@pytest.mark.parametrize(
    ("listener", "given", "said"),
    [
        ("ssl", {}, "speaks TLS; set REGULARS_SECURITY_PROTOCOL to SSL or SASL_SSL"),
        ("wants_certificate", {}, "speaks TLS; set REGULARS_SECURITY_PROTOCOL to SSL or SASL_SSL"),
        ("sasl_ssl", {"security_protocol": "SASL_PLAINTEXT"}, "speaks TLS; set REGULARS_SECURITY_PROTOCOL to SASL_SSL"),
        ("sasl_plaintext", {}, "asks for a user; set REGULARS_SECURITY_PROTOCOL to SASL_PLAINTEXT"),
        ("sasl_ssl", {"security_protocol": "SSL"}, "asks for a user; set REGULARS_SECURITY_PROTOCOL to SASL_SSL"),
        ("plaintext", {"security_protocol": "SSL"}, "speaks no TLS; set REGULARS_SECURITY_PROTOCOL to PLAINTEXT"),
        (
            "sasl_plaintext",
            {"security_protocol": "SASL_SSL"},
            "speaks no TLS; set REGULARS_SECURITY_PROTOCOL to SASL_PL",
        ),
        (
            "plaintext",
            {"security_protocol": "SASL_PLAINTEXT"},
            "asks for no user; set REGULARS_SECURITY_PROTOCOL to PLAIN",
        ),
        ("ssl", {"security_protocol": "SASL_SSL"}, "asks for no user; set REGULARS_SECURITY_PROTOCOL to SSL"),
        ("wants_certificate", {"security_protocol": "SSL"}, "set REGULARS_SSL_CERTFILE and REGULARS_SSL_KEYFILE"),
        (
            "ssl",
            {"security_protocol": "SSL", "ca": "other_ca"},
            "name the authority that signed it with REGULARS_SSL_CAFILE",
        ),
        ("ssl", {"security_protocol": "SSL", "ca": None}, "name the authority that signed it with REGULARS_SSL_CAFILE"),
        ("ssl", {"security_protocol": "SSL", "host": "localhost"}, "name the broker in REGULARS_BOOTSTRAP_SERVERS"),
        ("sasl_ssl", {"security_protocol": "SASL_SSL", "sasl_password": "no"}, "correct REGULARS_SASL_USERNAME or"),
        (
            "sasl_ssl",
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-256"},
            "refuses user admin by SCRAM",
        ),
        (
            "sasl_ssl",
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512"},
            "does not take SCRAM-SHA-512",
        ),
    ],
)
async def test_setting_that_does_not_fit_the_listener_is_named(
    kafka: Secured, listener: str, given: dict[str, Any], said: str
) -> None:
    """Whoever connects the wrong way reads in one line what to set."""
    wrong = {"sasl_username": "admin", "sasl_password": password_of("admin"), **given}
    authority, host = wrong.pop("ca", "ca"), wrong.pop("host", "127.0.0.1")
    cafile = None if authority is None else getattr(kafka, authority)
    settings = Settings(
        bootstrap_servers=getattr(kafka, listener).replace("127.0.0.1", host), ssl_cafile=cafile, **wrong
    )

    with pytest.raises(AccessRefused) as caught:
        await check(settings)

    assert said in str(caught.value)
    assert str(caught.value).startswith(f"Kafka at {settings.bootstrap_servers} ")
    assert "\n" not in str(caught.value)

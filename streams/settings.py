"""Every setting of the product, read once from the environment (`REGULARS_...`) and the command line."""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "REGULARS_"

# Channels that need a customer's consent (a test holds them to `models.decisions.campaign.CHANNELS`).
CHANNELS = ("email", "sms", "push")

# The umask of every process: what it writes (state, logs, caches, exports) is of customers, and its owner's alone.
OWNER_ALONE = 0o077

# Variables that only one command reads. They cannot be taken from the commands' options: `faust -A streams.app worker`
# checks the environment too, and stands below the commands. A contract test holds this list to the options.
COMMAND_VARIABLES = frozenset(
    f"{PREFIX}{name}"
    for name in (
        *("BROKER_DIR", "BROKER_PORT", "KAFKA_VERSION"),
        *("PUBLISH_EVERY", "PUBLISH_INTERVAL"),
        *("RATE", "CUSTOMERS", "DAYS", "SEED", "EVENTS", "FOLLOW", "LIVE_RATE"),
        *("SPEED", "FROM", "TO", "RESTART", "CURRENCY"),
    )
)
# Variables of the data plane's crash points, and of tests that need the shared folder.
TEST_VARIABLES = frozenset(f"{PREFIX}{name}" for name in ("CRASH_POINT", "CRASH_SIGNAL", "SHARED"))

# NAME=VALUE as Kubernetes sets it in every container for a service whose name begins with "regulars".
_OF_A_SERVICE = re.compile(
    r"\w+(_SERVICE_HOST=|_SERVICE_PORT(_\w+)?=|_PORT(_\d+_(TCP|UDP|SCTP))?=\w+://|_PORT_\d+_\w+=)"
)


def _cache_dir() -> Path:
    return Path("~/.cache/regulars").expanduser()


class WrongSetting(ValueError):
    """A setting has a value that is not allowed, or a variable is no setting; the message names it and the way out."""


class Settings(BaseSettings):
    """The settings of one process; a field `x_y` is `REGULARS_X_Y` in the environment, and `--x-y` if a command takes it."""

    # An error must not show its input, which could be the password.
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    # --- Kafka
    bootstrap_servers: str = Field("127.0.0.1:9092", description="host:port[,host:port] of the brokers")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="protocol of the brokers' listener"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="how the user logs in, with SASL_PLAINTEXT and SASL_SSL"
    )
    sasl_username: str = Field("", description="the user, with SASL_PLAINTEXT and SASL_SSL")
    sasl_password: SecretStr = Field(SecretStr(""), description="the user's password; better in a file")
    sasl_password_file: Path | None = Field(
        None, description="file with the user's password, such as a mounted secret; the line end does not count"
    )
    ssl_cafile: Path | None = Field(
        None, description="PEM file of the authorities that signed the brokers' certificates; empty: the system's"
    )
    ssl_certfile: Path | None = Field(
        None, description="PEM file of this client's certificate, if the brokers ask for one"
    )
    ssl_keyfile: Path | None = Field(
        None,
        description="PEM file of the certificate's key, without a passphrase; empty: it is in the certificate's file",
    )
    topic_prefix: str = Field("", description="prefix of every topic name, to share a cluster")
    partitions: int = Field(8, ge=1, description="partitions of the customer-keyed topics; fixed for life")
    replication_factor: int = Field(
        1, ge=1, description="replicas of a topic that is made, and the fewest that a check accepts"
    )
    app_id: str = Field("regulars", description="name of this installation, in the changelog and in every metric")
    group: str = Field(
        "",
        description="consumer group of the workers; the other groups and the transactional ids begin with it; "
        "empty: topic prefix and app id together",
    )

    # --- worker
    data_dir: Path = Field(Path("regulars-data"), description="folder of the local store; one per worker; keep it")
    store_memory_mb: int = Field(
        128, ge=16, description="memory for caches and buffers of the local stores of all partitions together"
    )
    web_port: int = Field(6066, ge=0, le=65535, description="/live, /ready, /metrics, dashboard; 0: off")
    web_host: str = Field("127.0.0.1", description="address that the web server binds")
    web_customer_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="port of their own for all pages; --web-port then has no customer ids; 0: one port",
    )
    web_open: Literal["metrics", "probes"] = Field(
        "metrics", description="what needs no sign-in; metrics: /live, /ready and /metrics; probes: /live and /ready"
    )
    web_tokens: SecretStr = Field(
        SecretStr(""), description="lines `role:token` or `role/name:token`, role viewer or operator; better in a file"
    )
    web_token_file: Path | None = Field(
        None, description="file with such lines, read again when it changes; viewer: no customer ids, operator: all"
    )
    web_trusted_header: str = Field(
        "", description="header in which a sign-in in front names who asks; it must drop what clients send of it"
    )
    web_trusted_role: Literal["viewer", "operator"] = Field(
        "viewer", description="role of everybody whom the sign-in in front names"
    )
    web_trusted_proxies: str = Field(
        "127.0.0.0/8,::1", description="addresses or networks, comma between them, from which that header counts"
    )
    web_hosts: str = Field(
        "", description="names by which pages may be asked, comma between them, against DNS rebinding; empty: any"
    )
    web_readers: int = Field(16, ge=0, description="readers of /api/changes at a time")
    instance_id: str = Field(
        "", description="static membership: this worker's permanent name; empty: dynamic membership"
    )
    clock: Literal["wall", "event"] = Field(
        "wall",
        description="what measures silence; wall: the wall clock, if there is no backlog; event: event time alone",
    )
    clock_grace_s: float = Field(5.0, ge=0, description="seconds that partition time stays behind the wall clock")
    future_limit_s: float = Field(3600.0, ge=0, description="an event further ahead than this is a dead letter")
    customer_id_case: Literal["any", "lower", "upper"] = Field(
        "any", description="the case that customer ids must have; an event with another is a dead letter"
    )
    foreign_currency: Literal["count", "refuse"] = Field(
        "count",
        description="purchases in another currency than the policy's: count them at face value, or make dead letters",
    )
    erasures_in_purchases: Literal["accept", "refuse"] = Field(
        "accept", description="requests to erase that come in `purchases`: accept them, or make dead letters"
    )
    assumed_consent: str = Field(
        "",
        description="channels of campaigns, comma between them (email, sms, push), to which every customer has consented, "
        "as the shop answers for; empty: none, and arms on these channels are suppressed",
    )
    max_poll_records: int = Field(8000, ge=1, description="records per poll; more are faster under backlog")
    commit_interval_s: float = Field(0.5, gt=0, description="seconds between commits of progress")
    session_timeout_s: float = Field(10.0, gt=0, description="seconds of silence after which the group drops a worker")
    watchdog_limit_s: float = Field(
        120.0,
        gt=0,
        description="seconds without progress while records wait, after which the worker ends to be restarted",
    )
    accept_truncated_changelog: bool = Field(
        False, description="start though the beginning of the changelog was deleted, with the states that it still has"
    )
    policy: Path | None = Field(
        None, description="policy file that is served until a policy is published; empty: the default policy"
    )

    # --- texts
    encoder: str = Field("", description="directory of a transformers BERT model; empty: the packaged MiniLM")
    sentiment: str = Field(
        "",
        description="file of a trained sentiment head, or `anchors`; empty: the encoder's own, else the packaged one",
    )
    intents: str = Field(
        "", description="directory or file of a trained intent head, for `regulars encoder read`; empty: no intents"
    )
    encoder_preload: bool = Field(
        False, description="load the encoder before joining the group, instead of at the first text"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="device that the encoder runs on")
    cache_dir: Path = Field(default_factory=_cache_dir, description="broker jars, text vectors, replay positions")
    text_cache_mb: int = Field(512, ge=1, description="limit of the text vector cache on disk")

    # --- learning
    trainer_web_port: int = Field(0, ge=0, le=65535, description="the trainer's /live, /ready, /metrics; 0: off")
    models: str = Field(
        "",
        description="challengers of the served models, comma between them: [NAME=]package.module:function, or a shipped "
        "one's name (adagrad, bagging, dynamic, forest, leaf-tree); the same for the trainer and all workers",
    )
    pseudonym_key: SecretStr = Field(
        SecretStr(""), description="secret key of the pseudonyms in model-train; better in a file"
    )
    pseudonym_key_file: Path | None = Field(
        None,
        description="file with the secret key of the pseudonyms in model-train, 32 characters or more, for all workers",
    )

    @field_validator(
        *("sasl_password_file", "ssl_cafile", "ssl_certfile", "ssl_keyfile", "pseudonym_key_file", "web_token_file"),
        mode="before",
    )
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("assumed_consent")
    @classmethod
    def _are_channels(cls, value: str) -> str:
        unknown = {name.strip() for name in value.split(",")} - {"", *CHANNELS}
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))} is none of {', '.join(CHANNELS)}")
        return value

    @field_validator("web_trusted_header")
    @classmethod
    def _is_a_header(cls, value: str) -> str:
        if value and re.fullmatch(r"[A-Za-z0-9-]+", value) is None:
            raise ValueError("write the name of a header, as in X-Forwarded-User")
        return value

    @model_validator(mode="after")
    def _names_a_user(self) -> Self:
        """Refuses SASL without a user, without a password or with two."""
        if self.security_protocol.startswith("SASL_"):
            if not self.sasl_username:
                raise ValueError(f"REGULARS_SECURITY_PROTOCOL {self.security_protocol} wants REGULARS_SASL_USERNAME")
            given = bool(self.sasl_password.get_secret_value()) + (self.sasl_password_file is not None)
            if given != 1:
                raise ValueError(
                    f"REGULARS_SECURITY_PROTOCOL {self.security_protocol} wants REGULARS_SASL_PASSWORD_FILE or "
                    f"REGULARS_SASL_PASSWORD{', not both' if given else ''}"
                )
        return self

    def topic(self, name: str) -> str:
        """The full name of a topic, from its declared name (`schemas.topics`), in which `{appId}` stands for the app id.

        >>> Settings(topic_prefix="shop-").topic("purchases")
        'shop-purchases'
        """
        return self.topic_prefix + name.replace("{appId}", self.app_id)

    @property
    def consent(self) -> dict[str, bool]:
        """Channel -> True, for the channels of `assumed_consent`.

        >>> Settings(assumed_consent="email, push").consent
        {'email': True, 'push': True}
        """
        return {name.strip(): True for name in self.assumed_consent.split(",") if name.strip()}

    @property
    def changelog_topic(self) -> str:
        """The topic that holds every customer's state: `schemas.topics.CHANGELOG`, which the data plane must not import."""
        return self.topic("{appId}-customers-changelog")

    @property
    def consumer_group(self) -> str:
        """The group of the workers: two installations that share a cluster by their topic prefix never share a group.

        >>> Settings(topic_prefix="shop-").consumer_group, Settings(topic_prefix="shop-", group="shop").consumer_group
        ('shop-regulars', 'shop')
        """
        return self.group or self.topic_prefix + self.app_id

    @property
    def source(self) -> str:
        """Name of this installation in each change (`ce_source`): a URI reference of topic prefix, if any, and app id.

        >>> Settings().source, Settings(topic_prefix="shop-", app_id="blue").source
        ('/regulars/regulars', '/regulars/shop-/blue')
        """
        return "/".join(("/regulars", *(quote(each, safe="") for each in (self.topic_prefix, self.app_id) if each)))


def misspelt(environment: Mapping[str, str]) -> str | None:
    """The message for the first `REGULARS_...` variable that nothing reads, with the nearest name; None: all are known.

    >>> misspelt({"REGULARS_DATADIR": "/data", "HOME": "/root"})
    'REGULARS_DATADIR is no setting; did you mean REGULARS_DATA_DIR?'
    >>> misspelt({"REGULARS_DATA_DIR": "/data", "REGULARS_WEB_SERVICE_HOST": "10.0.0.7"})
    """
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | COMMAND_VARIABLES | TEST_VARIABLES
    for name, value in sorted(environment.items()):
        # pydantic accepts upper and lower case
        if not name.upper().startswith(PREFIX) or name.upper() in known:
            continue
        if _OF_A_SERVICE.match(f"{name}={value}"):
            continue
        near = difflib.get_close_matches(name.upper(), known, n=1)
        way_out = f"did you mean {near[0]}?" if near else "`regulars COMMAND --help` shows the variables"
        return f"{name} is no setting; {way_out}"
    return None


def read_settings(**options: Any) -> Settings:
    """The settings of the environment, overridden by the options; an option that is None was not given.

    Raises:
        WrongSetting: a value is not allowed.
    """
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as exc:
        first = exc.errors()[0]
        if not first["loc"]:  # it concerns several settings: the message names them, and the input is all settings
            raise WrongSetting(first["msg"].removeprefix("Value error, ")) from None
        name = str(first["loc"][0])
        raise WrongSetting(
            f"--{name.replace('_', '-')} ({PREFIX}{name.upper()}): {first['msg'].lower()}, not {first['input']!r}"
        ) from exc


def check_environment() -> None:
    """Refuses a `REGULARS_...` variable that nothing reads: whoever set it expects an effect.

    Raises:
        WrongSetting: there is one; the message gives the nearest name.
    """
    if (message := misspelt(os.environ)) is not None:
        raise WrongSetting(message)

"""Settings as the options of a Faust app, each with the reason where it is not Faust's default."""

from typing import Any

import faust
from mode import CrashingSupervisor
from yarl import URL

from streams.kafka.patience import DELIVERY_TIMEOUT_S, REQUEST_TIMEOUT_S
from streams.kafka.security import kafka_options, servers
from streams.plane.producer import MAX_BATCH_BYTES
from streams.plane.store import STORE_URL
from streams.settings import Settings

REBALANCE_TIMEOUT_S = 20.0
HEARTBEAT_S = 1.0

FAUST_PAGES = (
    "web_graph_enabled",
    "web_metrics_enabled",
    "web_router_enabled",
    "web_stats_enabled",
    "web_tables_enabled",
)


def faust_options(settings: Settings) -> dict[str, Any]:
    """The keyword arguments of `faust.App`.

    Raises:
        AccessRefused: a file of the settings cannot be read, or holds something else.
    """
    options = {
        # A supervisor that starts an agent again would go on after a failure, without what failed.
        "agent_supervisor": CrashingSupervisor,
        "broker": [URL(f"kafka://{server}") for server in servers(settings)],
        "broker_client_id": settings.app_id,
        "broker_credentials": credentials(settings),
        "broker_commit_interval": settings.commit_interval_s,
        "broker_heartbeat_interval": min(HEARTBEAT_S, settings.session_timeout_s / 6),
        "broker_max_poll_records": settings.max_poll_records,
        "broker_rebalance_timeout": max(REBALANCE_TIMEOUT_S, settings.session_timeout_s),
        # Faust's recovery waits for so long for each of its steps. Then it goes on as if the step were done, and waits for
        # ever for what never comes. A single request may take `REQUEST_TIMEOUT_S`.
        "broker_request_timeout": max(DELIVERY_TIMEOUT_S, settings.session_timeout_s),
        "broker_session_timeout": settings.session_timeout_s,
        "consumer_auto_offset_reset": "earliest",
        # With "" all workers would be one and the same member.
        "consumer_group_instance_id": settings.instance_id or None,
        "datadir": settings.data_dir,
        "producer_max_batch_size": MAX_BATCH_BYTES,
        "producer_max_request_size": 2 * MAX_BATCH_BYTES,
        "producer_request_timeout": REQUEST_TIMEOUT_S,
        "store": STORE_URL,
        "stream_recovery_delay": 0.0,
        "stream_wait_empty": True,
        "table_standby_replicas": 0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "topic_partitions": settings.partitions,
        "topic_replication_factor": settings.replication_factor,
        "web_bind": settings.web_host,
        # Faust's own pages: its table page gives any state to whoever asks.
        **dict.fromkeys(FAUST_PAGES, False),
        "web_enabled": settings.web_port != 0,
        "web_host": settings.web_host,
        "web_port": settings.web_port or 6066,
        "worker_redirect_stdouts": False,
    }
    if settings.instance_id:
        # Faust's assignor knows members by this URL. By default the web port is part of it. A static member that came back
        # with another port would count as two members, and the assignor would fail and stand still.
        options["canonical_url"] = URL(f"http://{settings.instance_id}")
    return options


def credentials(settings: Settings) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """What faust's own clients show to the brokers: the same that `kafka_options` gives to all other clients."""
    options = kafka_options(settings)
    context = options.get("ssl_context")
    if "sasl_mechanism" in options:
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            ssl_context=context,
            mechanism=options["sasl_mechanism"],
        )
    return None if context is None else faust.SSLCredentials(context)

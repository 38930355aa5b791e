"""The inside of faust, mode, aiokafka and rocksdict that the data plane leans on.

A failure here after an upgrade is no bug of the new version: it says which of our files to read against what changed.
When that is done, take the new fingerprint over.
"""

import asyncio
import hashlib
import importlib
import importlib.metadata
import inspect
from pathlib import Path
from typing import Any

import pytest
import rocksdict
from aiokafka import TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.types import TP
from mode.utils.queues import FlowControlEvent, ThrowableQueue

PINNED = {"faust-streaming": "0.15.3", "mode-streaming": "0.6.0", "aiokafka": "0.14.0"}

# where it is, fingerprint of its source, and the file of ours that leans on it
SEAMS = [
    ("faust.app.base:App._new_transport", "runtime.py"),
    ("faust.app.base:App._new_producer_transport", "runtime.py"),
    ("faust.app.base:App._create_directories", "runtime.py"),
    ("faust.app.base:App._consumer_wait_empty", "runtime.py: when it is called, and that the commit comes inside"),
    ("faust.app.base:App._on_partitions_revoked", "runtime.py, consumer.py: stop, clear, wait, commit"),
    ("faust.app.base:App._on_partitions_assigned", "store.py: on_rebalance inside the callback"),
    ("faust.app.base:App._stop_consumer", "runtime.py: what a stop does, in which order"),
    ("faust.app.base:App.on_rebalance_end", "runtime.py"),
    ("faust.app.base:BootStrategy._should_enable_web", "runtime.py: the web server"),
    ("mode.services:Service.crash", "runtime.py: every crash reaches App._crash"),
    ("mode.services:Service._crash", "runtime.py"),
    ("mode.worker:Worker.execute_from_commandline", "runtime.py: run_worker"),
    ("faust.transport.consumer:Consumer.perform_seek", "consumer.py: perform_seek"),
    ("faust.transport.consumer:Consumer.getmany", "consumer.py: _getmany"),
    ("faust.transport.consumer:Consumer._wait_next_records", "consumer.py: _getmany"),
    ("faust.transport.consumer:Consumer._drain_messages", "consumer.py: _getmany, _deliver"),
    ("faust.transport.consumer:Consumer._filter_committable_offsets", "consumer.py: _filter_committable_offsets"),
    ("faust.transport.consumer:Consumer._should_commit", "consumer.py: _filter_committable_offsets"),
    ("faust.transport.consumer:Consumer._commit_offsets", "consumer.py: _commit_offsets"),
    ("faust.transport.consumer:Consumer.on_partitions_revoked", "consumer.py: on_partitions_revoked"),
    ("faust.transport.consumer:Consumer.on_partitions_assigned", "consumer.py: on_partitions_assigned"),
    ("faust.transport.consumer:Consumer.wait_empty", "runtime.py: _consumer_wait_empty"),
    ("faust.transport.consumer:Fetcher._fetcher", "consumer.py: _deliver (a CancelledError ends the worker)"),
    ("faust.transport.drivers.aiokafka:Consumer._new_consumer_thread", "consumer.py: _new_consumer_thread"),
    ("faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer", "polling.py: fetch wait"),
    ("faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.on_start", "polling.py: on_start"),
    ("faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records", "polling.py: _poll"),
    ("faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._commit", "consumer.py: which commit errors crash"),
    ("faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._seek_wait", "consumer.py: perform_seek"),
    ("faust.transport.drivers.aiokafka:Producer._settings_extra", "producer.py: Producer"),
    ("faust.transport.drivers.aiokafka:Producer.on_start", "producer.py: Producer"),
    ("faust.tables.recovery:Recovery._restart_recovery", "store.py: when the restore runs"),
    ("faust.tables.recovery:Recovery.on_recovery_completed", "restore.py: exceptions are not looked at"),
    ("faust.tables.recovery:Recovery._build_offsets", "store.py: persisted_offset"),
    ("faust.tables.base:Collection.on_recovery_completed", "store.py: on_recovery_completed"),
    ("faust.stores.rocksdb:RocksDBOptions.open", "store.py: open"),
    ("faust.stores.rocksdb:Store.partition_path", "store.py: set_aside"),
    ("faust.streams:Stream._py_aiter", "batch.py: what a stream does with an event"),
    ("faust.topics:Topic.put", "consumer.py: _deliver"),
    ("aiokafka.consumer.fetcher:Fetcher.fetched_records", "polling.py: _poll; an empty set means all partitions"),
    ("aiokafka.consumer.fetcher:FetchResult.getall", "portion.py: _getall"),
    ("aiokafka.consumer.fetcher:PartitionRecords._unpack_records", "polling.py: _unreadable; its locals"),
    ("aiokafka.consumer.consumer:AIOKafkaConsumer.seek_to_committed", "consumer.py: perform_seek; skips None and 0"),
    ("aiokafka.consumer.group_coordinator:GroupCoordinator._push_error_to_user", "polling.py: _watch_refusals"),
    ("aiokafka.consumer.group_coordinator:GroupCoordinator._do_heartbeat", "polling.py: _watch_heartbeats"),
    ("aiokafka.consumer.group_coordinator:GroupCoordinator._heartbeat_routine", "lease.py"),
    ("aiokafka.consumer.group_coordinator:GroupCoordinator.reset_generation", "polling.py: _watch_heartbeats"),
    ("aiokafka.consumer.group_coordinator:GroupCoordinator.request_rejoin", "polling.py: _watch_heartbeats"),
    ("aiokafka.producer.producer:AIOKafkaProducer.send_batch", "producer.py: Producer.send_batch"),
    ("aiokafka.producer.message_accumulator:MessageAccumulator.add_batch", "producer.py: Producer.send_batch"),
    ("aiokafka.producer.message_accumulator:MessageAccumulator._pop_batch", "fence.py: the identity of a batch"),
    ("aiokafka.producer.sender:Sender._maybe_wait_for_pid", "fence.py: identify"),
    ("aiokafka.producer.sender:SendProduceReqHandler.create_request", "fence.py: no transactional id in the request"),
    ("aiokafka.producer.sender:SendProduceReqHandler._can_retry", "patience.py: outlasting"),
    ("aiokafka.producer.message_accumulator:MessageAccumulator.drain_by_nodes", "patience.py: outlasting"),
    ("aiokafka.producer.sender:Sender._find_coordinator", "patience.py: away; fence.py: a claim"),
    ("aiokafka.client:AIOKafkaClient.bootstrap", "patience.py: a client's start can be tried again"),
    ("aiokafka.client:AIOKafkaClient._metadata_update", "patience.py: renewing"),
    ("aiokafka.conn:AIOKafkaConnection.send", "patience.py: breaking_on_uvloop"),
    ("aiokafka.consumer.fetcher:Fetcher._proc_fetch_request", "fetch.py: what a response holds"),
    ("aiokafka.client:AIOKafkaClient._wait_on_metadata", "producer.py: Producer.send_batch"),
    (
        "faust.tables.recovery:Recovery._wait",
        "runtime.py: broker_request_timeout; after it, recovery goes on regardless",
    ),
]

FINGERPRINTS = Path(__file__).with_name("seams.txt")


def resolve(where: str) -> Any:
    """The function at ``module:Class.name``."""
    module, _, path = where.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = inspect.getattr_static(found, name)
    return found


def fingerprint(where: str) -> str:
    """Short hash of the function's source."""
    found = resolve(where)
    source = inspect.getsource(getattr(found, "fun", found))
    return hashlib.sha256(source.encode()).hexdigest()[:12]


@pytest.mark.parametrize(("name", "version"), PINNED.items())
def test_the_pinned_version_is_installed(name: str, version: str) -> None:
    """The data plane was read against these very versions."""
    assert importlib.metadata.version(name) == version, "read streams/plane against the new version, then pin it"


@pytest.mark.parametrize(("where", "ours"), SEAMS, ids=[where for where, _ in SEAMS])
def test_a_seam_is_as_it_was_read(where: str, ours: str) -> None:
    """The library's function that we lean on is unchanged."""
    known = dict(line.split() for line in FINGERPRINTS.read_text().splitlines())
    assert fingerprint(where) == known.get(where), (
        f"{where} changed: read streams/plane/{ours} against it, then put `{where} {fingerprint(where)}` "
        f"into tests/contracts/{FINGERPRINTS.name}"
    )


@pytest.mark.parametrize(
    ("module", "name", "ours"),
    [
        ("faust.transport.consumer", "self._read_offset", "consumer.py: perform_seek"),
        ("faust.transport.consumer", "self._committed_offset", "consumer.py: perform_seek"),
        ("faust.transport.consumer", "self.suspend_flow", "consumer.py: _deliver"),
        ("faust.transport.drivers.aiokafka", "self.consumer.flow_active", "polling.py: _poll"),
        ("aiokafka.consumer.consumer", "self._fetch_max_wait_ms", "polling.py: _create_worker_consumer"),
        ("aiokafka.consumer.consumer", "self._max_poll_records", "polling.py: _poll"),
        ("aiokafka.consumer.group_coordinator", "self._rejoin_needed_fut", "polling.py: _watch_heartbeats"),
        ("aiokafka.consumer.group_coordinator", "self.generation = OffsetCommitRequest.DEFAULT_GENERATION_ID",
         "polling.py: _watch_heartbeats"),
        ("aiokafka.consumer.subscription_state", "self._position", "polling.py: _poll, reached"),
        ("faust.stores.rocksdb", "self._dbs", "store.py"),
    ],
)  # fmt: skip
def test_an_attribute_that_we_use_is_there(module: str, name: str, ours: str) -> None:
    """Attributes that no function signature shows."""
    assert name in inspect.getsource(importlib.import_module(module)), f"{name} is gone: read streams/plane/{ours}"


def test_topic_partitions_of_both_libraries_are_the_same_key() -> None:
    """consumer.py looks faust's up in aiokafka's dicts and back."""
    assert TP("t", 1) == TopicPartition("t", 1)
    assert hash(TP("t", 1)) == hash(TopicPartition("t", 1))


async def test_clearing_the_flow_cancels_a_waiting_put() -> None:
    """consumer.py, _deliver: the CancelledError of a cleared queue must not leave `_getmany`."""
    flow = FlowControlEvent(initially_suspended=False)
    queue: ThrowableQueue[int] = ThrowableQueue(maxsize=1, flow_control=flow, clear_on_resume=True)
    await queue.put(1)
    put = asyncio.ensure_future(queue.put(2))
    await asyncio.sleep(0)
    flow.clear()
    with pytest.raises(asyncio.CancelledError):
        await put


def test_the_first_record_of_a_batch_always_fits() -> None:
    """producer.py, send_batch: a record that is too large for the batch goes alone, and the broker decides."""
    builder = BatchBuilder(1000, 0)
    assert builder.append(timestamp=1, key=b"k", value=b"v" * 5000, headers=[]) is not None
    assert builder.append(timestamp=1, key=b"k", value=b"v" * 5000, headers=[]) is None


def test_iteration_ends_silently_at_damage(tmp_path: Path) -> None:
    """store.py, items: only a raw iterator's status tells; if this fails, `Rdict.items()` may do."""
    path = tmp_path / "db"
    database = rocksdict.Rdict(str(path), rocksdict.Options(raw_mode=True))
    for index in range(20_000):
        database.put(b"%08d" % index, b"v" * 100)
    database.flush()
    database.close()
    (table,) = path.glob("*.sst")
    content = bytearray(table.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 100] = b"x" * 100
    table.write_bytes(content)
    database = rocksdict.Rdict(str(path))
    assert 0 < sum(1 for _ in database.items()) < 20_000
    iterator = database.iter()
    iterator.seek_to_first()
    while iterator.valid():
        iterator.next()
    with pytest.raises(Exception, match="Corruption"):
        iterator.status()


def test_an_open_database_says_so(tmp_path: Path) -> None:
    """store.py, open: an error whose text has "lock" in it means another process, anything else damage or disk."""
    path = str(tmp_path / "db")
    database = rocksdict.Rdict(path, rocksdict.Options(raw_mode=True))
    with pytest.raises(Exception, match="lock"):
        rocksdict.Rdict(path, rocksdict.Options(raw_mode=True))
    database.close()

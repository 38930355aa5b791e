"""What a worker stands on breaks: its local store, its disk, its topics, its permissions.

Where a worker can't go on rightly it must stop, with code 70 and a last line that says why and what to do; with that
done, the next one goes on and the oracle finds nothing wrong.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import rocksdict
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from tests.faults.load import Load
from tests.faults.report import Row
from tests.faults.stage import Stage, Undecided, Worker

# With these a broker knows permissions; whoever isn't named may do everything.
WITH_PERMISSIONS = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}

MIB = 1 << 20
TMPFS_MIB = 256
FAULT_LIMIT_S = 130.0


def stops(worker: Worker, *words: str, deadline_s: float = FAULT_LIMIT_S) -> str:
    """The last line of a worker that must end by itself with code 70 and say `words` in it."""
    code = worker.wait(deadline_s)
    last = worker.lines[-1] if worker.lines else ""
    if code != 70 or not all(word in last for word in words):
        said = "\n".join(worker.lines[-15:])
        raise Undecided(f"must end with 70 and say {words}; code {code}, said:\n{said}")
    return last


def _working(stage: Stage, load: Load, name: str = "w1") -> Worker:
    load.run(300)
    worker = stage.start(name)
    before = sum(stage.committed().values())
    stage.until(lambda: sum(stage.committed().values()) > before + 400, "the worker commits")
    return worker


def _ended(stage: Stage, load: Load, fault: str, began: float, note: str = "") -> Row:
    load.stop()
    stage.drained()
    verdict = stage.judge()
    for worker in stage.workers.values():
        worker.kill()
    return Row(fault, 1, verdict, time.monotonic() - began, note)


def _databases(folder: Path) -> list[Path]:
    return sorted({file.parent for file in folder.rglob("CURRENT")})


# --- the local store


def store_deleted(stage: Stage, load: Load) -> Row:
    """The whole folder, while no worker runs."""
    began = time.monotonic()
    _working(stage, load).kill()
    shutil.rmtree(stage.data_dir("w1"))
    stage.start()
    return _ended(stage, load, "local store deleted", began)


def store_damaged(stage: Stage, load: Load) -> Row:
    """Bytes in the middle of every table file are others; a worker that meets them stops, the next one restores."""
    began, met = time.monotonic(), 0
    _working(stage, load).stop()
    damaged = 0
    for file in stage.data_dir("w1").rglob("*.sst"):
        with file.open("r+b") as table:
            table.seek(file.stat().st_size // 3)
            table.write(b"\xa5" * 64)
        damaged += 1
    for database in _databases(stage.data_dir("w1"))[:1]:  # and one that can't be opened at all
        for manifest in database.glob("MANIFEST-*"):
            manifest.write_bytes(b"\x00" * 100)
    stage.start()

    def supervised() -> bool:
        nonlocal met
        if not stage.workers["w1"].alive:
            stops(stage.workers["w1"], "damaged", "restores it from the changelog", deadline_s=1)
            met += 1
            stage.start()
        return stage.lag() < 300

    load.stop()
    stage.until(supervised, "works over a damaged store")
    return _ended(stage, load, "local store damaged", began, f"{damaged} files; worker ended and started again: {met}")


def store_behind(stage: Stage, load: Load) -> Row:
    """An old copy of the folder is put back: the rest is read from the changelog."""
    began = time.monotonic()
    _working(stage, load).kill()
    copy = stage.folder / f"{stage.prefix}copy"
    shutil.copytree(stage.data_dir("w1"), copy)
    _working(stage, load).kill()
    shutil.rmtree(stage.data_dir("w1"))
    shutil.copytree(copy, stage.data_dir("w1"))
    stage.start()
    return _ended(stage, load, "local store behind the changelog", began)


def store_ahead(stage: Stage, load: Load) -> Row:
    """The store claims offsets that the changelog doesn't have, as one of another cluster would: it gives way."""
    began = time.monotonic()
    _working(stage, load).stop()
    for path in _databases(stage.data_dir("w1")):
        db = rocksdict.Rdict(str(path), rocksdict.Options(raw_mode=True))
        db[b"__faust\0offset__"] = b"1000000"
        db.close()
    worker = stage.start()
    row = _ended(stage, load, "local store ahead of the changelog", began)
    aside = sum("set aside" in line for line in worker.lines)
    if not aside:
        raise Undecided("no store was set aside")
    return Row(row.fault, 1, row.verdict, row.seconds, f"{aside} databases set aside")


@contextmanager
def _small_disk(folder: Path, mib: int) -> Iterator[bool]:
    folder.mkdir(parents=True, exist_ok=True)
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    try:
        yield mount.returncode == 0
    finally:
        if mount.returncode == 0:
            subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def disk_full(stage: Stage, load: Load) -> Row:
    """Nothing can be written any more: the worker stops and says so; with room again the next one goes on."""
    began = time.monotonic()
    folder = stage.data_dir("w1")
    with _small_disk(folder, TMPFS_MIB) as mounted:
        if not mounted:
            return Row(
                "disk full", 0, stage.judge(), time.monotonic() - began, "not tried: no tmpfs may be mounted here"
            )
        worker = _working(stage, load)
        filler = folder / "filler"
        with filler.open("wb") as file:
            while worker.alive:
                try:
                    file.write(b"\0" * MIB)
                    file.flush()
                except OSError:
                    break
            if worker.alive and (left := os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize) > 0:
                with suppress(OSError):
                    os.write(file.fileno(), b"\0" * left)
        said = stops(worker, "is the disk full")
        filler.unlink()
        stage.start()
        return _ended(stage, load, "disk full", began, f"stopped: {said[:120]}")


# --- topics


def _admin(stage: Stage) -> AdminClient:
    return AdminClient({"bootstrap.servers": stage.servers, "log_level": 0})


def _set(stage: Stage, topic: str, name: str, value: str) -> None:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    resource.add_incremental_config(ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET))
    admin = _admin(stage)  # its answers end with it
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result(30)


def changelog_truncated(stage: Stage, load: Load) -> Row:
    """Records that the local store has not seen are deleted from the changelog: no worker may go on over that.

    Judged before, as what was deleted is gone for good; a person has to choose.
    """
    began = time.monotonic()
    _working(stage, load).stop()
    copy = stage.folder / f"{stage.prefix}copy"
    shutil.copytree(stage.data_dir("w1"), copy)
    _working(stage, load).stop()
    load.stop()
    stage.start()
    stage.drained()
    verdict = stage.judge()
    stage.workers["w1"].stop()
    changelog = f"{stage.prefix}{stage.group}-customers-changelog"
    _set(stage, changelog, "cleanup.policy", "compact,delete")  # without "delete", Kafka refuses
    ends = [TopicPartition(changelog, p, -1) for p in range(stage.partitions)]  # -1: up to the end
    admin = _admin(stage)
    for deleted in admin.delete_records(ends).values():
        deleted.result(30)
    _set(stage, changelog, "cleanup.policy", "compact")  # a worker refuses any other
    shutil.rmtree(stage.data_dir("w1"))
    shutil.copytree(copy, stage.data_dir("w1"))
    said = stops(stage.start(), "were deleted and the local store has not seen them", "bring them back")
    return Row("changelog truncated", 1, verdict, time.monotonic() - began, f"stopped: {said[:120]}")


def topic_missing(stage: Stage, load: Load) -> Row:
    """At the start: the worker names it and the way out. Under load: it notices and stops; made again, it goes on."""
    began = time.monotonic()
    _delete(stage, "dead-letters")
    said = stops(stage.start(), "missing topics", "dead-letters", "regulars topics create")
    stage.command("topics", "create")
    worker = _working(stage, load)
    _delete(stage, "dead-letters")
    careless = Load(stage.servers, stage.prefix, seed=2, poison=1)
    careless.send(20)
    stops(worker, "dead-letters was deleted", "regulars topics create")
    stage.command("topics", "create")
    stage.start()
    return _ended(stage, load, "topic missing, and deleted under load", began, f"stopped: {said[:120]}")


def _delete(stage: Stage, topic: str) -> None:
    admin, name = _admin(stage), stage.prefix + topic
    for deleted in admin.delete_topics([name]).values():
        deleted.result(30)
    deadline = time.monotonic() + 30
    while name in admin.list_topics(timeout=10).topics and time.monotonic() < deadline:
        time.sleep(0.1)


def partitions_wrong(stage: Stage, load: Load) -> Row:
    """The setting and the topics disagree: no worker starts."""
    began = time.monotonic()
    said = stops(stage.start(REGULARS_PARTITIONS="8"), "clickstream has 4", "REGULARS_PARTITIONS is 8")
    _working(stage, load)
    return _ended(stage, load, "partition count wrong", began, f"stopped: {said[:120]}")


def too_large(stage: Stage, load: Load) -> Row:
    """An output is larger than its topic takes: the worker stops and names the topic; raised, it goes on."""
    began = time.monotonic()
    _set(stage, f"{stage.prefix}segment-changes", "max.message.bytes", "200")
    load.run(300)
    said = stops(stage.start(), "segment-changes", "max.message.bytes")
    _set(stage, f"{stage.prefix}segment-changes", "max.message.bytes", str(2 * MIB))
    stage.start()
    return _ended(stage, load, "message too large for its topic", began, f"stopped: {said[:120]}")


# What a worker needs, and how it hears that it has lost it.
DENIED = (
    ("segment-changes", AclOperation.WRITE),
    ("clickstream", AclOperation.READ),
)


def denied(stage: Stage, load: Load, topic: str, operation: AclOperation) -> Row:
    """A permission is taken away under load, and given back after the worker stopped."""
    began = time.monotonic()
    worker = _working(stage, load)
    admin, name = _admin(stage), stage.prefix + topic
    # a broker without a rule for a topic lets everybody; with one, the rest has to be allowed
    rules = [
        AclBinding(
            ResourceType.TOPIC,
            name,
            ResourcePatternType.LITERAL,
            "User:*",
            "*",
            AclOperation.ALL,
            AclPermissionType.ALLOW,
        ),
        AclBinding(
            ResourceType.TOPIC, name, ResourcePatternType.LITERAL, "User:*", "*", operation, AclPermissionType.DENY
        ),
    ]
    _done(lambda: admin.create_acls(rules))
    said = stops(worker, topic)
    every = AclBindingFilter(
        ResourceType.TOPIC, name, ResourcePatternType.LITERAL, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    _done(lambda: admin.delete_acls([every]))
    stage.start()
    verb = operation.name.lower()
    return _ended(stage, load, f"permission to {verb} {topic} denied", began, f"stopped: {said[:140]}")


def _done(ask: Callable[[], dict[object, object]]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            for future in ask().values():
                future.result(30)  # type: ignore[attr-defined]
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return

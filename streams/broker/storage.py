"""The broker's folder: its configuration, its formatted storage, its process id.

server.properties   written at each start
data/               Kafka's log directory; formatted beside it and renamed, so it is complete or absent
broker.pid          process id and address of the broker that runs on this folder
broker.log          output of the running broker; the output of the run before is broker.log.previous
"""

import base64
import os
import re
import shutil
import subprocess
import uuid
from pathlib import Path

from streams.broker.errors import BrokerError

MIB = 1024 * 1024
# A dead letter carries a record of up to 2 MiB with its headers; no record of the product is larger than 4 MiB.
MESSAGE_LIMIT_BYTES = 4 * MIB
FORMAT_TIMEOUT_S = 120.0


def server_properties(data: Path, port: int, controller_port: int) -> str:
    """The configuration of a single node that is broker and controller, reachable from this machine only."""
    return "\n".join(
        [
            "process.roles=broker,controller",
            "node.id=1",
            f"controller.quorum.voters=1@127.0.0.1:{controller_port}",
            f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}",
            "controller.listener.names=CONTROLLER",
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            f"log.dirs={data}",
            "auto.create.topics.enable=false",
            "num.partitions=8",
            "default.replication.factor=1",
            "min.insync.replicas=1",
            f"message.max.bytes={MESSAGE_LIMIT_BYTES}",
            f"replica.fetch.max.bytes={MESSAGE_LIMIT_BYTES + MIB}",
            f"fetch.max.bytes={64 * MIB}",
            "offsets.topic.num.partitions=4",
            "offsets.topic.replication.factor=1",
            "transaction.state.log.num.partitions=4",
            "transaction.state.log.replication.factor=1",
            "transaction.state.log.min.isr=1",
            "share.coordinator.state.topic.replication.factor=1",
            "share.coordinator.state.topic.min.isr=1",
            # On one machine the second member of a group joins at once or much later: waiting 3 s for it gains nothing.
            "group.initial.rebalance.delay.ms=0",
            "",
        ]
    )


def format_storage(java: Path, jars: Path, folder: Path) -> str:
    """Formats `folder/data` if that is not done yet, and gives the cluster id.

    Raises:
        BrokerError: `data` is no storage of Kafka, or Kafka could not format it.
    """
    data, partial = folder / "data", folder / "data.partial"
    if data.exists():
        return _cluster_id(data)
    shutil.rmtree(partial, ignore_errors=True)
    properties = folder / "format.properties"
    properties.write_text(server_properties(partial, 9092, 9093))
    # Kafka's ids are UUIDs in URL-safe base64. It would take one that begins with a dash for an option; R replaces that.
    cluster_id = "R" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
    command = [str(java), "-cp", f"{jars}/*", "kafka.tools.StorageTool"]
    command += ["format", "-t", cluster_id, "-c", str(properties)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=FORMAT_TIMEOUT_S, check=False)
    properties.unlink()
    if result.returncode != 0:
        output = (result.stderr or result.stdout).strip().splitlines()
        why = f"Kafka could not format {data}: {output[-1] if output else 'it printed nothing'}"
        raise BrokerError(why, "name another --dir", "\n".join(output))
    partial.rename(data)
    return cluster_id


def _cluster_id(data: Path) -> str:
    meta = data / "meta.properties"
    cluster_id = re.search(r"^cluster\.id=(\S+)$", meta.read_text(), re.MULTILINE) if meta.is_file() else None
    if cluster_id is None:
        raise BrokerError(f"{data} is not a Kafka's storage (no meta.properties)", "name another --dir, or remove it")
    return cluster_id[1]


def write_pid(folder: Path, pid: int, bootstrap: str) -> None:
    """Writes which process runs on the folder, and its address; completely or not at all."""
    partial = folder / "broker.pid.partial"
    partial.write_text(f"{pid} {bootstrap}\n")
    partial.rename(folder / "broker.pid")


def read_pid(folder: Path) -> tuple[int, str] | None:
    """Process id and address of the broker that runs on `folder`; None: none runs.

    A file of a dead broker counts as none, even if the system gave its number to another program since.
    """
    try:
        pid, bootstrap = (folder / "broker.pid").read_text().split()
        command = Path(f"/proc/{int(pid)}/cmdline").read_bytes()
        state = Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError, IndexError):
        return None
    runs_here = os.fsencode(folder / "server.properties") in command.split(b"\0")
    return (int(pid), bootstrap) if runs_here and state not in "ZX" else None


def last_lines(log: Path, count: int = 15) -> str:
    """The end of the broker's log, for an error message."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return "(no log)"
    return "\n".join(lines[-count:])

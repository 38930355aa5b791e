"""Finds Kafka's jars: KAFKA_HOME, then the cache folder, then Maven, which fills the cache folder.

The cache is `<cache dir>/kafka-<version>/*.jar`. Maven writes into a folder beside it, which is renamed when all jars are
there: an interrupted download is never taken for a complete one.
"""

import os
import re
import shutil
import subprocess
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

from streams.broker.errors import BrokerError

KAFKA_VERSION = "4.1.1"
# 55 MB: seconds on a fast line; a slow one gets ten minutes.
DOWNLOAD_TIMEOUT_S = 600.0


def find_jars(version: str, cache_dir: Path, java: Path | None = None) -> Path:
    """The folder that holds Kafka's jars.

    Args:
        version: of Kafka; if KAFKA_HOME is set, that Kafka is taken, whatever its version.
        cache_dir: holds one folder of jars per version.
        java: the Java that Maven runs with; None: Maven's own choice.

    Raises:
        BrokerError: there are no jars and they could not be fetched.
    """
    home = os.environ.get("KAFKA_HOME")
    if home:
        if not has_kafka(Path(home) / "libs"):
            raise BrokerError(f"KAFKA_HOME is {home}, which has no libs/kafka_*.jar", "correct it or unset it")
        return Path(home) / "libs"
    jars = cache_dir / f"kafka-{version}"
    if not has_kafka(jars):
        _download(version, jars, java)
    return jars


def has_kafka(jars: Path) -> bool:
    """Whether the folder holds a Kafka."""
    return kafka_version(jars) is not None


def kafka_version(jars: Path) -> str | None:
    """The version of the Kafka in the folder, from the name of its jar; None: there is no Kafka."""
    for jar in jars.glob("kafka_2.1*.jar"):
        name = re.fullmatch(r"kafka_2\.1\d-(\d[\w.\-]*)\.jar", jar.name)
        if name is not None:
            return name[1]
    return None


def _download(version: str, jars: Path, java: Path | None) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerError(
            f"no Kafka: no REGULARS_BOOTSTRAP_SERVERS, no KAFKA_HOME, nothing in {jars} and no Maven to fetch it",
            "set one of the two, or install Maven (mvn)",
        )
    jars.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(jars)
    with (
        tempfile.TemporaryDirectory(prefix=f"{jars.name}.", suffix=".partial", dir=jars.parent) as folder,
        as_file(files("streams.broker") / "pom.xml") as pom,
    ):
        partial = Path(folder) / "jars"
        _run_maven([maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"], version, partial, java)
        if not has_kafka(partial):
            raise BrokerError(f"Maven brought no Kafka {version}", "set KAFKA_HOME or REGULARS_BOOTSTRAP_SERVERS")
        try:
            partial.rename(jars)
        except OSError:
            # Another process was faster; its jars are complete as well.
            if not has_kafka(jars):
                raise


def _run_maven(command: list[str], version: str, out: Path, java: Path | None) -> None:
    environment = dict(os.environ)
    if java is not None and not os.environ.get("JAVA_HOME"):
        environment["JAVA_HOME"] = str(java.resolve().parent.parent)
    command = [*command, f"-Dkafka.version={version}", f"-DoutputDirectory={out}"]
    way_out = "check the network and Maven's settings, or set KAFKA_HOME or REGULARS_BOOTSTRAP_SERVERS"
    try:
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise BrokerError(f"Maven fetched no Kafka {version} within {DOWNLOAD_TIMEOUT_S:.0f} s", way_out) from None
    if result.returncode != 0:
        errors = [line for line in result.stdout.splitlines() if "ERROR" in line]
        raise BrokerError(f"Maven could not fetch Kafka {version}: {errors[0] if errors else result.stderr}", way_out)


def _remove_leftovers(jars: Path) -> None:
    # A folder of this name without a Kafka is a leftover; a `.partial` one may belong to another process.
    if jars.exists() and not has_kafka(jars):
        shutil.rmtree(jars)

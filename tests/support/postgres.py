"""A PostgreSQL server for one test."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def server(folder: Path, port: int) -> Iterator[str]:
    """The address of a database of a new server; skips the test where PostgreSQL is not installed."""
    if shutil.which("initdb") is None or shutil.which("postgres") is None:
        pytest.skip("needs PostgreSQL (initdb, postgres)")
    folder.mkdir(parents=True)
    data, user = folder / "data", None
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        user = "nobody"
        shutil.chown(folder, user)
        for parent in folder.parents[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
    make = ["initdb", "-D", str(data), "-U", "crm", "--auth=trust", "-E", "UTF8", "--no-locale", "--no-sync"]
    subprocess.run(make, user=user, cwd="/", check=True, capture_output=True, timeout=60)
    run = ["postgres", "-D", str(data), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1", "-F"]
    with (folder.parent / "postgres.log").open("wb") as log:
        process = subprocess.Popen(run, user=user, cwd="/", stdout=log, stderr=log)
    try:
        yield f"postgres://crm@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait(30)


def query(address: str, text: str) -> list[list[str]]:
    """Rows of a query, as text; none while the table or the server is not there."""
    asked = ["psql", address, "-X", "-A", "-t", "-F", "\x1f", "-R", "\x1e", "-c", text]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
    rows = done.stdout.rstrip("\n").split("\x1e") if done.returncode == 0 else []
    return [row.split("\x1f") for row in rows if row]

"""A worker that starts while Kafka is away has its pages all the same, and they name Kafka."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ports() -> tuple[int, int]:
    """Two ports on which nobody listens: Kafka's and that of the pages."""
    with socket.socket() as first, socket.socket() as second:
        for listener in (first, second):
            listener.bind(("127.0.0.1", 0))
        return int(first.getsockname()[1]), int(second.getsockname()[1])


def _get(url: str) -> tuple[int, str]:
    """Status and body; 0 while nobody answers."""
    try:
        with urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as exc:
        return exc.code, exc.read().decode()
    except OSError:
        return 0, ""


def test_pages_stay_up_while_a_worker_waits_for_kafka(ports: tuple[int, int], tmp_path: Path) -> None:
    """`/live` answers, `/ready` and the page say that the lag is not known; the alert's metric is there."""
    kafka, web = ports
    environment = os.environ | {
        "REGULARS_BOOTSTRAP_SERVERS": f"127.0.0.1:{kafka}",
        "REGULARS_DATA_DIR": str(tmp_path),
        "REGULARS_WEB_PORT": str(web),
    }
    command = [sys.executable, "-m", "streams.cli", "worker"]
    pages = f"http://127.0.0.1:{web}"
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while _get(f"{pages}/ready")[0] == 0:
            assert worker.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        status, ready = _get(f"{pages}/ready")
        assert status == 503
        assert "lag-unknown" in {reason["reason"] for reason in json.loads(ready)["reasons"]}
        assert _get(f"{pages}/live")[0] == 200
        assert not json.loads(_get(f"{pages}/api/worker")[1])["ready"]
        assert not json.loads(_get(f"{pages}/api/lag")[1])["fresh"]
        metrics = _get(f"{pages}/metrics")[1]
        assert "regulars_lag_sample_age_seconds{" in metrics
        assert 'regulars_ready{app_id="regulars"} 0.0' in metrics
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()

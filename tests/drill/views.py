"""What somebody on call looks at: `regulars lag`, `/ready`, and the dashboard by its own script.

Each view has a method `words`: what it shows now that is wrong, or nothing. It may wait for seconds, as a person would.
"""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.resources import files
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.faults.stage import ROOT

# The page's figures, from streams/worker/dashboard.html: it gives an answer up, and asks again.
PAGE_ANSWER_S = 2.5
READY_ANSWER_S = 2.0
# A healthy group commits twice a second; docs/operations.md calls less than a second normal.
LAG_LATE_S = 10.0
NOT_MOVING_S = 30.0
# `regulars lag --watch` prints every two seconds. Who sees no new line for so long asks again.
LAG_SILENT_S = 8.0


class ReadyPages:
    """`/ready` of several processes."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._ports = ports

    def words(self) -> str:
        """`worker-1: stalled` for each that is not ready, or does not answer."""
        answers = {name: _readiness(port) for name, port in self._ports.items()}
        return "; ".join(f"{name}: {answer}" for name, answer in answers.items() if answer)


def _readiness(port: int) -> str:
    try:
        with urlopen(f"http://127.0.0.1:{port}/ready", timeout=READY_ANSWER_S):
            return ""
    except HTTPError as exc:
        with contextlib.suppress(ValueError):
            reasons = json.load(exc).get("reasons", ())
            return ", ".join(reason["reason"] for reason in reasons)
        return f"status {exc.code}"
    except OSError:
        return "no answer"


class Dashboard:
    """The page of each worker, judged by the page's own script in node."""

    _LOOP = (
        "require('readline').createInterface({input: process.stdin}).on('line', line => {"
        " const [w, lag, silent] = JSON.parse(line);"
        " const now = judged(w, lag, silent, 'then');"
        " console.log(JSON.stringify([now.state, ...now.why.map(y => y[0])]));"
        "});"
    )

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._ports = ports
        self._answers: dict[str, tuple[float, Any, Any]] = {}
        page = files("streams.worker").joinpath("dashboard.html").read_text("utf-8")
        script = page[page.index("const count") : page.index("let refused")] + self._LOOP
        self._node = subprocess.Popen(
            ["node", "-e", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def words(self) -> str:
        """`worker-1: late, late` for each page whose state is not `on time`: the state, and the names of its reasons."""
        shown = {name: self._shown(name, port) for name, port in self._ports.items()}
        return "; ".join(f"{name}: {words}" for name, words in shown.items() if words)

    def close(self) -> None:
        """Ends node."""
        self._node.kill()
        self._node.communicate()

    def _shown(self, name: str, port: int) -> str:
        with contextlib.suppress(OSError, ValueError):
            answers = [_json(port, path) for path in ("/api/worker", "/api/lag")]
            self._answers[name] = time.monotonic(), *answers
        if name not in self._answers:
            return "connecting"
        at, worker, lag = self._answers[name]
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        self._node.stdin.write(json.dumps([worker, lag, time.monotonic() - at]) + "\n")
        self._node.stdin.flush()
        state, *reasons = json.loads(self._node.stdout.readline())
        return "" if state == "on time" else ", ".join([state, *reasons])


def _json(port: int, path: str) -> Any:
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=PAGE_ANSWER_S) as answer:
        return json.load(answer)


class LagCommand:
    """`regulars lag --watch --json` in a terminal that somebody looks at, and starts again when it stands still."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._words = ""

    def words(self) -> str:
        """`late: reviews`, `not moving: purchases`, or why the command could not say."""
        process = self._process = self._process or self._started()
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(LAG_SILENT_S):
                self.close()  # its words stay: the terminal shows the last line
                return self._words
        self._buffer += (data := os.read(process.stdout.fileno(), 1 << 16))
        *lines, self._buffer = self._buffer.split(b"\n")
        if lines:
            self._words = lag_words(json.loads(lines[-1]))
        if not data:
            assert process.stderr is not None
            last = process.stderr.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            self._words = f"failed: {last[0] if last else process.wait()}"
            self.close()
        return self._words

    def close(self) -> None:
        """Ends the command."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._process, self._buffer = None, b""

    def _started(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "streams.cli", "lag", "--watch", "--json"]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )


def lag_words(sample: Mapping[str, Any]) -> str:
    """What a line of `regulars lag --json` shows that is wrong: topics that are late, and those that do not move."""
    late = _topics(sample, "seconds", LAG_LATE_S)
    stalled = _topics(sample, "stalled_s", NOT_MOVING_S)
    said = [f"late: {late}"] if late else []
    return "; ".join([*said, f"not moving: {stalled}"] if stalled else said)


def _topics(sample: Mapping[str, Any], figure: str, limit: float) -> str:
    over = {row["topic"].rpartition("-")[2] for row in sample["partitions"] if (row[figure] or 0.0) > limit}
    return ", ".join(sorted(over))

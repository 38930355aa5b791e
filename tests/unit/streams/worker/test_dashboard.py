"""What the dashboard says first, by its own script in node."""

import json
import shutil
import subprocess
from importlib.resources import files
from typing import Any

import pytest

from streams.health import Note, Reason

PAGE = files("streams.worker").joinpath("dashboard.html").read_text("utf-8")
# Words and judgement, without the page: they touch no element.
PURE = PAGE[PAGE.index("const count") : PAGE.index("let refused")]
ON_TIME = {"fresh": True, "seconds": 2.0, "records": 12, "sample_age_s": 1.0}
READY: dict[str, Any] = {"ready": True, "reasons": [], "notes": []}

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node, to run the page's script")


def _judged(worker: dict[str, Any], lag: dict[str, Any], silent_s: float = 1.0) -> dict[str, Any]:
    asked = ", ".join(map(json.dumps, (worker, lag, silent_s, "10:02:11")))
    script = f"{PURE}\nconsole.log(JSON.stringify(judged({asked})));"
    done = subprocess.run(["node", "-e", script], check=True, capture_output=True, text=True)
    judged: dict[str, Any] = json.loads(done.stdout)
    return judged


def test_a_worker_that_does_not_answer_is_said_first() -> None:
    """Whatever it said last, and since when: its figures are of then."""
    for worker in (READY, READY | {"ready": False}):
        said = _judged(worker, ON_TIME, silent_s=202.0)
        assert (said["state"], said["cls"]) == ("no answer", "bad")
        assert "no answer since 10:02:11, 3 min ago" in said["why"][0][1]


def test_on_time_needs_no_words() -> None:
    """One answer that takes a moment longer is no silence."""
    assert _judged(READY, ON_TIME, silent_s=3.9) == {"state": "on time", "cls": "", "why": []}


def test_late_says_how_late_and_by_what() -> None:
    """By the encoder too: what the worker is busy with stands beside it."""
    late = ON_TIME | {"seconds": 184.0, "records": 41_000}
    said = _judged(READY | {"notes": [Note("texts", "900 records wait for their texts")._asdict()]}, late)
    assert said["state"] == "late"
    assert "3 min old, and 41k records wait" in said["why"][0][1]
    assert said["why"][1][:2] == ["texts", "900 records wait for their texts"]
    assert "too few workers" in _judged(READY, late)["why"][0][2]


def test_not_ready_says_why_and_what_to_do() -> None:
    """As `/ready` says it."""
    reason = Reason("restoring", "the state of partition 3 is being read back", "wait")._asdict()
    said = _judged(READY | {"ready": False, "reasons": [reason]}, ON_TIME)
    assert said["state"] == "not ready"
    assert said["why"] == [["restoring", "the state of partition 3 is being read back", "Wait."]]


def test_a_lag_that_nobody_knows_is_not_on_time() -> None:
    """Figures of before are no answer to the question whether it is late."""
    assert _judged(READY, ON_TIME | {"fresh": False, "sample_age_s": 44.0})["state"] == "lag unknown"

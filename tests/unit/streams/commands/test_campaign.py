"""The command `regulars campaign` as somebody types it."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from streams.cli import main

SHARED = Path(os.environ.get("REGULARS_SHARED", "../shared")) / "data" / "more"
KEYS = {"rows", "arms", "best_constant", "policy", "difference", "kept_constant", "decisions_to_95_percent"}
WIN_BACK = """campaign: win-back
version: "3"
when: {dimension: lifecycle, to: at_risk}
arms: [{name: coupon-10, channel: email, cost: 3.00}]
reward: {target: spend, days: 14}
choose: {by: bandit, floor: 0.05}
holdout: 0.10
"""


def run(*arguments: str | Path) -> Result:
    """What the command says and how it ends."""
    return CliRunner().invoke(main, ["campaign", *map(str, arguments)])


def trial_file(path: Path, rows: int = 1500) -> Path:
    """A generic trial: an arm that doubles a small rate, and a text, a number and an id beside it."""
    rng = np.random.default_rng(1)
    arm = np.where(rng.random(rows) < 0.5, "none", "mail")
    reward = rng.random(rows) < np.where(arm == "mail", 0.4, 0.2)
    frame = pd.DataFrame({
        "arm": arm, "propensity": 0.5, "bought": reward, "age": rng.integers(18, 80, rows),
        "channel": rng.choice(["web", "phone"], rows), "name": [f"n{i}" for i in range(rows)],
    })  # fmt: skip
    frame.to_csv(path, index=False)
    return path


def test_a_good_campaign_is_called_good(tmp_path: Path) -> None:
    """Exit code 0, with what it does in one line."""
    file = tmp_path / "c.yaml"
    file.write_text(WIN_BACK)
    result = run("check", file)
    assert result.exit_code == 0, result.output
    assert "win-back-3 is good: none, coupon-10; 10% held out; chosen by bandit" in result.output


def test_a_mistake_is_one_line_with_its_place(tmp_path: Path) -> None:
    """Exit code 1; segments are those of the policy."""
    file = tmp_path / "c.yaml"
    file.write_text(WIN_BACK.replace("at_risk", "asleep"))
    result = run("check", file)
    assert result.exit_code == 1
    assert "line 3, column 34" in result.output
    assert "has no segment 'asleep'" in result.output


def test_a_generic_trial_gives_the_contracts_object(tmp_path: Path) -> None:
    """Every key, numbers for programs, what was left out in words."""
    out = tmp_path / "out.json"
    result = run("replay", "generic", trial_file(tmp_path / "t.csv"), "--reward", "bought", "--json", out)
    assert result.exit_code == 0, result.output
    assert "left out: texts with more than 20 values: name" in result.output
    found = json.loads(out.read_text())
    assert set(found) >= KEYS
    assert found["rows"] == sum(arm["n"] for arm in found["arms"].values()) == 1500
    assert found["best_constant"]["arm"] == "mail"
    assert found["best_constant"]["low"] < 0.4 < found["best_constant"]["high"]
    assert found["kept_constant"] is True


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"arm": ["none"], "propensity": [0.5]}, "no column reward"),
        ({"arm": ["none"], "propensity": [0.0], "reward": [1]}, "no number from 1e-09 to 1"),
        ({"arm": [None], "propensity": [0.5], "reward": [1]}, "column arm is empty in 1 rows"),
        ({"arm": ["none"], "propensity": [0.5], "reward": [None]}, "no row has a reward"),
    ],
)
def test_a_file_that_is_no_trial_is_refused(tmp_path: Path, columns: dict[str, list[object]], says: str) -> None:
    """One line says what is missing."""
    file = tmp_path / "t.parquet"
    pd.DataFrame(columns).to_parquet(file)
    result = run("replay", "generic", file)
    assert result.exit_code == 1
    assert says in " ".join(result.output.split())


def test_another_document_is_judged_on_the_same_log(tmp_path: Path) -> None:
    """Half and half is worth half of each arm; arms that were never tried can't be judged."""
    file, document, out = trial_file(tmp_path / "t.csv"), tmp_path / "half.yaml", tmp_path / "out.json"
    text = WIN_BACK.replace("coupon-10", "mail").replace(
        "{by: bandit, floor: 0.05}", "{by: fixed, shares: {none: 0.5, mail: 0.5}}"
    )
    document.write_text(text)
    result = run("replay", "generic", file, "--reward", "bought", "--what-if", document, "--json", out)
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    half = sum(arm["mean"] for arm in found["arms"].values()) / 2
    assert found["what_if"]["value"] == pytest.approx(half, abs=0.01)
    assert found["what_if"]["difference"]["high"] < 0
    document.write_text(text.replace("mail", "letter"))
    refused = run("replay", "generic", file, "--reward", "bought", "--what-if", document)
    assert "the trial has no arm 'letter', only none, mail" in " ".join(refused.output.split())


def test_decisions_come_back_from_dsjson(tmp_path: Path) -> None:
    """Exported for Vowpal Wabbit and read again: the same rows, arms and means; each line holds a whole distribution."""
    file, lines, out = trial_file(tmp_path / "t.csv"), tmp_path / "t.dsjson", tmp_path / "out.json"
    assert run("export", "generic", file, "--reward", "bought", "--out", lines).exit_code == 0
    first = json.loads(lines.read_text().splitlines()[0])
    assert sum(first["p"]) == pytest.approx(1.0)
    assert first["a"][0] == first["_label_Action"] == first["_labelIndex"] + 1
    result = run("replay", "dsjson", lines, "--json", out)
    assert result.exit_code == 0, result.output
    back = json.loads(out.read_text())
    run("replay", "generic", file, "--reward", "bought", "--json", out)
    once = json.loads(out.read_text())
    assert {name: (arm["n"], arm["mean"]) for name, arm in back["arms"].items()} == {
        name: (arm["n"], arm["mean"]) for name, arm in once["arms"].items()
    }


def test_a_service_log_is_read_without_its_other_lines(tmp_path: Path) -> None:
    """Lines as a retired decision service wrote them: dangling outcomes are passed over, a broken line is named."""
    decision = {
        "_label_cost": -1.0, "_label_probability": 0.8, "_label_Action": 2, "_labelIndex": 1, "a": [2, 1], "p": [0.8, 0.2],
        "c": {"User": {"age": 30, "city": "Rome"}, "_multi": [{"A": {"x": 1}}, {"A": {"x": 2}}]},
    }  # fmt: skip
    lines = [json.dumps(decision)] * 3 + [json.dumps({"EventId": "x", "RewardValue": 1.0})]
    file = tmp_path / "log.json"
    file.write_text("\n".join(lines))
    result = run("replay", "dsjson", file)
    assert "passed over: 1 lines without a label" in result.output
    assert "action-2" in result.output
    file.write_text("\n".join([*lines, "{broken"]))
    refused = run("replay", "dsjson", file)
    assert refused.exit_code == 1
    assert "line 5: no decision in DSJSON" in " ".join(refused.output.split())


def test_an_unknown_reward_is_wrong_use(tmp_path: Path) -> None:
    """Exit code 2, with those that there are."""
    result = run("replay", "hillstrom", trial_file(tmp_path / "t.csv"), "--reward", "clicks")
    assert result.exit_code == 2
    assert "visit, conversion, spend" in result.output


@pytest.mark.needs_shared
@pytest.mark.skipif(not SHARED.exists(), reason="needs the real data sets (REGULARS_SHARED)")
def test_hillstroms_trial_is_read_as_published(tmp_path: Path) -> None:
    """The arms and their visits as the data's own page counts them; deciding by customer gains nothing beyond noise."""
    out = tmp_path / "out.json"
    result = run("replay", "hillstrom", SHARED / "hillstrom.parquet", "--json", out)
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    assert {name: arm["n"] for name, arm in found["arms"].items()} == {"none": 12_876, "mens": 12_892, "womens": 12_862}
    assert found["best_constant"]["arm"] == "mens"
    assert found["difference"]["low"] >= -0.002 or found["kept_constant"]


@pytest.mark.needs_shared
@pytest.mark.skipif(not SHARED.exists(), reason="needs the real data sets (REGULARS_SHARED)")
def test_the_thompson_policy_is_judged_from_random_logs(tmp_path: Path) -> None:
    """Open Bandit: the interval from random logs covers what the policy earned in its own rows, in both campaigns."""
    out = tmp_path / "out.json"
    assert run("replay", "open-bandit", SHARED / "open_bandit.parquet", "--json", out).exit_code == 0
    found = json.loads(out.read_text())
    for campaign, earned in (("men", 0.0069), ("women", 0.0046)):
        policy = found["campaigns"][campaign]["policy"]
        assert policy["low"] < earned < policy["high"]
        assert policy["ess"] > 1000

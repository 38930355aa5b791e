"""What deciding and learning are worth: simulated shops with a known truth, and random replays of logged trials.

python benchmarks/campaigns.py shops [--seeds 20] [--decisions 30000]
python benchmarks/campaigns.py replays hillstrom FILE [--replays 200] [--learn-every 1]
python benchmarks/campaigns.py reports [--seeds 20]     (how many customers a report needs)
python benchmarks/campaigns.py uplift FILE          (Hillstrom: the women's e-mail against none, visits)
"""

import argparse
from pathlib import Path

import numpy as np

from models.bandits.bandit import Bandit
from models.bandits.customers import WIDTH, simulated_customers
from models.bandits.regression import with_constant
from models.bandits.replay import BLOCK, LoggedTrial, decisions_to_near, judged
from models.bandits.uplift import KINDS, UpliftLearner, qini
from models.decisions.campaign import parse
from models.decisions.effects import effects
from models.decisions.estimators import Logged, constant, evaluate
from models.decisions.scaling import Scaling
from schemas.campaigns import MaturedReward
from streams.sources.trials import TRIALS

FLOOR = 0.05


def shop(seed: int, decisions: int, *, differ: bool) -> tuple[bool, int | None, float, float]:
    """One simulated shop: personal at the end, since which decision, true gain over the best arm, most that could be."""
    rng = np.random.default_rng(seed)
    bandit, since = Bandit(3, WIDTH, FLOOR, size=20_000, seed=seed), None
    for block in range(decisions // BLOCK):
        customers = simulated_customers(rng, BLOCK, differ=differ)
        chances = bandit.chances(customers.x)
        arm = np.minimum((rng.random(BLOCK)[:, None] > chances.cumsum(axis=1)).sum(axis=1), 2)
        rows = np.arange(BLOCK)
        reward = (rng.random(BLOCK) < customers.means[rows, arm]).astype(float)
        bandit.learn_block(customers.x, Logged(arm, chances[rows, arm], reward))
        if bandit.is_personal and since is None:
            since = (block + 1) * BLOCK
    held = simulated_customers(np.random.default_rng(10_000 + seed), 20_000, differ=differ)
    best = float(held.means.mean(axis=0).max())
    value = float((bandit.served(held.x) * held.means).sum(axis=1).mean())
    return bandit.is_personal, since, value - best, float(held.means.max(axis=1).mean()) - best


def shops(seeds: int, decisions: int) -> None:
    """Shops with something to gain, then with nothing."""
    for differ in (True, False):
        print(
            f"{'customers differ' if differ else 'customers do not differ'}: {seeds} shops, {decisions:,} decisions each"
        )
        found = [shop(seed, decisions, differ=differ) for seed in range(seeds)]
        for seed, (personal, since, gain, most) in enumerate(found):
            print(
                f"  seed {seed}: {'personal' if personal else 'constant'} since {since}, gain {gain:+.4f} of {most:+.4f}"
            )
        personal, gained = sum(each[0] for each in found), sum(each[2] >= 0.02 for each in found)
        print(f"  personal at the end: {personal}; gain of .02 or more: {gained}")


_TEST = """campaign: test
version: "1"
when: {dimension: lifecycle, to: at_risk}
arms: [{name: small}, {name: large}]
reward: {target: purchase, days: 14}
choose: {by: fixed, shares: {none: 0.2, small: 0.4, large: 0.4}}
holdout: %s
"""


def reports(seeds: int) -> None:
    """In how many A/B tests, in which an arm adds .05 to a rate of .2, the report says so; and says it of nothing."""
    for holdout in (0.1, 0.2, 0.3):
        for customers in (5_000, 10_000, 15_000):
            said = [report_says(seed, customers, holdout, gain) for gain in (0.05, 0.0) for seed in range(seeds)]
            print(f"holdout {holdout:.0%}, {customers:,} customers: {sum(said[:seeds])} of {seeds}; "
                  f"where there is nothing: {sum(said[seeds:])} of {seeds}")  # fmt: skip


def report_says(seed: int, customers: int, holdout: float, gain: float) -> bool:
    """Whether the interval of the small arm against the holdout lies above 0."""
    campaign, rng = parse(_TEST % holdout), np.random.default_rng(seed)
    shares = campaign.choose.shares or {}
    held = rng.random(customers) < holdout
    arm = np.where(held, 0, rng.choice(3, customers, p=list(shares.values())))
    bought = rng.random(customers) < 0.2 + gain * (arm > 0)
    rewards = [
        MaturedReward(
            f"{i:016x}:test:1", "test", "1", 0.0, 0.0, campaign.arm_names[k], {"none": 1.0} if out else shares,
            campaign.arm_names, out, 0, int(buys), int(buys), "", (),
        )
        for i, (k, out, buys) in enumerate(zip(arm.tolist(), held.tolist(), bought.tolist(), strict=True))
    ]  # fmt: skip
    found = effects(rewards, campaign).arms["small"].against_holdout
    return found is not None and found.low > 0


def replays(dataset: str, file: Path, count: int, learn_every: int) -> None:
    """Rows drawn with replacement, so that the file's own means are the truth; and shuffled, for the learning."""
    read, known = TRIALS[dataset]
    trial = read(file, known[0])[""]
    rows, arms = len(trial.logged.arm), len(trial.arms)
    truth = [trial.logged.reward[trial.logged.arm == k].mean() for k in range(arms)]
    covered: dict[tuple[str, str], list[bool]] = {}
    near: list[float] = []
    kept, lowest = 0, np.inf
    for seed in range(count):
        rng = np.random.default_rng(seed)
        drawn = trial.part(rng.integers(0, rows, rows))
        judgement, q, _ = judged(drawn, scaled(drawn), seed)
        kept += not judgement.better
        lowest = min(lowest, judgement.difference.low) if judgement.better else lowest
        for k in range(arms):
            for estimator in ("snips", "dr"):
                for name, peeking in (("always valid", True), ("one look", False)):
                    span = evaluate(drawn.logged, constant(k, rows, arms), estimator, q=q, peeking=peeking).span  # type: ignore[arg-type]
                    covered.setdefault((estimator, name), []).append(span.covers(truth[k]))
        if seed % learn_every == 0:
            shuffled = trial.part(rng.permutation(rows))
            reached, _ = decisions_to_near(shuffled, scaled(shuffled), seed)
            near.append(np.inf if reached is None else reached)
        if seed % 20 == 19 or seed == count - 1:
            shares = ", ".join(f"{' '.join(key)} {np.mean(each):.4f}" for key, each in covered.items())
            print(
                f"{seed + 1} replays: covered {shares}; kept constant {kept}, lowest bound of those served {lowest:.4f};"
            )
            print(
                f"  95 % after {np.median(near):,.0f} decisions (median), not reached in {np.isinf(near).sum()}",
                flush=True,
            )


def scaled(trial: LoggedTrial) -> np.ndarray:
    """What is known of the trial's customers, as the learner takes it."""
    return Scaling.of(trial.x[:BLOCK]).scaled(trial.x)


def uplift(file: Path) -> None:
    """Qini of the online learners, each row scored before it is learnt, and of linear T- and X-learners in batch.

    In batch: five folds, fitted to four of them by ridge, so they have seen four fifths of all rows, the online ones half.
    """
    trial = TRIALS["hillstrom"][0](file, "visit")[""]
    of = np.isin(trial.logged.arm, (0, 2))
    x, treated, reward = scaled(trial)[of], (trial.logged.arm[of] == 2).astype(float), trial.logged.reward[of]
    scores = {}
    for kind in KINDS:
        learner, score = UpliftLearner(kind, x.shape[1]), np.zeros(len(x))
        for start in range(0, len(x), BLOCK):
            block = slice(start, start + BLOCK)
            score[block] = learner.effects(x[block])
            learner.learn_block(x[block], treated[block], np.full(len(x[block]), 0.5), reward[block])
        scores[f"{kind}, online"] = score
    a, folds = with_constant(x), np.arange(len(x)) % 5
    for kind in ("t", "x"):
        score = np.zeros(len(x))
        for fold in range(5):
            fit, out = folds != fold, folds == fold
            one, none = fit & (treated > 0), fit & (treated == 0)
            with_, without = ridge(a[one], reward[one]), ridge(a[none], reward[none])
            if kind == "x":
                with_ = (
                    ridge(a[one], reward[one] - a[one] @ without) + ridge(a[none], a[none] @ with_ - reward[none])
                ) / 2
                without = 0.0 * without
            score[out] = a[out] @ (with_ - without)
        scores[f"{kind}, batch"] = score
    late = np.arange(len(x)) >= len(x) // 2
    rng = np.random.default_rng(0)
    for name, score in scores.items():
        parts = (score[late], treated[late], reward[late])
        spread = np.std([qini(*(part[rows] for part in parts)) for rows in resamples(rng, late.sum())])
        print(f"{name}: Qini {qini(score, treated, reward):.5f}; second half {qini(*parts):.5f} +- {spread:.5f}")


def resamples(rng: np.random.Generator, rows: int) -> list[np.ndarray]:
    """Forty bootstrap samples of row numbers."""
    return [rng.integers(0, rows, rows) for _ in range(40)]


def ridge(a: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights of a ridge regression as wide as the online one."""
    return np.linalg.solve(a.T @ a + 4.0 * np.eye(a.shape[1]), a.T @ y)


def main() -> None:
    """Runs what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    simulated = commands.add_parser("shops")
    simulated.add_argument("--seeds", type=int, default=20)
    simulated.add_argument("--decisions", type=int, default=30_000)
    logged = commands.add_parser("replays")
    logged.add_argument("dataset", choices=("hillstrom", "karlan-list"))
    logged.add_argument("file", type=Path)
    logged.add_argument("--replays", type=int, default=200)
    logged.add_argument("--learn-every", type=int, default=1, help="learn from nothing in every so-manieth replay")
    commands.add_parser("reports").add_argument("--seeds", type=int, default=20)
    commands.add_parser("uplift").add_argument("file", type=Path)
    chosen = parser.parse_args()
    if chosen.command == "shops":
        shops(chosen.seeds, chosen.decisions)
    elif chosen.command == "reports":
        reports(chosen.seeds)
    elif chosen.command == "replays":
        replays(chosen.dataset, chosen.file, chosen.replays, chosen.learn_every)
    else:
        uplift(chosen.file)


if __name__ == "__main__":
    main()

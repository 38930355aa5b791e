"""Logged randomised trials: who got which arm, with what probability, and what came of it.

Each reader knows what was decided before (features) and what came after (rewards). What a file computes from rewards
(Karlan and List's response rates by state, the change of the amount given) is never a feature.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.bandits.replay import LoggedTrial
from models.decisions.estimators import Logged
from streams.sources.dsjson import read_dsjson
from streams.sources.tables import FileRefused, read_columns
from streams.sources.trial_tables import (
    indicator_columns,
    number_columns,
    read_generic_trial,
    rewards_of,
    with_rewards,
)

_HILLSTROM_ARMS = {"No E-Mail": "none", "Mens E-Mail": "mens", "Womens E-Mail": "womens"}
_HILLSTROM_NUMBERS = ("recency", "history", "mens", "womens", "newbie")
_KARLAN_NUMBERS = (
    "highest_previous", "below_median_last_gift", "n_prior_gifts", "years_since_first", "year5", "months_since_last",
    "dormant", "female", "couple", "perbush", "red0", "redcty", "pwhite", "pblack", "page18_39", "ave_hh_sz",
    "median_hhincome", "powner", "psch_atlstba", "pop_propurban",
)  # fmt: skip


def read_hillstrom(path: Path, reward: str) -> dict[str, LoggedTrial]:
    """MineThatData's e-mail challenge: none, the men's e-mail, the women's; a third each.

    Raises:
        FileRefused: it is no such file.
    """
    names = ("segment", "zip_code", "channel", *_HILLSTROM_NUMBERS, reward)
    table = read_columns(path, {name: (name,) for name in names})
    segment = table.rows["segment"].astype("string")
    arms = tuple(_HILLSTROM_ARMS.values())
    arm = segment.map({text: arms.index(name) for text, name in _HILLSTROM_ARMS.items()})
    if arm.isna().any():
        raise FileRefused(f"{path}: column segment holds something else than {', '.join(_HILLSTROM_ARMS)}")
    parts = (indicator_columns(table, name) for name in ("zip_code", "channel"))
    x = np.hstack([number_columns(table, _HILLSTROM_NUMBERS), *parts])
    third = np.full(len(x), 1.0 / 3.0)
    logged = Logged(np.asarray(arm, dtype=np.int64), third, rewards_of(table, reward))
    return {"": LoggedTrial(arms, logged, 1.0 / 3.0, x)}


def read_karlan_list(path: Path, reward: str) -> dict[str, LoggedTrial]:
    """Karlan and List's letters: none (a third), a gift matched 1:1, 2:1 or 3:1 (two ninths each). Raises as above."""
    names = ("treatment", "treat_ratio2", "treat_ratio3", reward, *_KARLAN_NUMBERS)
    table = read_columns(path, {name: (name,) for name in names})
    treated, twice, thrice = (table.numbers(name, 0, 1) > 0 for name in ("treatment", "treat_ratio2", "treat_ratio3"))
    arm = np.where(~treated, 0, np.where(twice, 2, np.where(thrice, 3, 1)))
    propensity = np.where(arm == 0, 1.0 / 3.0, 2.0 / 9.0)
    trial = LoggedTrial(
        ("none", "match-1", "match-2", "match-3"),
        Logged(arm.astype(np.int64), propensity, rewards_of(table, reward)),
        2.0 / 9.0,
        number_columns(table, _KARLAN_NUMBERS),
    )
    return {"": with_rewards(trial, reward)}


def read_open_bandit(path: Path, reward: str) -> dict[str, LoggedTrial]:
    """Open Bandit: the random policy's rows judge the Thompson sampling policy (`bts`), one trial a campaign.

    What the Thompson policy would do is the share of each item at each position in its own rows: its probabilities moved
    while it learnt, and it looks at no customer. Raises as above.
    """
    names = ("policy", "campaign", "item_id", "position", "propensity", reward)
    table = read_columns(path, {name: (name,) for name in names})
    numbers = {name: table.numbers(name) for name in ("item_id", "position", "propensity")}
    value, policy = rewards_of(table, reward), table.rows["policy"].astype("string")
    trials = {}
    for campaign in sorted(table.rows["campaign"].astype("string").dropna().unique()):
        here = (table.rows["campaign"].astype("string") == campaign).to_numpy(dtype=bool)
        random, bts = (here & (policy == name).to_numpy(dtype=bool) for name in ("random", "bts"))
        items = np.unique(numbers["item_id"][here])
        arm = np.searchsorted(items, numbers["item_id"])
        positions = np.unique(numbers["position"][here])
        place = np.searchsorted(positions, numbers["position"])
        if not random.any() or not bts.any():
            raise FileRefused(f"{path}: campaign {campaign} needs rows of both policies, random and bts")
        counts = np.zeros((len(positions), len(items)))
        np.add.at(counts, (place[bts], arm[bts]), 1.0)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
        logged = Logged(arm[random].astype(np.int64), numbers["propensity"][random], value[random])
        mean, se = float(value[bts].mean()), float(value[bts].std(ddof=1) / np.sqrt(bts.sum()))
        note = (
            f"{campaign}: the Thompson policy's own {int(bts.sum()):,} rows earned {mean:.5f} (standard error {se:.5f})"
        )
        trials[campaign] = LoggedTrial(
            tuple(f"{item:g}" for item in items), logged, float(logged.propensity.min()),
            np.zeros((int(random.sum()), 0)), shares[place[random]], (note,),
        )  # fmt: skip
    return trials


# name -> (reader, rewards that it knows, the usual first; empty: any column)
TRIALS: dict[str, tuple[Callable[[Path, str], dict[str, LoggedTrial]], tuple[str, ...]]] = {
    "hillstrom": (read_hillstrom, ("visit", "conversion", "spend")),
    "karlan-list": (read_karlan_list, ("gave", "amount")),
    "open-bandit": (read_open_bandit, ("click",)),
    "dsjson": (read_dsjson, ("reward",)),
    "generic": (read_generic_trial, ()),
}

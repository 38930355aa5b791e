"""Policies that the laws of the core must hold under, beside the one that is shipped."""

from models.policy import Policy, parse, read

_FEATURES = """
  - name: loyalty
    over: purchases
    segments: [{name: new}, {name: repeat, from: 2}, {name: loyal, from: 4}]
  - name: presence
    over: quiet_days
    segments: [{name: here}, {name: away, from: 45}, {name: gone, from: 100}]
  - name: rhythm
    over: count_60d
    segments: [{name: slow}, {name: steady, from: 0.5}, {name: brisk, from: 2}]
    exit_margin: 0.2
    dwell_days: 2
  - name: mood
    over: sentiment
    segments: [{name: sour}, {name: even, from: -0.2}, {name: glad, from: 0.2}]
    exit_margin: 0.3
"""


ZONES = ("Europe/London", "America/Sao_Paulo", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns")


def zoned(zone: str = "Europe/London") -> Policy:
    """The shipped policy with days as `zone` counts them."""
    return parse(read().replace("name: default", f"name: zoned\ntime_zone: {zone}"))


def featured() -> Policy:
    """The shipped policy with dimensions over features: counts, days of silence, decayed sums, numbers below 0."""
    return parse(read().replace("name: default", "name: featured") + _FEATURES)

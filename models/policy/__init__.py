"""Policies: dimensions of ordered segments, each over one number.

`document` holds the records of a policy, `validation` refuses mistakes with their line and column, `loading` reads a policy
from a text or file, and `rules` compiles it for judging.

The number that a dimension is cut on is a score, a feature in the unit that people count it in, or `days_since_purchase`.
The latter is None for a customer who never bought. Silence alone moves customers over its bounds, at a moment that is known
in advance to the second.
"""

from models.policy.document import DAYS_SINCE_PURCHASE, Dimension, Policy, PolicyError, Segment
from models.policy.loading import load, parse, parse_marked, read
from models.policy.rules import Rules, Ruling

__all__ = [
    "DAYS_SINCE_PURCHASE",
    "Dimension",
    "Policy",
    "PolicyError",
    "Rules",
    "Ruling",
    "Segment",
    "load",
    "parse",
    "parse_marked",
    "read",
]

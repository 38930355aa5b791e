"""Decayed sums that don't care about the order of their events.

Forward decay (Cormode, Shkapenyuk, Srivastava, Xu: Forward Decay, ICDE 2009): with a landmark L, an event at t adds
2^((t - L) / h) to its sum S, and the decayed value at any time T is S 2^(-(T - L) / h), h being the half-life. Adding an
event touches one sum, a late event counts as if it had come in time, and nothing is rescaled as time passes, except the
landmark once in `SPAN_S`, before 2^((t - L) / h) could leave the float64 range (2^1023).
"""

from math import exp2

from schemas.times import DAY_S

# The shortest half-life is one day, so sums stay below 2^900 times a count.
SPAN_S = 900 * DAY_S


def weight(at: float, landmark: float, half_life_days: float) -> float:
    """What an event at `at` adds to a sum of this half-life; `at` is at most `SPAN_S` after `landmark`."""
    return exp2((at - landmark) / (half_life_days * DAY_S))


def rescaled(total: float, moved_s: float, half_life_days: float) -> float:
    """The sum `total` after its landmark moved by `moved_s` > 0 seconds."""
    return total * exp2(-moved_s / (half_life_days * DAY_S))

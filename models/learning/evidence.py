"""Whether one forecaster is better than another beyond noise, however often one looks.

Both forecast the same labels before those are learnt. What one block of labels says is one observation,

    D = sum over the block's labels of loss(one) - loss(other)

and the question is whether the mean of D lies above a margin. The answer is the lower end of an asymptotic confidence
sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, one-sided): it is good at all blocks at once, so that one may
look after every block and stop when one likes. A customer's labels overlap (windows of 30 and 90 days begin every ten), so
the variance counts as many times as windows of one customer lie in what was observed.
"""

from typing import NamedTuple, Self

import numpy as np

# Below eight blocks their variance isn't known.
FEWEST_BLOCKS = 8


class Evidence(NamedTuple):
    """Blocks observed so far, the sum of D and the sum of its squares."""

    blocks: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    def with_block(self, difference: float) -> Self:
        """One block more."""
        return type(self)(self.blocks + 1.0, self.total + difference, self.squares + difference**2)

    @property
    def mean(self) -> float:
        """Of D, a block."""
        return self.total / max(self.blocks, 1.0)

    def deviation(self, repeats: float = 1.0) -> float:
        """Standard deviation of D, its variance counted `repeats` times; NaN before the second block."""
        if self.blocks < 2.0:
            return float("nan")
        spread = max(self.squares - self.blocks * self.mean**2, 0.0) / (self.blocks - 1.0)
        return float(np.sqrt(spread * repeats))

    def error(self, repeats: float = 1.0) -> float:
        """Standard error of the mean of D, at this moment alone."""
        return self.deviation(repeats) / float(np.sqrt(max(self.blocks, 1.0)))

    def lower(self, risk: float, narrowest: float, repeats: float = 1.0) -> float:
        """What the mean of D is above, at all blocks at once but for a chance of `risk`; minus infinity at first.

        Args:
            risk: chance that the mean ever lies below.
            narrowest: the number of blocks at which the sequence is narrowest.
            repeats: how many times the variance counts.

        >>> small, large = Evidence(16, 16 * 0.3, 16 * 1.0), Evidence(16, 16 * 3.0, 16 * 10.0)
        >>> small.lower(0.001, 16) > 0.1, large.lower(0.001, 16) > 0.1
        (False, True)
        """
        if self.blocks < FEWEST_BLOCKS:
            return float("-inf")
        rho2 = (-2.0 * np.log(risk) + np.log(-2.0 * np.log(risk)) + 1.0) / narrowest
        grown = self.blocks * rho2 + 1.0
        radius = np.sqrt(2.0 * grown / (self.blocks**2 * rho2) * np.log(1.0 + np.sqrt(grown) / (2.0 * risk)))
        return float(self.mean - self.deviation(repeats) * radius)

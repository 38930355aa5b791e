"""Batches cut by token budget, so that a batch costs the same whether its texts are long or short."""

from collections.abc import Sequence


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of `lengths` in batches, longest texts first; padded size (texts x longest) <= `budget` tokens per batch.

    Texts of similar length share a batch, which keeps padding small. A text longer than the budget is a batch of its own.
    Every index comes exactly once; ties keep their order.

    >>> batches([3, 10, 4, 9], budget=20)
    [[1, 3], [2, 0]]
    """
    if budget < 1:
        raise ValueError(f"budget {budget} tokens: must be at least 1")
    cut: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if room == 0:
            cut.append([])
            room = max(1, budget // max(1, lengths[index]))
        cut[-1].append(index)
        room -= 1
    return cut

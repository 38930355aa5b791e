"""Positions: offsets that go on rising when a topic is deleted and made again.

A topic made anew begins at offset 0 again, under another id, and its records are other ones. So a state holds positions
instead of offsets: the number of the topic's incarnation, counted from 0, above 48 bits of offset. In a topic that was never
made anew, a position is the offset.
"""

from typing import NamedTuple

OFFSET_BITS = 48  # 2.8e14 records per partition; 15 bits are left for incarnations


class Incarnation(NamedTuple):
    """Which topic the records of a partition come from.

    Attributes:
        topic_id: Kafka's, 32 hex digits; empty: not known.
        number: how often the topic was made anew before.
    """

    topic_id: str = ""
    number: int = 0

    @property
    def base(self) -> int:
        """The position of offset 0.

        >>> Incarnation("", 0).base, Incarnation("", 1).base == 2**48
        (0, True)
        """
        return self.number << OFFSET_BITS


def offset_of(position: int) -> int:
    """The offset within its topic.

    >>> offset_of(Incarnation("", 3).base + 17)
    17
    """
    return position & ((1 << OFFSET_BITS) - 1)

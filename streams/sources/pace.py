"""How fast a timeline is sent."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SendingPace:
    """When an event may be sent: as fast as possible (neither is set), at a multiple of real time, or at a rate.

    Attributes:
        times: multiple of real time; 60 sends one hour of event time per minute.
        rate: events per second.
    """

    times: float | None = None
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.times is not None and self.rate is not None:
            raise ValueError("a pace is a multiple of real time or a rate, not both")
        for value in (self.times, self.rate):
            if value is not None and not value > 0:
                raise ValueError(f"a pace must be above 0, not {value}")

    def due_s(self, sent: int, since_first_s: float) -> float:
        """Seconds after the start at which the next event may go.

        Args:
            sent: events sent since the start.
            since_first_s: event time from the first event sent to the next one.

        >>> SendingPace().due_s(10, 60.0), SendingPace(times=60).due_s(10, 60.0), SendingPace(rate=5).due_s(10, 60.0)
        (0.0, 1.0, 2.0)
        """
        if self.times is not None:
            return since_first_s / self.times
        if self.rate is not None:
            return sent / self.rate
        return 0.0


MAX = SendingPace()

"""The one error of this folder."""


class BrokerError(Exception):
    """No broker could be started or stopped; operator action: see `way_out`.

    Attributes:
        why: what happened, with the value.
        way_out: what to do or provide.
        log: the last lines that the broker printed; empty: none.
    """

    def __init__(self, why: str, way_out: str, log: str = "") -> None:
        super().__init__(f"{why}; {way_out}")
        self.why, self.way_out, self.log = why, way_out, log

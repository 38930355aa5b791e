"""One mistake of a record, and the words in which it is reported."""

from typing import NamedTuple

from schemas.events import Reason


class Mistake(NamedTuple):
    """One thing that keeps a record from being an event.

    Attributes:
        reason: as in the header `regulars-reason`.
        field: JSON path of the field, `$` for the record as a whole.
        found: what the record has there, never the customer's text.
        allowed: what may stand there.
        hint: the likely cause or the way out; empty where none is known.
    """

    reason: Reason
    field: str
    found: str
    allowed: str = ""
    hint: str = ""

    @property
    def detail(self) -> str:
        """All three parts in one line, as the header `regulars-detail` has them."""
        parts = (self.found, self.allowed and f"allowed: {self.allowed}", self.hint and f"hint: {self.hint}")
        return "; ".join(part for part in parts if part)

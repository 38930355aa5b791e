"""What keeps a text or a number from being an event time, and by how much a time is in the future."""

import re

from schemas.times import DAY_S

FORM = "RFC 3339 with an offset, as 2024-05-01T12:00:00Z"

TIME_LIMIT_CHARS = 64

# The first that matches says what is missing.
_TIME = r"\d{2}:\d{2}:\d{2}(?:\.\d+)?"
_SHAPES: tuple[tuple[str, str, str], ...] = (
    (r"\s*", "an empty text", "leave nothing out: every event has a time"),
    (r"\d{9,11}(?:\.\d+)?", "epoch seconds as text", "write them as a timestamp"),
    (r"\d{12,14}", "epoch milliseconds as text", "write them as a timestamp"),
    (r"\s+.*|.*\s+", "white space around the time", "leave it out"),
    (r"\d{4}-\d{2}-\d{2}", "a date without a time of day", "add the time and the offset"),
    (rf"\d{{4}}-\d{{2}}-\d{{2}}[Tt ]{_TIME}", "a time without an offset", "add Z if it is UTC, else as +02:00"),
    (r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(?:[Zz]|[+-].*)?", "a time without seconds", "add them, as :00"),
    (rf"\d{{4}}-\d{{2}}-\d{{2}}[Tt ]{_TIME}[+-]\d{{1,2}}", "an offset without minutes", "write it as +02:00"),
    (rf"\d{{4}}-\d{{2}}-\d{{2}}[Tt ]{_TIME}.*\[.*\]", "a time zone in brackets", "leave it out: the offset is enough"),
    (rf"\d{{4}}-\d{{2}}-\d{{2}}[Tt ]{_TIME} ?[A-Za-z/_]{{2,}}", "a time zone by name", "write the offset, as Z or +02:00"),
    (rf"\d{{4}}-\d{{2}}-\d{{2}}[Tt ]{_TIME} .*", "white space before the offset", "leave it out"),
    (r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2},\d+.*", "a comma before the fraction", "write a point"),
    (r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:60.*", "a leap second", "write 59"),
    (r"\d{4}-\d{2}-\d{2}[Tt ]24:.*", "the hour 24", "write 00 of the next day"),
    (r"\d{8}T\d{4,6}.*", "ISO 8601 without separators", "write 2024-05-01T12:00:00Z"),
    (r"\d{1,2}[/.]\d{1,2}[/.]\d{2,4}.*|\d{4}[/.].*", "a date with slashes or points", "write 2024-05-01"),
    (r"[A-Za-z]{3},? .*|\d{1,2} [A-Za-z]{3}.*", "a date in words", "write 2024-05-01T12:00:00Z"),
    (r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}.*", "a day or time that no calendar or clock has", "months are 01 to 12"),
    (r"\d{4}-\d{1,2}-\d{1,2}[Tt ]\d{1,2}:.*", "one digit where two belong", "write 01 for 1"),
)  # fmt: skip


def untimely(text: str) -> tuple[str, str]:
    """What a text is that is no event time, and the way out; never the text.

    >>> untimely("2024-05-01T12:00:00")
    ('a time without an offset', 'add Z if it is UTC, else as +02:00')
    """
    # No time is longer, and a pattern of a long text may take long.
    for pattern, kind, way_out in _SHAPES if len(text) <= TIME_LIMIT_CHARS else ():
        if re.fullmatch(pattern, text, re.DOTALL):
            return kind, way_out
    return f"a text of {len(text)} characters that is no time", ""


def numeric_time(literal: str) -> tuple[str, str]:
    """What a number in place of a time probably is, by its digits."""
    digits = len(literal.lstrip("-").split(".")[0])
    for most, unit in ((11, "seconds"), (14, "milliseconds"), (17, "microseconds"), (20, "nanoseconds")):
        if digits <= most:
            return f"a number of {digits} digits, as epoch {unit} have", "write it as a timestamp"
    return f"a number of {digits} digits", "write a timestamp"


def ahead(by_s: float) -> tuple[str, str]:
    """By how much a time is later than is allowed, and its likely cause.

    >>> ahead(7200.0)[0]
    "2 h later than this worker's clock allows"
    """
    hint = "compare the clocks of the producer and the worker"
    if by_s < 15 * 3600:
        hint += "; a local time that is written with Z is ahead by its offset"
    elif by_s > 300 * DAY_S:
        hint = "a date of delivery or expiry? write when the event happened"
    return f"{span(by_s)} later than this worker's clock allows", hint


def span(seconds: float) -> str:
    """A length of time in its largest unit that fits.

    >>> span(90.0), span(180_000.0), span(0.2)
    ('1.5 min', '2.1 days', '0.2 s')
    """
    for unit, size in (("years", 365 * DAY_S), ("days", DAY_S), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.1f} s"

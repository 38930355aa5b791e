"""What customer ids and times look like.

The regular expressions are those of the published schemas. They say what is decided elsewhere: by `id_mistake`,
`schemas.events.decode` and msgspec's own reader of times. They mean the same in Python and in ECMA 262, whose `$` differ.
"""

import re

ID_LIMIT_CHARS = 128

_END = r"(?![\s\S])"  # `$` also matches before a last line end, in Python
CONTROLS = r"\u0000-\u001f\u007f-\u009f"
CUSTOMER_ID_PATTERN = rf"^[^{CONTROLS}]+{_END}"
_DAY = (
    "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
)
_HOUR = "(?:[01][0-9]|2[0-3])"
# A time is rounded to the nearest microsecond before its year is looked at.
_ROUNDED_UP = r"-12-31[Tt ]23:59:59\.999999[5-9]"
EVENT_TIME_PATTERN = (
    rf"^(?=199|2|1989{_ROUNDED_UP})(?!2999{_ROUNDED_UP}){_DAY}[Tt ]{_HOUR}:[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
    rf"(?:[Zz]|[+-]{_HOUR}:?[0-5][0-9]){_END}"
)

_CONTROL = re.compile(f"[{CONTROLS}]")


def id_mistake(customer_id: str) -> str | None:
    r"""What is wrong with a customer id, without the id itself; None: nothing.

    No id has a control character, so none can be a key that the local store keeps for itself.

    >>> id_mistake("anna"), id_mistake("a\0b")
    (None, 'holds a control character (U+0000-1F, U+007F-9F); none is allowed')
    """
    if not 1 <= len(customer_id) <= ID_LIMIT_CHARS:
        return f"has {len(customer_id)} characters; a customer id has 1 to {ID_LIMIT_CHARS}"
    # A tenth of what a pattern in the type would take; a customer's name of letters and digits ends here.
    if not customer_id.isprintable() and _CONTROL.search(customer_id) is not None:
        return "holds a control character (U+0000-1F, U+007F-9F); none is allowed"
    return None

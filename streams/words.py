"""Changes in a shopkeeper's words: causes, reasons, durations. Every page and command takes them from here."""

import re

from models.features import FEATURES
from schemas.changes import (
    Cause,
    Change,
    Contribution,
    Counterfactual,
    EventCause,
    Next,
    PolicyCause,
    SilenceCause,
)
from schemas.times import from_rfc3339

EVENT_WORDS = {
    "purchase": "a purchase",
    "refund": "a refund",
    "review": "a review",
    "support": "a message to support",
    "view": "a product view",
    "search": "a search",
    "add_to_cart": "an item put in the cart",
    "remove_from_cart": "an item taken out of the cart",
    "wishlist": "an item wished for",
    "checkout": "a checkout begun",
}


def duration(seconds: float) -> str:
    """`seconds` to about two figures.

    >>> duration(0.0), duration(0.25), duration(75.0), duration(7_300.0), duration(200_000.0)
    ('0 s', '0.2 s', '1 min 15 s', '2 h 1 min', '2 d 7 h')
    """
    if seconds <= 0.0:
        return "0 s"
    if seconds < 10.0:
        return f"{seconds:.1f} s"
    for big, small, size in (("d", "h", 86_400), ("h", "min", 3_600), ("min", "s", 60)):
        if seconds >= size:
            whole, rest = divmod(int(seconds), size)
            part = rest // {"d": 3_600, "h": 60, "min": 1}[big]
            return f"{whole} {big} {part} {small}" if part else f"{whole} {big}"
    return f"{seconds:.0f} s"


def day(timestamp: str) -> str:
    """The day and minute of an RFC 3339 timestamp.

    >>> day("2011-12-09T12:50:00.25Z")
    '2011-12-09 12:50'
    """
    return timestamp[:16].replace("T", " ")


# Each feature is declared with its words. The number in a decayed feature's name is its half-life, so "lately" is said
# with it.
FEATURE_WORDS = {feature.name: feature.words for feature in FEATURES if feature.words and not feature.decayed}
FEATURE_WORDS["text"] = "what the texts are about"
DECAYED_WORDS = {feature.name.rpartition("_")[0]: feature.words for feature in FEATURES if feature.decayed}


# A reason in words, with the value in place of {}. A feature that isn't here becomes "<words> <value>".
TEMPLATES = {
    "known_days": "first seen {} days ago",
    "quiet_days": "last heard of {} days ago",
    "purchases": "{} purchases",
    "recency_days": "last purchase {} days ago",
    "customer_days": "first purchase {} days ago",
    "repeat_span_days": "{} days from first to last purchase",
    "monetary": "{} a purchase on average",
    "spend": "{} spent so far",
    "last_amount": "last purchase of {}",
    "largest_amount": "largest purchase of {}",
    "gap_days": "buys every {} days",
    "overdue": "{} times the usual gap without a purchase",
    "refunds": "{} refunds",
    "clicks": "{} clicks",
    "sessions": "{} visits",
    "session_clicks": "{} clicks in the latest visit",
    "click_days": "last click {} days ago",
    "reviews": "{} reviews",
    "supports": "{} messages to support",
    "text_days": "last text {} days ago",
    "dwell_days": "held back until {} days in the segment were over",
    "version": "a newer model or policy judged; the bound is {}",
    "policy": "the policy's bound is {}",
    "others": "{} more",
}
DECAYED_TEMPLATE = "{} {} lately (half as much each {} d)"
# A mean sentiment this close to 0 counts as neutral: with fewer than three texts it is drawn to 0 by as much.
_MIXED = 0.15


def value_words(name: str, value: float) -> str:
    """A feature with its value, in words.

    >>> value_words("recency_days", 31.0), value_words("bought", 0.0), value_words("carts_14d", 2.5)
    ('last purchase 31 days ago', 'has not bought', '2.50 cart additions lately (half as much each 14 d)')
    >>> value_words("sentiment", -0.6), value_words("text", 0.4), value_words("refunded_share", 0.25)
    ('writes negatively (sentiment -0.60)', 'what the texts are about', 'share refunded 25 %')
    >>> value_words("season_90d", 0.13)
    'the next 90 days bring 13 % more than average ones'
    """
    if name in TEMPLATES:
        words = TEMPLATES[name].format(number(value))
        return _ONE.sub(r"\1", words) if number(value) == "1" else words
    if name == "bought":
        return "has bought" if value else "has not bought"
    if name == "text":
        return FEATURE_WORDS[name]
    if name == "sentiment":
        mood = "negatively" if value < -_MIXED else "positively" if value > _MIXED else "neither gladly nor angrily"
        return f"writes {mood} (sentiment {number(value)})"
    if name in ("season_30d", "season_90d"):
        days = name.removeprefix("season_").removesuffix("d")
        return f"the next {days} days bring {abs(value):.0%}".replace("%", " %") + (
            " less than average ones" if value < 0 else " more than average ones"
        )
    if name.endswith("_share"):
        return f"{feature_words(name)} {value:.0%}".replace("%", " %")
    stem, _, half_life = name.rpartition("_")
    if name not in FEATURE_WORDS and stem in DECAYED_WORDS:
        return DECAYED_TEMPLATE.format(number(value), DECAYED_WORDS[stem], half_life[:-1])
    return f"{feature_words(name)} {number(value)}"


_ONE = re.compile(r"(\b1 (?:day|purchase|refund|click|visit|review|message))s\b")


def feature_words(name: str) -> str:
    """A feature's name in words; of an unknown feature, the name with spaces.

    >>> feature_words("recency_days"), feature_words("carts_14d"), feature_words("shoe_size")
    ('days since the last purchase', 'cart additions lately (14 d)', 'shoe size')
    """
    stem, _, half_life = name.rpartition("_")
    if name not in FEATURE_WORDS and stem in DECAYED_WORDS and half_life.endswith("d"):
        return f"{DECAYED_WORDS[stem]} lately ({half_life[:-1]} d)"
    return FEATURE_WORDS.get(name, name.replace("_", " "))


def number(value: float) -> str:
    """`value` with as many digits as a reader needs.

    >>> number(3.0), number(1.9999999999), number(0.123456), number(1234.5)
    ('3', '2', '0.12', '1,234')
    """
    # A count that is computed back from its logarithm has an error in the last digit.
    if abs(value - round(value)) < 1e-6 and abs(value) < 1e15:
        return f"{round(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) < 0.01 else f"{value:.2f}"


def cause_words(cause: Cause) -> str:
    """What caused the change."""
    match cause:
        case EventCause(event_type=kind):
            return EVENT_WORDS.get(kind, kind)
        case SilenceCause(due_at=due_at):
            return f"nothing heard until {day(due_at)}"
        case PolicyCause(version=version):
            return f"policy {version}"


def reason_words(reason: Contribution) -> str:
    """One reason: the feature, its value, and which way it pushed.

    >>> reason_words(Contribution("purchases", 12.0, 31.4))
    '12 purchases (+31.40)'
    >>> reason_words(Contribution("policy", 50.0, -3.0)), reason_words(Contribution("policy", 61.5, 0.0))
    ("the policy's bound is 50 (-3)", 'the policy judged anew, at 61.50')
    """
    words = value_words(reason.feature, reason.value)
    if reason.feature == "policy" and not reason.contribution:
        return f"the policy judged anew, at {number(reason.value)}"
    if not reason.contribution:
        return words
    sign = "+" if reason.contribution >= 0 else "-"
    return f"{words} ({sign}{number(abs(reason.contribution))})"


def reasons_words(change: Change, most: int = 3) -> str:
    """The change's cause and its `most` weightiest reasons, in one line."""
    parts = [cause_words(change.cause)]
    parts += [reason_words(reason) for reason in change.reasons[:most]]
    return "; ".join(parts)


def counterfactual_words(instead: Counterfactual, previous: str | None) -> str:
    """The smallest change that would have kept `previous`.

    >>> counterfactual_words(Counterfactual("recency_days", 30.0, 29.99999), "active")
    'still active with a purchase in the last 30 days'
    >>> counterfactual_words(Counterfactual("recency_days", 0.0, 30.00001), "at_risk")
    'still at_risk without a purchase in the last 30 days'
    >>> counterfactual_words(Counterfactual("purchases", 1.0, 0.0), "prospect")
    'still prospect without a purchase'
    >>> counterfactual_words(Counterfactual("monetary", 20.0, 31.5), "mid")
    'still mid with mean purchase at 31.50 instead of 20'
    """
    kept = f"still {previous}" if previous is not None else "no change"
    if instead.feature == "recency_days":
        within = "with" if instead.instead < instead.value else "without"
        return f"{kept} {within} a purchase in the last {number(round(instead.instead, 2))} days"
    if instead.feature == "purchases" and not instead.instead:
        return f"{kept} without a purchase"
    return (
        f"{kept} with {feature_words(instead.feature)} at {number(instead.instead)} instead of {number(instead.value)}"
    )


def next_words(coming: Next | None) -> str:
    """Which segment comes next if no more event comes."""
    if coming is None:
        return "nothing changes if nothing more is heard"
    return f"{coming.dimension} becomes {coming.segment} on {day(coming.at)} if nothing more is heard"


def move_words(change: Change) -> str:
    """`value: low -> mid`; a first segment has nothing before the arrow."""
    return f"{change.dimension}: {change.previous or '(new)'} -> {change.current}"


def latency_s(change: Change) -> float:
    """Seconds from the record's arrival in the worker until the change was encoded; sending it comes on top."""
    return from_rfc3339(change.trace.emitted_at) - from_rfc3339(change.trace.consumed_at)

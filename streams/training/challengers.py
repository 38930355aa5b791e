"""Challengers between the trainer and the topic `model-snapshots`: going on from their records, and publishing them."""

from collections.abc import Iterator, Mapping

import structlog

from models.learning.contest import Change, Contest
from models.learning.entries import EntryError, encode_challenger, resume
from models.learning.serving import key_of

log = structlog.get_logger("regulars.trainer")


def go_on(contest: Contest, judged: int, latest: Mapping[bytes, bytes]) -> None:
    """Lets challengers go on from their latest records; one without, or with one that doesn't fit, starts anew.

    Args:
        contest: whose challengers have learnt nothing.
        judged: labels that it had judged, as of the snapshot that is restored.
        latest: the topic, key -> latest value.
    """
    for each in contest.challengers:
        data = latest.get(key_of(each.target, each.name))
        try:
            if data is not None:
                resume(each, data, judged)
        except EntryError as exc:
            log.warning("a challenger starts anew", target=each.target, name=each.name, reason=str(exc))


def records(contest: Contest) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each challenger's record; one that can't be stored is out."""
    for each in contest.challengers:
        if each.failure:
            continue
        try:
            yield key_of(each.target, each.name), encode_challenger(each, contest.judged)
        except EntryError as exc:
            each.put_out(str(exc))
            log.warning("a challenger is out", target=each.target, name=each.name, reason=each.failure)


def say(change: Change) -> None:
    """Writes to the log that another model is served."""
    log.warning(
        "another model is served",
        target=change.target,
        served=change.served,
        previous=change.previous,
        why=change.why,
        labels=change.labels,
        loss=round(change.served_loss, 4),
        previous_loss=round(change.previous_loss, 4),
    )

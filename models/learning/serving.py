"""From records of `model-snapshots` to the scorer that is served: a snapshot, and the challengers that it names.

    key `dynamic`                      the default model's snapshot; it says who is served for each target
    key `challenger:<target>:<name>`   a challenger's own state (`models.learning.entries`), published just before it
    key `orders`                       what somebody wants served (`schemas.orders`); the trainer follows it

River is imported only where a challenger is served.
"""

from models.learning.scorer import SnapshotScorer
from models.learning.snapshots import DYNAMIC, PRIOR, Snapshot, SnapshotError, decode_snapshot
from models.learning.soundness import check_scores
from models.scores import Scorer

CHALLENGER_PREFIX = b"challenger:"


class ServedModel:
    """The scorer that is served, as records come.

    Args:
        feature_set: digest of the features that this process computes.
        names: those features.
        prior: what is served until a snapshot comes.
        models: `REGULARS_MODELS`: whose packages a challenger's classes may be of.

    Attributes:
        scorer: what is served.
        problems: challengers that should be served and can't be; the default is served for their targets.
    """

    def __init__(self, feature_set: str, names: tuple[str, ...], prior: Scorer, models: str = "") -> None:
        self.scorer: Scorer = prior
        self.problems: list[str] = []
        self._feature_set, self._names, self._prior = feature_set, names, prior
        self._packages = packages_in(models)
        self._entries: dict[bytes, bytes] = {}

    def take(self, key: bytes | None, value: bytes | None) -> Snapshot | None:
        """Takes a record; the snapshot that is served from now on, None where that didn't change.

        Raises:
            SnapshotError: a snapshot can't be read here, or doesn't forecast; the one before stays.
        """
        if key is None:
            return None
        if key.startswith(CHALLENGER_PREFIX):
            if value is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = value
            return None
        if value is None or key != DYNAMIC.encode():
            return None
        snapshot = decode_snapshot(value, self._feature_set)
        try:
            scorer, problems = self._assembled(snapshot)
        except SnapshotError:
            raise
        except Exception as exc:  # whatever made-up arrays lead to
            raise SnapshotError(f"it can't be served: {type(exc).__name__}: {exc}") from exc
        check_scores(scorer, len(snapshot.names))
        self.scorer, self.problems = scorer, problems
        return snapshot

    def _assembled(self, snapshot: Snapshot) -> tuple[Scorer, list[str]]:
        default = SnapshotScorer(snapshot, self._prior)
        served = {target: name for target, name in snapshot.served.items() if name != PRIOR}
        if not served:
            return default, []
        from models.learning.contest import WithChallengers
        from models.learning.entries import EntryError, decode_challenger

        challengers, problems = [], []
        for target, name in served.items():
            data = self._entries.get(key_of(target, name))
            try:
                if data is None:
                    raise EntryError("its record isn't in the topic")
                challengers.append(decode_challenger(data, self._names, self._packages))
            except EntryError as exc:
                problems.append(f"{name} should be served for {target}: {exc}")
        return WithChallengers(default, challengers) if challengers else default, problems


def key_of(target: str, name: str) -> bytes:
    """The key of a challenger's record."""
    return CHALLENGER_PREFIX + f"{target}:{name}".encode()


def packages_in(models: str) -> tuple[str, ...]:
    """The top-level packages that `REGULARS_MODELS` names.

    >>> packages_in("adagrad, mine=shop.models:build, other.thing:make")
    ('shop', 'other')
    """
    entries = (entry.strip().rpartition("=")[2] for entry in models.split(","))
    return tuple(dict.fromkeys(entry.partition(".")[0].partition(":")[0] for entry in entries if ":" in entry))

"""What a bandit has learnt of one campaign, as workers decide by it: samples of what it believes, no code.

A steady policy holds every arm to be as good for everybody; a personal one has a head of weights per arm. `share` of the
probability follows the personal one (`models.bandits.bandit` says how much, and when).
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import msgspec
import numpy as np
from msgspec import Struct

from models.decisions.campaign import Campaign
from models.decisions.decide import Values
from models.decisions.draw import FloatArray
from models.decisions.scaling import Scaling
from models.features import FEATURE_SET, NAMES, features_in
from models.reasons import TOP, natural
from schemas.changes import Contribution

# A campaign with so many samples, arms and features stays below 1 MiB, the brokers' default limit for a record.
_MOST_BYTES = 1_000_000


class WeightsRefused(ValueError):
    """The published weights are none, or those of another campaign, other arms or other features."""


class _Packed(Struct, frozen=True, array_like=True):
    """Float32 arrays as bytes, little-endian, row by row."""

    campaign: str
    model: str
    arms: tuple[str, ...]
    feature_set: str
    share: float
    steady: bytes  # (samples, arms)
    heads: bytes  # (samples, arms, 1 + features)
    logs: bytes  # (features,), as the next two: models.decisions.scaling
    centre: bytes
    spread: bytes


_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(_Packed)


class LearntWeights(NamedTuple):
    """See the module.

    Attributes:
        campaign: its name.
        model: version, as actions carry it.
        arms: in the order of the columns, `none` first.
        share: of the probability that follows the personal policy, 0 to 1.
        steady: (samples, arms), what each arm adds for everybody.
        heads: (samples, arms, 1 + features), what each arm adds for a customer; the constant comes first.
        scaling: of the features.
    """

    campaign: str
    model: str
    arms: tuple[str, ...]
    share: float
    steady: FloatArray
    heads: FloatArray
    scaling: Scaling

    def encode(self) -> bytes:
        """As a record's value.

        Raises:
            WeightsRefused: so many arms that the record would be too large.
        """
        arrays = (self.steady, self.heads, self.scaling.logs, self.scaling.centre, self.scaling.spread)
        packed = (each.astype("<f4").tobytes() for each in arrays)
        value = _encoder.encode(_Packed(self.campaign, self.model, self.arms, FEATURE_SET, self.share, *packed))
        if len(value) > _MOST_BYTES:
            raise WeightsRefused(f"{self.campaign}: {len(self.arms)} arms make a record of {len(value)} bytes")
        return value

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """The inverse of `encode`, to the precision of float32.

        Raises:
            WeightsRefused: `value` is none, or was learnt from other features.
        """
        try:
            packed = _decoder.decode(value)
            if packed.feature_set != FEATURE_SET:
                raise WeightsRefused(f"{packed.campaign}: learnt from features {packed.feature_set}, not {FEATURE_SET}")
            arms, width = len(packed.arms), 1 + len(NAMES)
            steady, heads = _floats(packed.steady).reshape(-1, arms), _floats(packed.heads).reshape(-1, arms, width)
            logs, centre, spread = (_floats(each) for each in (packed.logs, packed.centre, packed.spread))
        except (msgspec.DecodeError, ValueError) as exc:
            raise exc if isinstance(exc, WeightsRefused) else WeightsRefused(f"no weights: {exc}") from exc
        arrays = (steady, heads, logs, centre, spread)
        if not all(len(each) and np.isfinite(each).all() for each in arrays) or len(spread) != len(NAMES):
            raise WeightsRefused(f"{packed.campaign}: weights that are no numbers, or too few")
        scaling = Scaling(logs, centre, spread, np.zeros(0, dtype=np.int64))
        return cls(packed.campaign, packed.model, packed.arms, packed.share, steady, heads, scaling)

    def fits(self, campaign: Campaign) -> bool:
        """Whether they were learnt of this campaign's arms, and it decides by what is learnt."""
        return campaign.choose.by == "bandit" and (self.campaign, self.arms) == (campaign.name, campaign.arm_names)

    def values(self, features: bytes) -> Values:
        """What the arms are held to be worth for a customer with these features (`models.features.halved`)."""
        raw = np.array(features_in(features))
        z = np.r_[1.0, self.scaling.scaled(raw[None])[0]]
        reasons = {name: self._reasons(k, raw, z) for k, name in enumerate(self.arms) if k}
        return Values(self.heads @ z, self.model, reasons, self.steady, self.share)

    def _reasons(self, k: int, raw: FloatArray, z: FloatArray) -> tuple[Contribution, ...]:
        """The features that say most about what arm k adds for this customer."""
        parts = self.heads[:, k].mean(axis=0)[1:] * z[1:]
        order: Sequence[int] = np.argsort(-np.abs(parts), kind="stable")[:TOP].tolist()
        return tuple(
            Contribution(NAMES[i], natural(i, float(raw[i])), float(parts[i])) for i in order if parts[i] != 0.0
        )


def _floats(stored: bytes) -> FloatArray:
    floats: FloatArray = np.frombuffer(stored, "<f4").astype(np.float64)
    return floats

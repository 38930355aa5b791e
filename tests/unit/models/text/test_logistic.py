"""The array learner is River's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import linear_model, optim

from models.text.logistic import SparseLogistic
from models.text.ngrams import Hashed

SIZE = 12
RIVER_IS_EXACT_BELOW = 18.0

rows = st.lists(
    st.tuples(
        st.dictionaries(st.integers(0, SIZE - 1), st.floats(0.01, 3.0), max_size=SIZE),
        st.sampled_from([0, 1]),
    ),
    max_size=60,
)


@settings(max_examples=60)
@given(rows, st.floats(0.01, 1.0), st.floats(-3.0, 3.0))
def test_it_predicts_what_river_predicts_on_every_prefix(
    stream: list[tuple[dict[int, float], int]], rate: float, offset: float
) -> None:
    """To 1e-9, before each label, whatever the stream, until log odds pass 18: River's gradient is approximate there."""
    ours = SparseLogistic(SIZE, rate)
    theirs = linear_model.LogisticRegression(optimizer=optim.AdaGrad(rate), intercept_init=offset, intercept_lr=0.0)

    for x, y in stream:
        places = np.array(sorted(x), dtype=np.int64)
        hashed = Hashed(places, np.array([x[place] for place in places.tolist()], dtype=np.float64))
        expected = theirs.predict_proba_one(x)[True]
        raw = offset + ours.log_odds(hashed)
        assert 1.0 / (1.0 + np.exp(-raw)) == pytest.approx(expected, abs=1e-9)
        if abs(raw) > RIVER_IS_EXACT_BELOW:
            return
        ours.learn_one(hashed, y, offset)
        theirs.learn_one(x, y)

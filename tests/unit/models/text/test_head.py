"""Laws of the trained sentiment head, as it is taught and as it is served."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as replaced
from numpy.typing import NDArray

from models.learning.measures import auc
from models.text.directory import ModelDirectory, open_directory
from models.text.head import (
    FILE,
    LIMIT_BYTES,
    PACKAGED,
    Card,
    HeadRefused,
    TrainedHead,
    encode_head,
    head_of,
    read_head,
)
from models.text.ngrams import VERSION, ngrams
from streams.teaching.head_training import HeadLearner, blended, fitted, teach

DIM, BITS = 24, 14
GOOD = ("love", "perfect", "soft", "keeper")
BAD = ("returned", "thin", "awful", "itchy")
OTHER = ("dress", "colour", "size", "ordered", "it", "in", "the")


def _made(number: int, seed: int = 0) -> tuple[list[str], NDArray[np.float32], NDArray[np.int64]]:
    """Texts whose words say, now and then wrongly, whether their writer was content; vectors that say it faintly."""
    random = np.random.default_rng(seed)
    labels = (random.random(number) < 0.75).astype(np.int64)
    texts = []
    for label in labels:
        honest = random.random() < 0.9
        opinion = GOOD if bool(label) == honest else BAD
        texts.append(" ".join([*random.choice(OTHER, 6), *random.choice(opinion, 2)]))
    vectors = random.standard_normal((number, DIM)).astype(np.float32)
    vectors[:, 0] += labels - 0.5
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return texts, vectors, labels


def _learner(number: int = 600) -> HeadLearner:
    texts, vectors, labels = _made(number)
    learner = HeadLearner(DIM, "encoder-1", bits=BITS)
    learner.learn_many([ngrams(text, BITS) for text in texts], vectors, labels)
    return learner


HEAD = _learner().head()


def test_one_pass_over_a_stream_learns_what_its_words_say() -> None:
    """Each text is said before it is learnt, and later ones are said better; so is what comes after."""
    texts, vectors, labels = _made(2_000)
    learner = HeadLearner(DIM, "encoder-1", bits=BITS)

    said = learner.learn_many([ngrams(text, BITS) for text in texts], vectors, labels)
    fresh, fresh_vectors, truth = _made(1_000, seed=1)
    head = learner.head()

    right = (said[:, 0] > 0) == labels
    assert not said[0].any()
    assert right[1_000:].mean() > right[:200].mean()
    assert ((head.raw(fresh, fresh_vectors) > 0) == truth).mean() > 0.85


def test_learning_some_and_then_the_rest_is_learning_all() -> None:
    """A stream has no end: where it was looked at makes no difference."""
    texts, vectors, labels = _made(256)
    rows = [ngrams(text, BITS) for text in texts]
    whole, parts = HeadLearner(DIM, "e", bits=BITS), HeadLearner(DIM, "e", bits=BITS)

    whole.learn_many(rows, vectors, labels)
    parts.learn_many(rows[:128], vectors[:128], labels[:128])
    parts.learn_many(rows[128:], vectors[128:], labels[128:])

    assert parts.head().version == whole.head().version


def test_probabilities_are_calibrated_on_texts_that_were_not_learnt() -> None:
    """Of texts said to be content with p, a share of p is: within .04 in each third."""
    texts, vectors, labels = _made(1_500)

    taught = teach(texts, vectors, labels, "encoder-1")
    p = 1 / (1 + np.exp(-taught.raw))

    for part in np.array_split(np.argsort(p), 3):
        assert abs(p[part].mean() - labels[part].mean()) < 0.04


def test_copies_of_a_text_make_no_head_look_better() -> None:
    """Each text ten times, as a shop's stock phrases come: the AUC across folds is no better than of each text once.

    Words that stand in one text only: whoever has a copy knows the answer, and nobody else can.
    """
    random = np.random.default_rng(0)
    texts = [f"word{number} thing{number}" for number in range(150)]
    vectors = np.zeros((150, DIM), dtype=np.float32)
    labels = random.integers(0, 2, 150)

    once = teach(texts, vectors, labels, "encoder-1")
    often = teach(texts * 10, np.tile(vectors, (10, 1)), np.tile(labels, 10), "encoder-1")

    assert auc(np.tile(labels, 10), often.raw) <= auc(labels, once.raw) + 0.05
    assert abs(often.blend.ngrams) < 0.3


def test_the_served_head_says_what_its_learners_say() -> None:
    """The file's rounding (float16) moves no log odds by more than .01."""
    learner = _learner()
    texts, vectors, _ = _made(200, seed=2)

    served = learner.head().raw(texts, vectors)
    held = blended(learner.blend, learner.outputs([ngrams(text, BITS) for text in texts], vectors), learner.base)

    assert np.abs(served - held).max() < 0.01


def test_a_blend_takes_what_is_said_for_what_it_is_worth() -> None:
    """One of two voices is noise: its weight is near none, and overconfident ones are damped."""
    random = np.random.default_rng(0)
    truth = random.standard_normal(4_000)
    labels = (random.random(4_000) < 1 / (1 + np.exp(-truth))).astype(np.int64)

    blend = fitted(np.column_stack([3 * truth, random.standard_normal(4_000), np.zeros(4_000)]), 0.0, labels)

    assert blend.ngrams == pytest.approx(1 / 3, abs=0.05)
    assert abs(blend.vector) < 0.1


@given(st.lists(st.text(max_size=40), min_size=1, max_size=8), st.integers(0, 1_000))
@settings(max_examples=40)
def test_a_text_scores_the_same_bits_alone_and_among_others_within_the_range(texts: list[str], seed: int) -> None:
    """A replay that is cut otherwise gives the same states."""
    vectors = np.random.default_rng(seed).standard_normal((len(texts), DIM)).astype(np.float32)

    scores, chances = HEAD.score(texts, vectors), HEAD.probability(texts, vectors)

    assert (np.abs(scores) <= 1).all()
    assert ((chances >= 0) & (chances <= 1)).all()
    for index, text in enumerate(texts):
        assert HEAD.score([text], vectors[index : index + 1])[0] == scores[index]


def test_a_text_that_says_nothing_scores_zero_at_any_base_rate() -> None:
    """Reviews are mostly praise; a neutral text is not praise. What no voice knows, no voice judges."""
    zero, unknown = np.zeros((1, DIM), dtype=np.float32), np.full((1, DIM), 1e-9, dtype=np.float32)

    assert HEAD.card.base_rate > 0.6
    assert HEAD.score([""], zero)[0] == 0
    assert HEAD.probability([""], zero)[0] == HEAD.card.base_rate
    assert HEAD.score(["qqq"], unknown)[0] == pytest.approx(0, abs=1e-3)
    assert HEAD.probability(["qqq"], unknown)[0] == pytest.approx(HEAD.card.base_rate, abs=1e-3)


def test_a_head_reads_back_as_it_was_written(tmp_path: Path) -> None:
    """Same name, same scores to the bit."""
    path = tmp_path / "head.safetensors"
    path.write_bytes(encode_head(HEAD))
    texts, vectors, _ = _made(50, seed=3)

    read = read_head(path)

    assert read.version == HEAD.version
    assert np.array_equal(read.score(texts, vectors), HEAD.score(texts, vectors))


@given(st.integers(0, 200))
@settings(max_examples=30)
def test_a_torn_file_is_refused(tmp_path_factory: pytest.TempPathFactory, lost: int) -> None:
    """However much is missing: no head is better than half of one."""
    path = tmp_path_factory.mktemp("torn") / "head.safetensors"
    path.write_bytes(encode_head(HEAD)[: -1 - lost])

    with pytest.raises(HeadRefused, match="REGULARS_SENTIMENT=anchors"):
        read_head(path)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda card: replaced(card, ngrams="ngrams-0"), "ngrams-0"),
        (lambda card: replaced(card, format=9), "format 9"),
        (lambda card: replaced(card, base_rate=1.0), "not finite, not in order or out of range"),
        (lambda card: replaced(card, bits=2), "not finite, not in order or out of range"),
    ],
)
def test_a_head_of_another_release_is_refused(tmp_path: Path, change: Callable[[Card], Card], why: str) -> None:
    """Weights over other n-grams would be noise."""
    path = tmp_path / "head.safetensors"
    path.write_bytes(encode_head(TrainedHead(change(HEAD.card), HEAD.places, HEAD.ngram_weights, HEAD.vector_weights)))

    with pytest.raises(HeadRefused, match=why):
        read_head(path)


def test_a_head_serves_the_encoder_that_it_was_taught_on_and_no_other(tmp_path: Path) -> None:
    """Asked for or found in the encoder's directory it must fit; without one the anchors serve."""
    mine, other = ModelDirectory(tmp_path, DIM, 256, "encoder-1"), ModelDirectory(tmp_path, DIM, 256, "encoder-2")
    assert head_of(mine) is None

    (tmp_path / FILE).write_bytes(encode_head(HEAD))
    found = head_of(mine)

    assert found is not None
    assert found.version == HEAD.version
    assert head_of(mine, "anchors") is None
    with pytest.raises(HeadRefused, match="encoder-2"):
        head_of(other)
    with pytest.raises(HeadRefused, match="can't be read"):
        head_of(mine, str(tmp_path / "nowhere"))


def test_the_packaged_head_fits_the_packaged_encoder_and_is_small() -> None:
    """What is served with nothing set: at most 1 MB, numbers only."""
    head = head_of(open_directory())

    assert head is not None
    assert PACKAGED.stat().st_size <= LIMIT_BYTES
    assert head.card.ngrams == VERSION
    assert head.card.texts > 10_000

"""Laws of the intent head, as it is taught and as it is used."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace as replaced
from numpy.typing import NDArray

from models.text.directory import ModelDirectory
from models.text.intents import (
    FILE,
    IntentHead,
    IntentsRefused,
    encode_intents,
    intents_of,
    read_intents,
    urgency,
)
from streams.sources.labelled import Intended
from streams.teaching.intent_training import TaughtIntents, teach_intents

DIM, BITS = 16, 12
WORDS = {
    "delivery": ("where", "parcel", "late", "courier"),
    "refund": ("money", "back", "return", "refund"),
    "size": ("small", "large", "fit", "tight"),
}
OTHER = ("hello", "my", "order", "please", "the", "a", "is")


def _made(number: int = 300, seed: int = 0) -> tuple[Intended, NDArray[np.float32]]:
    """Texts whose words say what their writer wants, and vectors that say it faintly."""
    random = np.random.default_rng(seed)
    names = tuple(sorted(WORDS))
    intents = random.integers(0, len(names), number)
    texts = [" ".join([*random.choice(OTHER, 5), *random.choice(WORDS[names[intent]], 2)]) for intent in intents]
    vectors = random.standard_normal((number, DIM)).astype(np.float32)
    vectors[np.arange(number), intents] += 1.0
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Intended(texts, intents.astype(np.int64), names, (0.5, 0.25, 0.0), 0), vectors


def _taught(**changes: object) -> TaughtIntents:
    intended, vectors = _made()
    return teach_intents(intended._replace(**changes), vectors, "encoder-1", BITS)


TAUGHT = _taught()
HEAD = TAUGHT.head


def test_it_tells_apart_what_the_words_say() -> None:
    """Judged on folds that were not learnt; its probabilities are those of being right."""
    assert TAUGHT.measures.accuracy > 0.97
    assert TAUGHT.measures.ece < 0.03
    assert sum(pair.texts for pair in TAUGHT.measures.confused) == round(300 * (1 - TAUGHT.measures.accuracy))


def test_words_that_mean_nothing_teach_nothing() -> None:
    """With intents drawn by chance, folds that were not learnt are no better than chance."""
    by_chance = np.random.default_rng(9).integers(0, 3, 300).astype(np.int64)
    assert _taught(intents=by_chance).measures.accuracy < 0.45


def test_copies_of_a_text_are_judged_by_who_never_saw_it() -> None:
    """Each text twice, with intents by chance: a head that had learnt the copy would know all."""
    intended, vectors = _made(150)
    twice = intended._replace(
        texts=intended.texts * 2, intents=np.tile(np.random.default_rng(5).integers(0, 3, 150), 2).astype(np.int64)
    )
    assert teach_intents(twice, np.vstack([vectors, vectors]), "encoder-1", BITS).measures.accuracy < 0.5


def test_two_intents_are_told_apart_as_many_are() -> None:
    """The machine has one margin then, for both."""
    intended, vectors = _made()
    of = np.flatnonzero(intended.intents < 2)
    two = Intended([intended.texts[i] for i in of], intended.intents[of], intended.names[:2], (), 0)
    assert teach_intents(two, vectors[of], "encoder-1", BITS).measures.accuracy > 0.97


def test_a_text_alone_has_the_bits_it_has_among_others() -> None:
    """So a replay reads what was read."""
    intended, vectors = _made(40, seed=1)
    together = HEAD.probabilities(intended.texts, vectors)
    alone = [HEAD.probabilities([text], vectors[i : i + 1])[0] for i, text in enumerate(intended.texts)]
    assert np.array_equal(together, np.array(alone))
    assert np.allclose(together.sum(axis=1), 1.0, atol=1e-12)


def test_a_text_without_a_token_has_the_shares_of_the_intents() -> None:
    """Nothing is known of it."""
    (row,) = HEAD.probabilities([""], np.zeros((1, DIM), np.float32))
    assert np.allclose(row, HEAD.shares)


def test_a_file_holds_the_head_to_the_bit(tmp_path: Path) -> None:
    """Written, read and named the same; a directory is taken for the file in it."""
    (tmp_path / FILE).write_bytes(encode_intents(HEAD))
    read = read_intents(tmp_path)
    assert read.version == HEAD.version
    intended, vectors = _made(20, seed=2)
    assert np.array_equal(read.probabilities(intended.texts, vectors), HEAD.probabilities(intended.texts, vectors))
    assert not any(text.encode() in encode_intents(HEAD) for text in intended.texts)


def _changed(**changes: object) -> Callable[[], bytes]:
    from dataclasses import replace

    return lambda: encode_intents(replace(HEAD, **changes))


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda: b"", "not an intent head"),
        (lambda: b"\x80\x04.", "not an intent head"),
        (lambda: encode_intents(HEAD)[:-9], "not an intent head"),
        (_changed(card=replaced(HEAD.card, format=99)), "this release knows"),
        (_changed(card=replaced(HEAD.card, intents=("a", "a", "b"))), "different names"),
        (_changed(card=replaced(HEAD.card, bits=3)), "outside the table"),
        (_changed(card=replaced(HEAD.card, temperature=0.0)), "not finite"),
        (_changed(levels=np.array([0, np.inf, 0], np.float32)), "not finite"),
        (_changed(places=HEAD.places[::-1]), "not in order"),
        (_changed(shares=HEAD.shares[:2]), "shapes"),
    ],
)
def test_a_damaged_file_is_refused_with_its_reason(made: Callable[[], bytes], why: str, tmp_path: Path) -> None:
    """It names the file and what to do."""
    path = tmp_path / FILE
    path.write_bytes(made())
    with pytest.raises(IntentsRefused, match=why) as refused:
        read_intents(path)
    assert str(path) in str(refused.value)
    assert "regulars intents train" in str(refused.value)


def test_a_head_of_another_encoder_is_refused(tmp_path: Path) -> None:
    """Its weights read other numbers."""
    (tmp_path / FILE).write_bytes(encode_intents(HEAD))

    def served(version: str) -> IntentHead | None:
        return intents_of(ModelDirectory(tmp_path, DIM, 128, version), str(tmp_path))

    own = served("encoder-1")
    assert own is not None
    assert own.version == HEAD.version
    with pytest.raises(IntentsRefused, match="it reads the encoder encoder-1, not encoder-2"):
        served("encoder-2")
    assert intents_of(ModelDirectory(tmp_path, DIM, 128, "encoder-2"), "") is None


def test_either_a_complaint_or_the_matter_makes_a_text_urgent() -> None:
    """Praise does not make an urgent matter less so; without both nothing is urgent."""
    soon = urgency(np.array([-1.0, 0.0, 1.0, -0.5, 0.5]), np.array([0.0, 0.8, 0.8, 0.5, 0.0]))
    assert soon.tolist() == pytest.approx([1.0, 0.8, 0.8, 0.75, 0.0])


def test_an_intent_is_as_urgent_as_its_texts_are_on_average() -> None:
    """Each counted by its probability; where no text said anything, nothing is."""
    certain = np.eye(3)
    assert HEAD.urgencies(certain).tolist() == [0.5, 0.25, 0.0]
    assert _taught(urgency=()).head.urgencies(certain).tolist() == [0.0, 0.0, 0.0]

"""How well sentiment agrees with what reviewers recommended: the trained head by parts, and the untrained anchors.

    REGULARS_SHARED=<folder of data/> python benchmarks/sentiment.py [--passes 1,2]

Five folds over the reviews with a text (title and text as a replay sends them, label `recommended`): learners are taught by
four folds, and the fifth's log odds are blended by a blend fitted on the other folds. Then all rows, those without a text
at the base rate. Then sentences about other things than clothes, written for this file: what a head that was taught by
clothes makes of them. Vectors come from the worker's cache; the first run encodes for five minutes of a core.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import rankdata

from models.text.directory import ModelDirectory, open_directory
from models.text.head import head_of
from models.text.logistic import FloatArray, sigmoid
from models.text.sentiment import ANCHORS, AnchorSentiment
from streams.settings import Settings
from streams.sources.clothing_reviews import joined
from streams.sources.labelled import read_labelled
from streams.teaching.head_training import FOLDS, teach
from streams.teaching.judging import binary_measures
from streams.teaching.vectors import vectors_of

CONTENT = (
    "The kettle boils fast and looks great, very happy with it.",
    "Your support solved my problem in five minutes, thank you so much!",
    "Excellent headphones, the sound is clear and the battery lasts all week.",
    "The parcel came a day early and everything was packed with care.",
    "My kids adore this puzzle, we have done it three times already.",
    "Best coffee I have had in years, I will order again.",
    "Works exactly as described. Well done.",
    "The refund arrived the same day, wonderful service.",
    "This lamp is beautiful and gives a warm light.",
    "The phone is quick, the camera is superb, worth every penny.",
    "Friendly staff who really listened to me.",
    "The tent stayed dry through two nights of rain. Impressive!",
)
DISCONTENT = (
    "The kettle leaks and stopped working after a week.",
    "Nobody answers my mails, your support is a joke.",
    "These headphones crackle and the battery dies within an hour.",
    "The parcel arrived crushed and half of it was missing.",
    "The puzzle has pieces missing, my kids were in tears.",
    "The coffee tastes burnt, I threw it away.",
    "Does not work as described. Avoid.",
    "I have been waiting for my refund for six weeks, this is unacceptable.",
    "The lamp flickers and smells of plastic.",
    "The phone freezes all the time, a waste of money.",
    "Rude staff who hung up on me.",
    "The tent leaked in the first rain and the poles snapped.",
)
NEUTRAL = (
    "Where is my parcel?",
    "How do I change my delivery address?",
    "Which sizes do you have in stock?",
    "Please send me the invoice for my last order.",
    "When does the shop in the city open on Sunday?",
    "Can I pay by bank transfer?",
    "I would like to change the colour of my order from blue to green.",
    "Do you ship to Norway?",
    "My order number is on the slip.",
    "What is the difference between the two models?",
    "I moved, here is my new address.",
    "Is the charger included?",
)
"""Thirty-six sentences about other goods and a shop's support, none of which any sentiment was chosen or taught on."""


def area(scores: FloatArray, positive: FloatArray) -> float:
    """Area under the ROC curve."""
    positives = int(positive.sum())
    return float(
        (rankdata(scores)[positive == 1].sum() - positives * (positives + 1) / 2)
        / (positives * (len(scores) - positives))
    )


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", default="1,2", help="passes over the texts, each taught and judged")
    given = parser.parse_args()
    path = Path(os.environ["REGULARS_SHARED"]) / "data" / "womens_clothing_reviews_part.parquet"
    labelled, directory, settings = read_labelled(path), open_directory(), Settings()
    labels = labelled.positive
    vectors = vectors_of(labelled.texts, directory, settings)
    anchors = AnchorSentiment(vectors_of(ANCHORS, directory, settings))
    console = Console(width=110)

    table = Table(
        title=f"{len(labels):,} reviews, {labels.mean():.1%} recommended; {FOLDS} folds", title_justify="left"
    )
    for column in ("", "AUC", "log loss", "ECE", "F1", "F1 not recommended", "accuracy"):
        table.add_column(column, justify="right" if column else "left")
    confusion = Table(title="at probability .5: forecast / recommended", title_justify="left")
    for column in ("", "no / no", "no / yes", "yes / no", "yes / yes"):
        confusion.add_column(column, justify="right" if column else "left")
    table.add_row("anchors", f"{area(anchors.score(labelled.texts, vectors), labels):.4f}", *["-"] * 5)
    for passes in map(int, given.passes.split(",")):
        taught = teach(labelled.texts, vectors, labels, directory.version, anchors.direction, passes)
        for name, raw in (
            ("embedding only", taught.base + taught.outputs[:, 1]),
            ("n-grams only", taught.base + taught.outputs[:, 0]),
            ("both", taught.raw),
        ):
            each = binary_measures(raw, labels)
            table.add_row(
                f"{name}, {passes} {'pass' if passes == 1 else 'passes'}", f"{each.auc:.4f}", f"{each.log_loss:.4f}",
                f"{each.ece:.4f}", f"{each.f1:.4f}", f"{each.f1_discontent:.4f}", f"{each.accuracy:.4f}",
            )  # fmt: skip
            if name == "both":
                (no_no, yes_no), (no_yes, yes_yes) = each.confusion
                confusion.add_row(f"{passes}", *(f"{n:,}" for n in (no_no, no_yes, yes_no, yes_yes)))
        blend = taught.blend
        console.print(f"blend: {blend.ngrams:.2f} n-grams + {blend.vector:.2f} embedding + {blend.anchors:.2f} anchors")
    console.print(table, confusion)
    print_all_rows(console, path, labels, taught.raw, anchors.score(labelled.texts, vectors))
    print_elsewhere(console, anchors, directory, settings)


def print_all_rows(
    console: Console, path: Path, labels: NDArray[np.int64], raw: FloatArray, anchored: NDArray[np.float32]
) -> None:
    """Prints the measures of all rows, also those without a text, and the mean scores by rating."""
    frame = pq.read_table(path, columns=["Title", "Review Text", "Rating", "Recommended IND"]).to_pydict()
    rows = [(joined(title, text), stars, label) for title, text, stars, label in zip(*frame.values(), strict=True)]
    rating = np.array([stars for text, stars, _ in rows if text], dtype=np.int64)
    every = np.full(len(rows), np.log(labels.mean() / (1 - labels.mean())))
    every[[index for index, (text, _, _) in enumerate(rows) if text]] = raw
    recommended = np.array([label for _, _, label in rows], dtype=np.int64)
    whole = binary_measures(every, recommended)
    console.print(f"all {len(rows):,} rows: AUC {whole.auc:.4f}, log loss {whole.log_loss:.4f}, ECE {whole.ece:.4f}")
    base = np.log(labels.mean() / (1 - labels.mean()))
    score = 2 * sigmoid(raw - base) - 1
    by_rating = Table("stars", "reviews", "mean score of the head (folds)", "of the anchors", title="both scores")
    for each_rating in range(1, 6):
        own = rating == each_rating
        by_rating.add_row(str(each_rating), f"{own.sum():,}", f"{score[own].mean():.2f}", f"{anchored[own].mean():.2f}")
    console.print(by_rating)
    console.print(
        f"rating: Pearson {np.corrcoef(score, rating)[0, 1]:.3f} (anchors {np.corrcoef(anchored, rating)[0, 1]:.3f})"
    )


def print_elsewhere(console: Console, anchors: AnchorSentiment, directory: ModelDirectory, settings: Settings) -> None:
    """Prints the scores of sentences that are not about clothes."""
    elsewhere = (*CONTENT, *NEUTRAL, *DISCONTENT)
    others = vectors_of(elsewhere, directory, settings)
    table = Table(title="sentences about other things", title_justify="left")
    for column in ("", "AUC content / discontent", "mean content", "neutral", "discontent", "largest neutral"):
        table.add_column(column, justify="right" if column else "left")
    packaged = head_of(directory)
    ends = np.r_[np.ones(len(CONTENT)), np.full(len(NEUTRAL), np.nan), np.zeros(len(DISCONTENT))]
    for name, head in (("anchors", anchors), ("head", packaged)):
        if head is None:
            continue
        scores = head.score(elsewhere, others).astype(np.float64)
        kinds = [scores[ends == 1], scores[np.isnan(ends)], scores[ends == 0]]
        opinionated = np.isfinite(ends)
        table.add_row(
            name, f"{area(scores[opinionated], ends[opinionated]):.3f}", *(f"{each.mean():+.2f}" for each in kinds),
            f"{np.abs(kinds[1]).max():.2f}",
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()

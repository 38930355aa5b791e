"""How well the anchors' sentiment agrees with what reviewers recommended and rated.

    REGULARS_SHARED=<folder of data/> python benchmarks/sentiment.py [--texts 3000]

The anchors and K were chosen on the first 3,000 reviews of a seeded order; this measures on the `--texts` after them.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

CHOSEN_ON = 3_000
SEED = 11


def main() -> None:
    """Encodes the sample and prints AUC, correlations and the mean score of each rating."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=3_000)
    given = parser.parse_args()
    from models.text.encoder import Encoder
    from models.text.sentiment import ANCHORS, AnchorSentiment

    table = pq.read_table(Path(os.environ["REGULARS_SHARED"]) / "data" / "womens_clothing_reviews_part.parquet")
    rows = np.random.default_rng(SEED).permutation(table.num_rows)[CHOSEN_ON : CHOSEN_ON + given.texts]
    titles, bodies = table["Title"].to_pylist(), table["Review Text"].to_pylist()
    rating = table["Rating"].to_numpy()[rows]
    recommended = table["Recommended IND"].to_numpy()[rows] == 1
    encoder = Encoder.open()
    head = AnchorSentiment(encoder.encode(ANCHORS))

    score = head.score(encoder.encode([f"{titles[row] or ''}\n{bodies[row] or ''}".strip() for row in rows]))

    positives = int(recommended.sum())
    negatives = len(rows) - positives
    ranks = pd.Series(score).rank()
    auc = (ranks[recommended].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    console = Console()
    console.print(f"{len(rows):,} reviews, {positives / len(rows):.1%} recommended; head {head.version}")
    console.print(f"recommended: AUC {auc:.3f}")
    spearman = np.corrcoef(ranks, pd.Series(rating).rank())[0, 1]
    console.print(f"rating: r {np.corrcoef(score, rating)[0, 1]:.3f}, Spearman {spearman:.3f}")
    by_rating = Table("rating", "reviews", "mean score", "sd")
    for stars in range(1, 6):
        own = score[rating == stars]
        by_rating.add_row(str(stars), f"{len(own):,}", f"{own.mean():.2f}", f"{own.std():.2f}")
    console.print(by_rating)


if __name__ == "__main__":
    main()

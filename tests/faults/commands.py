"""The product's command line, run as its user runs it."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT_S = 120.0


def output_of(arguments: Sequence[str], environment: Mapping[str, str], failed: type[Exception]) -> str:
    """Runs `regulars ...` to its end; what it printed. Raises `failed` where it does not end with 0."""
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    if done.returncode:
        raise failed(f"regulars {' '.join(arguments)}: exit code {done.returncode}: {done.stderr[-500:]}")
    return done.stdout

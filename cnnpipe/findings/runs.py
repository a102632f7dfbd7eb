"""Independent runs of an experiment: a seed for each, and tables that survive an interruption."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pandas as pd

from cnnpipe.system.artifacts import load_csv, save_csv


def seed_of_run(seed: int, claim: str, number: int) -> int:
    """A hash of base seed, claim and run, so that no two of these share anything random.

    It has 32 bits, the most that all generators take.

    >>> seed_of_run(1, "sharing", 0), seed_of_run(2, "sharing", 0)
    (458435478, 1733506347)
    """
    return int.from_bytes(sha256(f"{seed} {claim} {number}".encode()).digest()[:4], "big")


def kept_runs(
    measure: Callable[[int], pd.DataFrame], claim: str, numbers: range, kept: Path | None
) -> pd.DataFrame:
    """What runs give, one table below the other, with a column run.

    Args:
        measure: makes the table of a run, from its number.
        claim, kept: a table that is in the folder `kept` already, CLAIM-NUMBER.csv, is not measured
            again, and a new one is left there.
        numbers: of the runs.
    """
    tables = []
    for number in numbers:
        file = kept / f"{claim}-{number}.csv" if kept else None
        if file and file.exists():
            tables.append(load_csv(file))
            continue
        table = measure(number).assign(run=number)
        if file:
            save_csv(file, table)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)

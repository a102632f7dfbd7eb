"""A few trials of most promises that `make torture` tries in full, and the machinery itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from torture.campaign import Promise, Trial, promise, table, try_promise
from torture.promises import PROMISES

SEED = 1
"""Other trials than those of `make torture`, which starts from 0."""


@pytest.mark.parametrize("name", [name for name, promise in PROMISES.items() if promise.few])
def test_promise(name: str) -> None:
    promise = PROMISES[name]
    outcome = try_promise(promise, promise.few, SEED)
    assert outcome.broken == []
    assert outcome.tried >= promise.few


def drawn(trials: int, seed: int) -> list[str]:
    seen = []

    def attempts(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
        for _ in range(count):
            number = randomness.randrange(10)
            seen.append(f"{number}")
            yield Trial(f"draw {number}", "five or more" if number > 4 else "")

    outcome = try_promise(Promise("numbers are small", attempts, 10, 5), trials, seed)
    assert outcome.tried == trials
    assert outcome.held == sum(int(number) < 5 for number in seen)
    assert [line.split(":")[1] for line in outcome.broken] == [" five or more"] * (
        trials - outcome.held
    )
    return seen


def test_broken_trials_are_counted_and_named_and_the_same_seed_tries_the_same() -> None:
    assert drawn(40, 0) == drawn(40, 0)
    assert drawn(40, 0) != drawn(40, 1)


def test_trials_that_fail_themselves_prove_nothing() -> None:
    def attempts(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
        yield Trial("first")
        raise RuntimeError("stage failed")

    outcome = try_promise(Promise("all is well", attempts, 3, 1), 3, 0)
    assert (outcome.tried, outcome.held) == (2, 1)
    assert outcome.broken == ["the trials were broken off: RuntimeError: stage failed"]


def test_table() -> None:
    @promise("nothing breaks", full=2, few=1)
    def nothing(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
        assert list(folder.iterdir()) == []
        yield from (Trial("look", wrong) for wrong in ["nothing", ""])

    outcome = try_promise(nothing, nothing.full, 0)
    assert nothing.name == "torture.nothing"
    assert table([outcome]).splitlines()[-1] == "| nothing breaks | 2 | 1 | 0 |"

"""What a promise is, how it is tried, and the table of all."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Attempts = Callable[[int, random.Random, Path], Iterator["Trial"]]


@dataclass(frozen=True)
class Trial:
    """One attempt to break a promise."""

    name: str
    """What was done, in enough words to do it again."""
    wrong: str = ""
    """What was seen instead of what is promised; empty if the promise held."""


@dataclass(frozen=True)
class Promise:
    text: str
    """A row of the table: what holds, whatever is tried."""
    attempts: Attempts
    """Called with the number of trials, a source of random numbers and an empty folder."""
    full: int
    """Trials of `make torture`."""
    few: int
    """Trials of the test suite; 0 where one takes too long, or where pytest tries them itself."""

    @property
    def name(self) -> str:
        """module.function, as the command line and the tests name it."""
        module = self.attempts.__module__.rpartition(".")[2]
        return f"{module.removeprefix('test_')}.{self.attempts.__name__.removeprefix('test_')}"


@dataclass(frozen=True)
class Outcome:
    name: str
    promise: str
    tried: int
    held: int
    seconds: float
    broken: list[str]
    """The trials that did not hold, and what was seen."""


def promise(text: str, *, full: int, few: int) -> Callable[[Attempts], Promise]:
    """Make a promise of a function that yields `Trial`s."""

    def made(attempts: Attempts) -> Promise:
        return Promise(text, attempts, full, few)

    return made


def try_promise(promise: Promise, trials: int, seed: int) -> Outcome:
    """Try a promise in a folder that is removed afterwards; the same seed tries the same."""
    started = time.monotonic()
    # A text seeds alike in every process; the hash of one does not.
    randomness = random.Random(f"{promise.name} {seed}")
    seen: list[Trial] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            seen.extend(promise.attempts(trials, randomness, Path(folder)))  # kept one by one
        except Exception as error:  # trials that fail themselves prove nothing
            seen.append(Trial("the trials were broken off", f"{type(error).__name__}: {error}"))
    return Outcome(
        name=promise.name,
        promise=promise.text,
        tried=len(seen),
        held=sum(not trial.wrong for trial in seen),
        seconds=round(time.monotonic() - started, 1),
        broken=[f"{trial.name}: {trial.wrong}" for trial in seen if trial.wrong],
    )


def failed(checks: Mapping[str, bool], seen: str) -> str:
    """The checks that failed, with the end of what was seen; empty if all succeeded."""
    names = ", ".join(name for name, succeeded in checks.items() if not succeeded)
    return f"{names}; {seen[-1000:]}" if names else ""


def in_turn(kinds: Iterable[T], randomness: random.Random) -> Iterator[T]:
    """All kinds in random order, again and again: as many trials as kinds try each of them."""
    kinds = list(kinds)
    while True:
        yield from randomness.sample(kinds, len(kinds))


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes in Markdown."""
    lines = ["| promise | tried | held | seconds |", "|---|---:|---:|---:|"]
    lines += [
        f"| {outcome.promise} | {outcome.tried:,} | {outcome.held:,} | {outcome.seconds:,.0f} |"
        for outcome in outcomes
    ]
    return "\n".join(lines)

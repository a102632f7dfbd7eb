"""Properties that the test suite tries on a few examples and `make torture` on many."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy

from torture.campaign import Promise, Trial

QUIET = settings(
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def promise(
    text: str, *, full: int, few: int, **strategies: SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Any]:
    """Make a pytest test of a function that asserts something about drawn arguments.

    Args:
        text: the row of the table in docs/reliability.md.
        full: examples of `make torture`, which finds the property as the test's `promise`.
        few: examples of the test suite, the same in every run.
        strategies: how the function's arguments are drawn.
    """

    def decorate(body: Callable[..., None]) -> Any:
        @functools.wraps(body)
        def attempts(count: int, randomness: Random, folder: Path) -> Iterator[Trial]:
            seen: list[Trial] = []

            @functools.wraps(body)
            def counted(**drawn: Any) -> None:
                body(**drawn)
                seen.append(Trial("an example"))

            test = seed(randomness.getrandbits(64))(given(**strategies)(counted))
            try:
                settings(QUIET, max_examples=count)(test)()
            except Exception as error:
                example = " ".join(" ".join(getattr(error, "__notes__", [])).split())
                seen.append(Trial(example, f"{type(error).__name__}: {error}"))
            yield from seen

        test: Any = settings(QUIET, max_examples=few, derandomize=True)(given(**strategies)(body))
        test.promise = Promise(text, attempts, full, few=0)
        return test

    return decorate

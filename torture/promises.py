"""All promises, by name, in the order of the table."""

from __future__ import annotations

from tests.properties import test_operators, test_transforms
from torture import cache, concurrency, data, determinism, disk, kills, params, surface, weights
from torture.campaign import Outcome, Promise, try_promise

MODULES = (data, weights, params, kills, disk, cache, concurrency, determinism, surface)
PROPERTIES = (test_operators, test_transforms)
"""Their promises are attributes of tests, which pytest collects where they are."""

PROMISES: dict[str, Promise] = {
    value.name: value
    for module in MODULES
    for value in vars(module).values()
    if isinstance(value, Promise) and value.attempts.__module__ == module.__name__
} | {
    test.promise.name: test.promise
    for module in PROPERTIES
    for test in vars(module).values()
    if hasattr(test, "promise")
}


def try_named(name: str, seed: int, trials: int | None) -> Outcome:
    """Try one promise, by its own number of trials or another; here, since a module that runs as a
    program is another one in the processes that it starts."""
    promise = PROMISES[name]
    return try_promise(promise, trials or promise.full, seed)

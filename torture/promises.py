"""All promises, by name, in the order of the table."""

from __future__ import annotations

from types import ModuleType

from torture import concurrency, data, determinism, kills, params, weights
from torture.campaign import Promise

MODULES: tuple[ModuleType, ...] = (data, weights, params, kills, concurrency, determinism)

PROMISES: dict[str, Promise] = {
    value.name: value
    for module in MODULES
    for value in vars(module).values()
    if isinstance(value, Promise) and value.attempts.__module__ == module.__name__
}

"""All promises, by name, in the order of the table."""

from __future__ import annotations

from types import ModuleType

from torture import cache, data, disk, params, surface, weights
from torture.campaign import Promise

MODULES: tuple[ModuleType, ...] = (data, weights, params, disk, cache, surface)

PROMISES: dict[str, Promise] = {
    value.name: value
    for module in MODULES
    for value in vars(module).values()
    if isinstance(value, Promise) and value.attempts.__module__ == module.__name__
}

"""A model's section overrides the shared `train` section key by key; so does a race's recipe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cnnpipe.params.models import MODEL_NAMES
from cnnpipe.params.race import MAXIMUM_RECIPES


def with_train_defaults(tree: dict[Any, Any]) -> dict[Any, Any]:
    """Fill each model's section, and each recipe's, with the keys of `train` it does not override.

    What is no mapping, or no list, or too many stays as it is for the schema to refuse.
    """
    train, models, race = tree.get("train"), tree.get("models"), tree.get("race")
    if not isinstance(train, dict):
        return tree
    tree = dict(tree)
    if isinstance(models, dict):
        tree["models"] = _complete(train, models, MODEL_NAMES)
    if isinstance(race, dict) and isinstance(recipes := race.get("recipes"), list):
        complete = [
            _complete(train, recipe, ["vgg"]) if isinstance(recipe, dict) else recipe
            for recipe in recipes[:MAXIMUM_RECIPES]
        ]
        tree["race"] = {**race, "recipes": complete + recipes[MAXIMUM_RECIPES:]}
    return tree


def _complete(
    train: dict[Any, Any], sections: dict[Any, Any], names: Iterable[Any]
) -> dict[Any, Any]:
    """`sections`, those of them that are named completed by the keys of `train`."""
    complete = {
        name: _override(train, sections[name])
        for name in names
        if isinstance(sections.get(name), dict)
    }
    return {**sections, **complete}


def _override(shared: dict[Any, Any], own: dict[Any, Any]) -> dict[Any, Any]:
    """`own`, completed by the keys that only `shared` has, in both and in the mappings in them."""
    merged = {**shared, **own}
    for key, value in own.items():
        if isinstance(value, dict) and isinstance(shared.get(key), dict):
            merged[key] = {**shared[key], **value}
    return merged

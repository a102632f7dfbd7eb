"""A model's section overrides the shared `train` section key by key; so does a race's recipe."""

from typing import Any


def add_train_defaults(tree: dict[Any, Any]) -> None:
    """Fill each model's section, and each recipe's, with the keys of `train` it does not override.

    What is no mapping, or no list, stays as it is for the schema to refuse.
    """
    train, race = tree.get("train"), tree.get("race")
    if not isinstance(train, dict):
        return
    recipes = race.get("recipes") if isinstance(race, dict) else None
    for section in [tree.get("models"), *(recipes if isinstance(recipes, list) else [])]:
        for name, own in section.items() if isinstance(section, dict) else ():
            if isinstance(own, dict):
                section[name] = _override(train, own)


def _override(shared: dict[Any, Any], own: dict[Any, Any]) -> dict[Any, Any]:
    """`own`, completed by the keys that only `shared` has, in both and in the mappings in them."""
    merged = {**shared, **own}
    for key, value in own.items():
        if isinstance(value, dict) and isinstance(shared.get(key), dict):
            merged[key] = {**shared[key], **value}
    return merged

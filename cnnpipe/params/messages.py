"""A value that the schema refuses, as one line: the key, the value and what is allowed."""

import difflib
import reprlib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

KINDS = {"integer": "an integer", "number": "a number", "string": "text", "array": "a list"}
"""JSON schema's types, in words."""

LIMITS = {
    "exclusiveMinimum": ">",
    "minimum": "≥",
    "exclusiveMaximum": "<",
    "maximum": "≤",
    "minItems": "of length ≥",
    "maxItems": "of length ≤",
    "pattern": "matching",
}
"""JSON schema's names of limits, in words."""

SHORT = reprlib.Repr()
SHORT.maxstring = 80
"""Shows the beginning of a long value."""


def worst_problem(error: ValidationError, schema: dict[str, Any]) -> str:
    """The most helpful of the problems, as one line.

    Args:
        error: what the schema refused.
        schema: the JSON schema of the whole mapping.
    """
    # A misspelt key is also a missing one: name the wrong one, not the missing one.
    problem = min(error.errors(), key=lambda problem: not _is_unknown_key(problem))
    location = [part for part in problem["loc"] if part != "[key]"]
    key = ".".join(_shown(part) for part in location)
    if _is_unknown_key(problem):
        allowed = _keys(schema_at(schema, location[:-1]))
        close = difflib.get_close_matches(str(location[-1]), allowed, n=1, cutoff=0.7)
        meant = f"did you mean {close[0]}? " if close else ""
        return f"{key}: unknown key; {meant}allowed here: {', '.join(allowed)}"
    if problem["type"] == "missing":
        return missing(location, schema)
    return f"{key}: got {given(problem['input'])}; expected {expected(schema_at(schema, location))}"


def missing(location: Sequence[int | str], schema: dict[str, Any]) -> str:
    """The line for a key that is not there."""
    key = ".".join(_shown(part) for part in location)
    return f"{key}: missing; expected {expected(schema_at(schema, location))}"


def _is_unknown_key(problem: ErrorDetails) -> bool:
    return problem["type"] in ("extra_forbidden", "invalid_key") or problem["loc"][-1] == "[key]"


def given(value: object) -> str:
    """A value of any kind and size, as a short text."""
    try:
        return SHORT.repr(value)
    except ValueError:  # Python prints no integer of more than 4,300 digits
        return "a number of too many digits"


def _shown(part: object) -> str:
    """A part of a key as it may be printed: keys of any kind can stand in a YAML file."""
    text = str(part)
    return text if text.isprintable() and len(text) <= 80 else given(text)


def schema_at(schema: dict[str, Any], place: Sequence[int | str]) -> dict[str, Any]:
    """The JSON schema of what stands at a place such as ('models', 'vgg', 'blocks', 0)."""
    node = schema
    for part in place:
        if "properties" in node:
            node = node["properties"][part]
        else:
            node = node["items" if isinstance(part, int) else "additionalProperties"]
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def _keys(node: dict[str, Any]) -> list[str]:
    """The keys that the JSON schema of a mapping allows; empty if it allows any."""
    names = node.get("propertyNames", {}).get("enum", ())
    return list(node.get("properties", names))


def expected(node: dict[str, Any]) -> str:
    """What a JSON schema allows, in words."""
    if "enum" in node:
        return f"one of {', '.join(map(str, node['enum']))}"
    if node["type"] == "object":
        return f"a mapping of {', '.join(_keys(node)) or 'any keys'}"
    words = KINDS[node["type"]]
    limits = [f"{sign} {node[limit]}" for limit, sign in LIMITS.items() if limit in node]
    return " ".join([words, " and ".join(limits)]) if limits else words

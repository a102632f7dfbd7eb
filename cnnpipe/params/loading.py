"""`load_params`: params.yaml, read and checked.

It refuses unknown keys, wrong types, values out of range, NaN and duplicate keys with one line that
names the key, the value and what is allowed. Of YAML it accepts plain values only.
"""

import textwrap
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.constructor import ConstructorError, DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node

from cnnpipe.params.inheritance import add_train_defaults
from cnnpipe.params.messages import expected, given, missing, worst_problem
from cnnpipe.params.section import Section
from cnnpipe.system.errors import InputError

Settings = TypeVar("Settings", bound=Section)

MAXIMUM_SIZE = 2**15
"""Bytes of params.yaml; a larger file is something else, and would take long to parse."""


def load_params(
    kind: type[Settings],
    path: str | Path = "params.yaml",
    *,
    overrides: Mapping[str, Any] = MappingProxyType({}),
) -> Settings:
    """Read params.yaml and check what `kind` asks for: a stage's settings, or the whole file.

    Args:
        kind, path: what is asked for, and the file.
        overrides: values that replace those of the file, by dotted key.

    Raises:
        InputError: one line naming the file, the key, the value and what is allowed.
    """
    path = Path(path)
    schema = _schema_of(kind)
    tree = read_yaml(path, expected(schema))
    for key, value in overrides.items():
        _replace(tree, key, value)
    add_train_defaults(tree)
    try:
        settings = kind.model_validate(tree)
    except ValidationError as error:
        raise InputError(f"{path}: {worst_problem(error, schema)}") from None
    if location := _left_to_default(settings):
        raise InputError(f"{path}: {missing(location, schema)}")
    return settings


@cache  # making it takes as long as the rest of loading
def _schema_of(kind: type[Section]) -> dict[str, Any]:
    return kind.model_json_schema()


def _replace(tree: dict[Any, Any], key: str, value: Any) -> None:
    """Set a dotted key.

    Raises:
        InputError: there is no such key.
    """
    *sections, last = str(key).split(".")
    place: Any = tree
    for section in sections:
        place = place.get(section) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last not in place:
        raise InputError(f"{key}: expected a dotted key of params.yaml")
    place[last] = value


def _left_to_default(node: Any) -> list[int | str]:
    """Where a section lacks a key; defaults are for Python, the file names every key."""
    below: Iterable[tuple[int | str, Any]] = ()
    if isinstance(node, Section):
        for key in type(node).model_fields:
            if key not in node.model_fields_set:
                return [key]
        below = node
    elif isinstance(node, dict):
        below = node.items()
    elif isinstance(node, list):
        below = enumerate(node)
    for place, value in below:
        if location := _left_to_default(value):
            return [place, *location]
    return []


def read_yaml(path: Path, allowed: str) -> dict[Any, Any]:
    """The mapping in a file of plain YAML.

    Raises:
        InputError: the file is missing, is not YAML, or holds something else than `allowed`.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run from the project's root") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a file of YAML") from None
    if len(content) > MAXIMUM_SIZE:
        raise InputError(f"{path}: {len(content)} bytes; expected at most {MAXIMUM_SIZE}")
    try:
        tree = _yaml().load(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from None
    except DuplicateKeyError as error:
        raise InputError(f"{path}: {_at(error)}: {_line(error.problem)}; allowed: once") from None
    except MarkedYAMLError as error:
        raise InputError(f"{path}: not YAML: {_at(error)}: {_line(error.problem)}") from None
    except (YAMLError, ValueError, RecursionError, AssertionError) as error:
        # ruamel's own errors for an escape beyond Unicode, deep nesting and an unknown version.
        raise InputError(f"{path}: not YAML: {_line(error)}") from None
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else given(tree)
        raise InputError(f"{path}: holds {found}; expected {allowed}")
    return tree


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)  # whether or not the parser in C is installed
    yaml.Composer = _Composer
    yaml.Constructor = _Constructor
    return yaml


class _Composer(Composer):
    """Refuses anchors, aliases and tags: with them a short file can stand for endless values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        if event.anchor is not None or getattr(event, "tag", None) is not None:
            raise ComposerError(
                problem="found an anchor, an alias or a tag; expected a plain value",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)


class _Constructor(SafeConstructor):
    """Makes values of a YAML file; names the line of one that cannot be made."""

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, str):
                value.encode()  # an escape can name half a character, which nothing can print
        except ValueError as error:
            kind = str(node.tag).rpartition(":")[2]
            raise ConstructorError(
                problem=f"{given(node.value)} is no !!{kind} ({error})",
                problem_mark=node.start_mark,
            ) from None
        return value


def _at(error: MarkedYAMLError) -> str:
    return f"line {error.problem_mark.line + 1}" if error.problem_mark else "somewhere"


def _line(problem: object) -> str:
    """A text of any length and shape as one short line."""
    return textwrap.shorten(str(problem), 200, placeholder=" …")

"""What holds of every params.yaml, good or bad: loading and the schema agree about it."""

import math
from pathlib import Path
from typing import Any

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnpipe.params.loading import load_params
from cnnpipe.params.messages import schema_at
from cnnpipe.system.errors import InputError
from cnnpipe.validate.schema import Params, json_schema
from tests.properties.promises import QUIET
from torture.params import TEXT, TREE, Place, places, replaced, shown, write, wrong_values

PLACES = [place for place, _ in places(TREE) if place]
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
some = settings(QUIET, derandomize=True)


def allowed(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What a JSON schema allows, mappings with and without the keys that may be left out."""
    if "$ref" in schema:
        return allowed(json_schema()["$defs"][schema["$ref"].rpartition("/")[2]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "propertyNames" in schema:
        keys = st.sampled_from(schema["propertyNames"]["enum"])
        return st.dictionaries(keys, allowed(schema["additionalProperties"]))
    kind = schema["type"]
    if kind == "object":
        parts = {key: allowed(part) for key, part in schema["properties"].items()}
        needed = {key: parts.pop(key) for key in schema.get("required", ())}
        return st.fixed_dictionaries(needed, optional=parts)
    if kind == "array":
        fewest, most = schema.get("minItems", 0), min(schema.get("maxItems", 3), 3)
        return st.lists(allowed(schema["items"]), min_size=fewest, max_size=most)
    if kind == "string":
        return st.from_regex(schema["pattern"], fullmatch=True)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if kind == "integer":
        return st.integers(low, high - ("exclusiveMaximum" in schema) if high else None)
    return st.floats(
        low,
        high,
        exclude_min="exclusiveMinimum" in schema,
        exclude_max="exclusiveMaximum" in schema,
        allow_infinity=False,
    )


def problem(folder: Path, content: dict[str, Any] | str | bytes) -> str | None:
    """What is said of the parameters, without the file's name; None if they are accepted."""
    path = write(folder / "params.yaml", content)
    try:
        load_params(Params, path)
    except InputError as error:
        return str(error).removeprefix(f"{path}: ")
    return None


def agrees(found: Any, written: Any) -> bool:
    """Whether all that was written was found; a mapping may hold more."""
    if isinstance(written, dict):
        return all(agrees(found[key], value) for key, value in written.items())
    if isinstance(written, list):
        return len(found) == len(written) and all(map(agrees, found, written))
    return bool(found == written)


@settings(some, max_examples=25)
@given(tree=allowed(json_schema()))
def test_every_valid_tree_comes_back_from_its_file(tmp_path: Path, tree: dict[str, Any]) -> None:
    found = load_params(Params, write(tmp_path / "params.yaml", tree)).model_dump()
    assert agrees(found, tree)
    train = tree["train"]
    for name, own in tree["models"].items():
        augment = train["augment"] | own.get("augment", {})
        assert agrees(found["models"][name], train | own | {"augment": augment})


@st.composite
def wrong_changes(draw: st.DrawFn) -> tuple[Place, Any]:
    place = draw(st.sampled_from(PLACES))
    return place, draw(st.sampled_from(wrong_values(place)))


@settings(some, max_examples=80)
@given(change=wrong_changes())
def test_a_wrong_value_is_refused_by_its_key(tmp_path: Path, change: tuple[Place, Any]) -> None:
    place, value = change
    said = problem(tmp_path, replaced(place, value))
    assert said is not None
    assert said.startswith(f"{shown(place)}: got ")
    assert "; expected " in said
    assert said.isprintable()


PIECES = (
    *("seed", "data", "train", "models", ": ", ":", " ", "  ", "\n", "\n  ", "- ", "? ", ", ", "#"),
    *("[", "]", "{", "}", "&a ", "*a", "<<", "!!int ", "!!bool ", "!!set ", "!", "|", ">", "---\n"),
    *("...\n", "%YAML 1.1\n", "'", '"', "\\", "\t", "1", "-1", "1e9", "0x", ".nan", ".inf", "null"),
    *("true", "2020-01-01", "~", "=", "\ufeff", "\x85", "\u2028", "\x00", "é", "😀", "@", "`", "%"),
)


@settings(some, max_examples=250)
@given(
    content=st.one_of(
        st.text(max_size=200),
        st.binary(max_size=200),
        st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    )
)
def test_any_other_content_is_refused_in_one_line(tmp_path: Path, content: str | bytes) -> None:
    try:
        said = problem(tmp_path, content)
    except UnicodeEncodeError:  # of the test's own writing: half a letter has no UTF-8
        return
    assert said
    assert said.isprintable()
    assert len(said) < 500


@settings(some, max_examples=50)
@given(
    start=st.integers(0, len(TEXT)),
    removed=st.integers(0, 60),
    added=st.lists(st.sampled_from(PIECES), max_size=4).map("".join),
)
def test_any_edit_of_the_file_is_accepted_or_refused_in_one_line(
    tmp_path: Path, start: int, removed: int, added: str
) -> None:
    said = problem(tmp_path, TEXT[:start] + added + TEXT[start + removed :])
    assert said is None or (said.isprintable() and len(said) < 500)


@st.composite
def changes(draw: st.DrawFn) -> tuple[Place, Any]:
    """A value right or wrong, of those that JSON and YAML can express alike."""
    place = draw(st.sampled_from(PLACES))
    schema = schema_at(json_schema(), place)
    wrong = [value for value in wrong_values(place) if alike(value)]
    return place, draw(st.one_of(allowed(schema), st.sampled_from(wrong)))


def alike(value: Any) -> bool:
    """JSON schema takes 10.0 for an integer, infinity for a number, and text up to a line's end."""
    if isinstance(value, float):
        return math.isfinite(value) and not value.is_integer()
    return not (isinstance(value, str) and "\n" in value)


@settings(some, max_examples=80)
@given(change=changes())
def test_the_schema_for_editors_accepts_what_loading_accepts(
    tmp_path: Path, change: tuple[Place, Any]
) -> None:
    tree = replaced(*change)
    said = problem(tmp_path, tree)
    assert VALIDATOR.is_valid(tree) == (said is None), said

"""A bad params.yaml, or a bad command, ends at once in a line that says what to mend."""

from __future__ import annotations

import math
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cnnpipe.params.messages import schema_at
from cnnpipe.params.models import MODEL_NAMES
from cnnpipe.validate.schema import json_schema
from torture.campaign import Trial, judged, promise
from torture.project import ROOT, run_in

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
TREE: dict[str, Any] = YAML(typ="safe").load(TEXT)

Place = tuple[int | str, ...]
"""Such as ("models", "vgg", "blocks", 0)."""
Content = str | bytes | dict[Any, Any] | Callable[[Path], object]
"""Of params.yaml, or what makes something else of that name."""

SECONDS = 5
"""Of computing, the start of Python included, in which a stage must have said what is wrong."""


def places(node: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Everything in a tree of mappings and lists, with where it stands; the tree itself last."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from places(value, (*place, key))
        else:
            yield (*place, key), value
    yield place, node


def replaced(place: Place, value: Any) -> dict[str, Any]:
    """The parameters that ship, with another value at one place."""
    tree = deepcopy(TREE)
    _section(tree, place)[place[-1]] = value
    return tree


def _section(tree: Any, place: Place) -> Any:
    """What holds the value at a place."""
    for part in place[:-1]:
        tree = tree[part]
    return tree


def wrong_values(place: Place) -> list[Any]:
    """Values that are not allowed at a place: of another type, or just out of range."""
    schema = schema_at(json_schema(), place)
    wrong: list[Any] = [None]
    if "enum" in schema:
        first = schema["enum"][0]
        return [*wrong, f"{first}x", first[:-1], first.upper(), "", 3, True, [first], {first: 1}]
    kind = schema["type"]
    if kind != "string":
        wrong += ["", "text", "1"]
    if kind not in ("integer", "number"):
        wrong += [0, 1.5, math.nan]
    if kind != "array":
        wrong += [[], [1], [[]]]
    if kind != "object":
        wrong += [{"a": 1}, True, False]
    if kind == "integer":
        wrong += [1.5, 10.0, math.nan]
    if kind in ("integer", "number"):
        wrong += [math.inf, -math.inf, math.nan, -1, -(10**30)]
        if "maximum" in schema:
            wrong += [schema["maximum"] + 1, 10**400]
        if "minimum" in schema:
            wrong.append(schema["minimum"] - 1)
        exclusive = ("exclusiveMinimum", "exclusiveMaximum")
        wrong += [schema[limit] for limit in exclusive if limit in schema]
    if kind == "string":
        wrong += ["", "text", f"{schema['pattern']}", "auto\n", "http://a b"]
    if kind == "array":
        items = [value for at, value in places(TREE) if at == (*place, 0)]
        wrong += [[]] if schema.get("minItems") else []
        wrong += [items * (schema["maxItems"] + 1)] if "maxItems" in schema else []
    return wrong


def shown(place: Place) -> str:
    return ".".join(map(str, place))


NUMBERS = [("seed", "1"), ("timeout", "20"), ("epochs", "12"), ("hidden", "128"), ("draws", "2000")]
"""Keys and their values, as they stand in the file."""

Bad = tuple[str, Content, str]
"""What was done, what params.yaml holds, and how the line about it starts."""


def _wrong_value(randomness: random.Random) -> Bad:
    place = randomness.choice([place for place, _ in places(TREE) if place])
    value = randomness.choice(wrong_values(place))
    return f"{shown(place)} = {repr(value)[:60]}", replaced(place, value), f"{shown(place)}: got "


def _unknown_key(randomness: random.Random) -> Bad:
    tree, section, place = _any_section(randomness)
    key = "".join(randomness.choices("abcdefghijklmnopqrstuvwxyz_", k=randomness.randint(1, 30)))
    section[f"x{key}"] = randomness.choice([1, "text", None, [], {"a": 1}, math.nan])
    said = shown((*place, f"x{key}"))
    return f"{said} added", tree, f"{said}: unknown key; "


def _misspelt_key(randomness: random.Random) -> Bad:
    tree, section, place = _any_section(randomness)
    key = randomness.choice(list(section))
    at = randomness.randrange(len(key))
    ways = [key[:at] + key[at + 1 :], f"{key[:at]}q{key[at:]}", key.upper(), f"{key} ", f"{key}s"]
    schema = schema_at(json_schema(), place)
    allowed = schema["properties"] if "properties" in schema else schema["propertyNames"]["enum"]
    misspelt = randomness.choice([way for way in ways if way not in allowed])
    section[misspelt] = section.pop(key)
    said = shown((*place, misspelt))
    return f"{shown((*place, key))} spelt {said}", tree, f"{said}: unknown key; "


def _key_of_another_kind(randomness: random.Random) -> Bad:
    tree, section, place = _any_section(randomness)
    key = randomness.choice([1, 1.5, True, None, -3, math.inf])
    section[key] = 1
    said = f"{shown(place)}.".lstrip(".")
    return f"the key {key!r} in {said or 'the file'}", tree, said


def _any_section(randomness: random.Random) -> tuple[Any, Any, Place]:
    tree = deepcopy(TREE)
    place, section = randomness.choice([p for p in places(tree) if isinstance(p[1], dict)])
    return tree, section, place


def _missing_key(randomness: random.Random) -> Bad:
    required = [
        place
        for place, _ in places(TREE)
        if place and place[-1] in schema_at(json_schema(), place[:-1]).get("required", ())
    ]
    place = randomness.choice(required)
    tree = deepcopy(TREE)
    del _section(tree, place)[place[-1]]
    return f"{shown(place)} missing", tree, f"{shown(place)}: missing; expected "


def _key_lines() -> list[int]:
    """Indices of the lines of the file that start with a key."""
    return [i for i, line in enumerate(TEXT.splitlines()) if re.match(r" *\w+:", line)]


def _changed_line(randomness: random.Random, change: Callable[[str], str]) -> tuple[str, str, int]:
    """What was done, the file with one of its lines changed, and the number of that line."""
    lines = TEXT.splitlines()
    index = randomness.choice(_key_lines())
    lines[index] = change(lines[index])
    return f"line {index + 1}: {lines[index]!r:.60}", "\n".join(lines) + "\n", index + 1


def _duplicate_key(randomness: random.Random) -> Bad:
    done, text, line = _changed_line(randomness, lambda line: f"{line.partition(':')[0]}:\n{line}")
    return f"twice, {done}", text, f"line {line + 1}: found duplicate key "


def _tab(randomness: random.Random) -> Bad:
    done, text, _ = _changed_line(randomness, lambda line: f"\t{line.lstrip()}")
    return done, text, "not YAML: line "


def _indentation(randomness: random.Random) -> Bad:
    def shifted(line: str) -> str:
        return line[1:] if line[0] == " " else f" {line}"

    while True:
        done, text, _ = _changed_line(randomness, shifted)
        # The only key of a section may stand anywhere.
        if _read(text) != TREE:
            return f"shifted, {done}", text, ""


def _read(text: str) -> Any:
    try:
        return YAML(typ="safe").load(text)
    except YAMLError:
        return None


def _value_of_signs(randomness: random.Random) -> Bad:
    signs = randomness.choice(["{", "[", "'", '"', "}", "]", "@", "`", "&", "*", "%", "? -", "!"])
    key, shipped = randomness.choice(NUMBERS)
    return f"{key}: {signs}", TEXT.replace(f"{key}: {shipped}", f"{key}: {signs}", 1), ""


def _no_colon(randomness: random.Random) -> Bad:
    done, text, _ = _changed_line(randomness, lambda line: line.replace(":", "", 1))
    return done, text, ""


def _truncated(randomness: random.Random) -> Bad:
    end = randomness.randrange(TEXT.index("dropout: 0.0"))  # which the first recipe must have
    return f"the first {end} letters", TEXT[:end], ""


VALUES = (
    *("!!python/object/apply:os.mkdir [run]", "!!python/name:os.system", "!foo 1", "!!int x"),
    *("!!int ''", "!!bool maybe", "!!float ''", "!!float x", "!!binary '#'", "!!binary a"),
    *("!!set {a}", "!!omap [a: 1]", "!!pairs [a]", "!!timestamp x", "!!null x", "!!map x"),
    *("!!seq x", "!!merge x", "!!str x", "!<tag:example.org,2000:x> 1", "2020-99-99", "2020-01-01"),
    *("2020-01-01T99:00:00", "0000-01-01", "0x_", "0b_", "._", "=", '"\\ud800"', '"\\x"'),
    *('"\\U00110000"', "0o9", "1_000_000_000_000_000_000_000_000"),
)
"""Values that YAML itself may choke on, with tags and without."""


def _tagged(randomness: random.Random) -> Bad:
    value = randomness.choice(VALUES)
    return f"seed: {value}", TEXT.replace("seed: 1", f"seed: {value}", 1), ""


def _number_of_no_end(randomness: random.Random) -> Bad:
    many = randomness.randint(400, 30_000)
    number = randomness.choice(["9" * many, f"0x{'f' * many}", f"1e{many}", f"-{'1' * many}.5"])
    key, shipped = randomness.choice(NUMBERS)
    text = TEXT.replace(f"{key}: {shipped}", f"{key}: {number}", 1)
    return f"{key}: {number[:9]}… ({len(number)} signs)", text, ""


def _nested(randomness: random.Random) -> Bad:
    depth = randomness.randint(1_000, 8_000)
    opening = randomness.choice(["[", "{a: ", "- ", "? ", "[[{", "!!seq [", "&a ["])
    return f"{opening!r} {depth} times", (opening * depth)[:32_000], "not YAML: "


def _bomb(randomness: random.Random) -> Bad:
    """A small file that stands for a large one."""
    letters = "abcdefghijklmnopqrstuvwxyz"[: randomness.randint(6, 26)]
    width = randomness.randint(4, 30)
    kinds = {
        "lists": ("[x, x]", "[", "]"),
        "mappings in lists": ("{k: 1}", "[", "]"),
        "merges": ("{k: 1}", "{<<: [", "]}"),
    }
    kind = randomness.choice(list(kinds))
    first, start, end = kinds[kind]
    rows = (f"{b}: &{b} {start}{', '.join([f'*{a}'] * width)}{end}\n" for a, b in pairwise(letters))
    done = f"{len(letters)} rows of {width} aliases each, {kind}"
    return done, f"a: &a {first}\n" + "".join(rows), ""


def _wide(randomness: random.Random) -> Bad:
    """As many of a thing as fit into the file."""
    kinds = {
        "keys": "".join(f"k{number}: 1\n" for number in range(3_000)),
        "items": f"seed: [{'1,' * 16_000}]\n",
        "rows": "models: {vgg: {blocks: [" + "[x]," * 8_000 + "]}}\n",
        "mirrors": "data:\n  mirrors:\n" + "    - ftp://a\n" * 2_000,
        "recipes": f"train: &t {{{', '.join(f'k{key}: 1' for key in range(999))}}}\n"
        f"race: {{recipes: [{'*t, ' * 5_000}]}}\n",
        "models": f"train: &t {{{', '.join(f'k{key}: 1' for key in range(999))}}}\n"
        f"models: {{{', '.join(f'm{key}: *t' for key in range(999))}}}\n",
        "comments": "#\n" * 16_000,
        "lines": "\n" * 32_000,
        "spaces": " " * 32_000,
        "a string": f"seed: '{'x' * 32_000}'\n",
        "a key": f"{'x' * 900}: 1\n{TEXT}",
        "a long key": f"? {'x' * 32_000}\n: 1\n",
        "bytes": TEXT + "#" * 2**15,
    }
    kind = randomness.choice(list(kinds))
    return f"many {kind}", kinds[kind], ""


def _other_file(randomness: random.Random) -> Bad:
    contents: dict[str, Content] = {
        "nothing": "",
        "a comment": "# nothing\n",
        "a list": "- seed: 1\n",
        "a word": "seed",
        "a number": "3",
        "null": "~\n",
        "a document after it": f"{TEXT}---\nseed: 2\n",
        "two documents": f"{TEXT}---\n{TEXT}",
        "YAML 1.3": f"%YAML 1.3\n---\n{TEXT}",
        "YAML 3": f"%YAML 3.0\n---\n{TEXT}",
        "UTF-16": TEXT.encode("utf-16"),
        "UTF-32": TEXT.encode("utf-32"),
        "Latin 1": TEXT.encode("latin-1", "replace"),
        "noise": randomness.randbytes(999),
        "a byte": TEXT.encode() + bytes([randomness.randrange(128, 256)]),
        "NUL": TEXT.replace("seed", "se\0ed", 1),
        "a bell": TEXT.replace("seed", "\x07seed", 1),
        "a red key": f'"\\e[31mred\\e[0m": 1\n{TEXT}',
        "a key of two lines": f'"a\\nb": 1\n{TEXT}',
        "half a letter as a key": f'"\\ud800": 1\n{TEXT}',
        "a list as a key": f"? [a, b]\n: 1\n{TEXT}",
        "a mapping as a key": f"? {{a: b}}\n: 1\n{TEXT}",
        "no such alias": TEXT.replace("seed: 1", "seed: *other", 1),
        "itself": TEXT.replace("seed: 1", "seed: &a [*a]", 1),
        "itself merged": "train: &t {<<: *t}\n",
        "a number merged": f"<<: 3\n{TEXT}",
        "numbers merged": f"<<: [1, 2]\n{TEXT}",
        "an unknown key merged": f"<<: {{sede: 1}}\n{TEXT}",
        "merged twice": f"<<: {{seed: 1}}\n<<: {{seed: 1}}\n{TEXT}",
        "JSON of another project": '{"name": "x", "version": 1}\n',
        "a web page": "<!DOCTYPE html>\n<html></html>\n",
        "no file": lambda path: path.unlink(missing_ok=True),
        "a folder": lambda path: path.mkdir(),
        "a link to itself": lambda path: path.symlink_to(path.name),
        "a conflict of git": TEXT.replace("seed: 1", "<<<<<<< HEAD\nseed: 1\n=======\nseed: 2", 1),
    }
    kind = randomness.choice(list(contents))
    return f"holds {kind}", contents[kind], ""


KINDS: tuple[Callable[[random.Random], Bad], ...] = (
    *(_wrong_value, _wrong_value, _wrong_value, _wrong_value, _unknown_key, _misspelt_key),
    *(_key_of_another_kind, _missing_key, _duplicate_key, _tab, _indentation, _value_of_signs),
    *(_no_colon, _truncated, _tagged, _tagged, _number_of_no_end, _nested, _bomb, _wide),
    *(_other_file, _other_file, _other_file),
)


@promise(
    f"A bad params.yaml ends the pipeline's first stage within {SECONDS} s of computing, in one "
    "line that names the key, or says where the file is no YAML, and what is allowed; nothing is "
    "written",
    full=280,
    few=8,
)
def files(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    kinds: list[Callable[[random.Random], Bad]] = []
    for number in range(count):
        kinds = kinds or randomness.sample(KINDS, len(KINDS))
        done, content, start = kinds.pop()(randomness)
        here = _project(folder / f"{number}", content)
        yield Trial(done, *_refused(here, start))
        shutil.rmtree(here)


def _project(folder: Path, content: Content) -> Path:
    """A folder with these parameters and results of before."""
    (folder / "reports").mkdir(parents=True)
    (folder / "reports" / "metrics.json").write_text("{}\n")
    (folder / "params.schema.json").write_text("of before")
    path = folder / "params.yaml"
    if isinstance(content, dict):
        with path.open("w", encoding="utf-8") as file:
            YAML(typ="safe").dump(content, file)
    elif isinstance(content, str | bytes):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    else:
        content(path)
    return folder


TELLING = re.compile(r"expected|allowed|line \d+|not UTF-8 text|not YAML: |no such file")


def _refused(folder: Path, start: str) -> tuple[bool, str]:
    before, started = _snapshot(folder), _computed()
    result = run_in(folder, "-m", "stages.validate")
    seconds = _computed() - started
    line = result.stderr.removesuffix("\n")
    checks = {
        "status": result.returncode == 1,
        "one line": line.isprintable() and line != result.stderr,
        "the key": line.startswith(f"Error: params.yaml: {start}"),
        "what is allowed": TELLING.search(line) is not None,
        "length": len(line) < 500,
        "nothing else": result.stdout == "",
        "nothing written": _snapshot(folder) == before,
        "time": seconds < SECONDS,
    }
    return judged(checks, f"expected {start!r} in {seconds:.1f} s: {result.stderr}")


def _computed() -> float:
    """Seconds of all processes that this one waited for: the same on a busy machine."""
    times = os.times()
    return times.children_user + times.children_system


def _snapshot(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


OF_A_MODEL = ("train", "evaluate", "visualize", "explain")
OTHERS = ("validate", "download", "verify", "principles", "handcrafted", "report", "summarize")
NEED_RESULTS = (*OF_A_MODEL, "principles", "handcrafted", "summarize")
"""Stages that read what others wrote; the report says on its page what it lacks."""


@promise(
    "A stage that is given a wrong name, a needless argument or an unknown option says which, and "
    "what is allowed; nothing is written",
    full=24,
    few=1,
)
def commands(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    more = [(), MODEL_NAMES, ("nosuch",), ("LeNet5",), ("",), ("../vgg",), ("vgg", "--epochs", "3")]
    cases = [(stage, names) for stage in OF_A_MODEL for names in more]
    cases += [(stage, names) for stage in OTHERS for names in (("lenet5",), ("--nosuch",))]
    here = _project(folder / "project", TEXT)
    for stage, arguments in randomness.choices(cases, k=count):
        before = _snapshot(here)
        result = run_in(here, "-m", f"stages.{stage}", *arguments)
        wrong = [argument for argument in arguments[-2:] if argument not in MODEL_NAMES]
        checks = {
            "status": result.returncode == 2,
            "the error": "\nError: " in result.stderr and "Traceback" not in result.stderr,
            "what is wrong": all(argument in result.stderr for argument in wrong[:1]),
            "what is allowed": "{lenet5|vgg}" in result.stderr or stage in OTHERS,
            "nothing else": result.stdout == "",
            "nothing written": _snapshot(here) == before,
        }
        yield Trial(" ".join([stage, *map(repr, arguments)]), *judged(checks, result.stderr))


@promise(
    "A stage whose inputs are missing names the first of them and what makes it, in one line; "
    "nothing is written",
    full=len(NEED_RESULTS),
    few=0,
)
def inputs(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    here = _project(folder / "project", TEXT)
    for number in range(count):
        stage = NEED_RESULTS[number % len(NEED_RESULTS)]
        arguments = [randomness.choice(MODEL_NAMES)] if stage in OF_A_MODEL else []
        before = _snapshot(here)
        result = run_in(here, "-m", f"stages.{stage}", *arguments)
        checks = {
            "status": result.returncode == 1,
            "one line": result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1,
            "the cure": "no such file; " in result.stderr and "dvc repro" in result.stderr,
            "nothing else": result.stdout == "",
            "nothing written": _snapshot(here) == before,
        }
        yield Trial(" ".join([stage, *arguments]), *judged(checks, result.stderr))

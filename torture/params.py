"""A bad params.yaml, or a bad command, ends at once in a line that says what to mend."""

from __future__ import annotations

import math
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import SafeRepresenter

from cnnpipe.networks import MODEL_NAMES
from cnnpipe.params.messages import schema_at
from cnnpipe.validate.schema import json_schema
from torture.campaign import Trial, in_turn, promise
from torture.damage import OBSTACLES, FileDamage
from torture.project import ROOT, not_refused

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
TREE: dict[str, Any] = YAML(typ="safe", pure=True).load(TEXT)
LINE = TEXT[: TEXT.index("seed: 1")].count("\n") + 1
"""Of the seed."""

Place = tuple[int | str, ...]
"""Such as ("models", "vgg", "blocks", 0)."""
Content = str | bytes | dict[Any, Any] | FileDamage
"""Of params.yaml, or what puts something else in its place."""

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


def without(place: Place) -> dict[str, Any]:
    """The parameters that ship, without the key at one place."""
    tree = deepcopy(TREE)
    del _section(tree, place)[place[-1]]
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
        wrong += [f"{first}x", "", 4, True, [first], {first: 1}]
        return wrong + ([first[:-1], first.upper()] if isinstance(first, str) else [float(first)])
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
        texts = ["", " ", "text", schema["pattern"], "auto\n", "http://a b"]
        wrong += [text for text in texts if not re.fullmatch(schema["pattern"].strip("^$"), text)]
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
    return f"{shown(place)} missing", without(place), f"{shown(place)}: missing; expected "


LINES: dict[str, tuple[Callable[[str], str], str]] = {
    "a key twice": (lambda line: f"{line.partition(':')[0]}:\n{line}", "found duplicate key "),
    "a tab": (lambda line: f"\t{line.lstrip()}", "not YAML: line "),
    "shifted": (lambda line: line[1:] if line[0] == " " else f" {line}", ""),
    "no colon": (lambda line: line.replace(":", "", 1), ""),
}
"""Changes of a line that starts with a key, and what is said of each."""


def _changed_line(randomness: random.Random) -> Bad:
    lines = TEXT.splitlines()
    with_keys = [index for index, line in enumerate(lines) if re.match(r" *\w+:", line)]
    done, (change, said) = randomness.choice(list(LINES.items()))
    while True:
        index = randomness.choice(with_keys)
        text = "\n".join([*lines[:index], change(lines[index]), *lines[index + 1 :]]) + "\n"
        if _read(text) != TREE:  # the only key of a section may be anywhere
            break
    if "duplicate" in said:
        said = f"line {index + 2}: {said}"
    return f"{done}, line {index + 1}", text, said


def _read(text: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return None


def _truncated(randomness: random.Random) -> Bad:
    end = randomness.randrange(TEXT.index("dropout: 0.0"))  # which the first recipe must have
    return f"the first {end} letters", TEXT[:end], ""


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


NO_MAPPING = "; expected a mapping of seed, data, verify, train, models, evaluate"
TAGGED = "found an anchor, an alias or a tag; expected a plain value"
MANY_KEYS = ", ".join(f"k{number}: 1" for number in range(999))
FILES: dict[str, tuple[Content, str]] = {
    "nothing": ("", f"holds nothing{NO_MAPPING}"),
    "a comment": ("# nothing\n", f"holds nothing{NO_MAPPING}"),
    "comments": ("#\n" * 16_000, f"holds nothing{NO_MAPPING}"),
    "lines": ("\n" * 32_000, f"holds nothing{NO_MAPPING}"),
    "spaces": (" " * 32_000, f"holds nothing{NO_MAPPING}"),
    "null": ("~\n", f"holds nothing{NO_MAPPING}"),
    "a list": ("- seed\n", f"holds ['seed']{NO_MAPPING}"),
    "a word": ("seed", f"holds 'seed'{NO_MAPPING}"),
    "a number": ("3", f"holds 3{NO_MAPPING}"),
    "a web page": ("<!DOCTYPE html>\n<html></html>\n", "holds '<!DOCTYPE html>"),
    "JSON of another project": (
        '{"name": "x", "version": 1}\n',
        "name: unknown key; allowed here: ",
    ),
    "a document after it": (f"{TEXT}---\nseed: 2\n", "not YAML: line "),
    "two documents": ("seed: 1\n---\nseed: 1\n", "not YAML: line 2: but found another document"),
    "YAML 1.3": (f"%YAML 1.3\n---\n{TEXT}", "not YAML: version minor part can only be 2 or 1"),
    "YAML 3": (f"%YAML 3.0\n---\n{TEXT}", "not YAML: line 1: found incompatible YAML document"),
    "UTF-16": (TEXT.encode("utf-16"), "not UTF-8 text: invalid start byte at byte 0"),
    "UTF-32": (TEXT.encode("utf-32"), "not UTF-8 text: invalid start byte at byte 0"),
    "Latin 1": (TEXT.encode("latin-1", "replace"), "not UTF-8 text: "),
    "a byte more": (TEXT.encode() + b"\xff", "not UTF-8 text: invalid start byte at byte "),
    "NUL": (TEXT.replace("seed", "se\0ed", 1), "not YAML: unacceptable character #x0000"),
    "a bell": (TEXT.replace("seed", "\x07seed", 1), "not YAML: unacceptable character #x0007"),
    "a red key": (f'"\\e[31mred\\e[0m": 1\n{TEXT}', r"'\x1b[31mred\x1b[0m': unknown key"),
    "a key of two lines": (f'"a\\nb": 1\n{TEXT}', r"'a\nb': unknown key; allowed here: seed,"),
    "half a letter as a key": (
        f'"\\ud800": 1\n{TEXT}',
        r"not YAML: line 1: '\ud800' is no !!str (",
    ),
    "a number as a key": ("1: 2\n", "1: unknown key"),
    "a list as a key": (f"? [a, b]\n: 1\n{TEXT}", "('a', 'b'): unknown key"),
    "a mapping as a key": (f"? {{a: b}}\n: 1\n{TEXT}", "not YAML: line 1: found unhashable key"),
    "a key twice": ("data:\n  name: a\n  name: b\n", 'line 3: found duplicate key "name"'),
    "a value and a section": ("seed: 1\n  data: 2\n", "not YAML: line 2: mapping values are not"),
    "itself merged": ("train: &t {<<: *t}\n", f"not YAML: line 1: {TAGGED}"),
    "a number merged": (f"<<: 3\n{TEXT}", "not YAML: line 1: expected a mapping or list of mappi"),
    "numbers merged": (f"<<: [1, 2]\n{TEXT}", "not YAML: line 1: expected a mapping for merging"),
    "an unknown key merged": (f"<<: {{sede: 1}}\n{TEXT}", "sede: unknown key; did you mean seed?"),
    "merged twice": (
        f"<<: {{seed: 1}}\n<<: {{seed: 1}}\n{TEXT}",
        "line 2: found duplicate merge k",
    ),
    "a conflict of git": (
        TEXT.replace("seed: 1", "<<<<<<< HEAD\nseed: 1", 1),
        "not YAML: line 7: ",
    ),
    "many keys": ("".join(f"k{number}: 1\n" for number in range(3_000)), "k0: unknown key; "),
    "many items": (f"seed: [{'1,' * 16_000}]\n", "seed: got [1, 1, 1, "),
    "many rows": ("models: {vgg: {blocks: [" + "[x]," * 8_000 + "]}}\n", "seed: missing; "),
    "many mirrors": ("data:\n  mirrors:\n" + "    - ftp://a\n" * 2_000, "seed: missing; "),
    "many recipes": (
        f"train: &t {{{MANY_KEYS}}}\nrace: {{recipes: [{'*t, ' * 5_000}]}}\n",
        "not YAML: ",
    ),
    "many models": (
        f"train: &t {{{MANY_KEYS}}}\nmodels: {{{MANY_KEYS.replace(': 1', ': *t')}}}\n",
        "not YAML: ",
    ),
    "a long string": (f"seed: '{'x' * 32_000}'\n", "seed: got 'xxx"),
    "a long key": (f"{'x' * 900}: 1\n{TEXT}", "'xxx"),
    "a longer key": (f"? {'x' * 32_000}\n: 1\n", "'xxx"),
    "a long number": (f"seed: {'9' * 5_000}\n", "not YAML: line 1: '99999"),
    "a long number in hexadecimal": (f"{TEXT}\nbig: 0x{'f' * 6_000}\n", "big: unknown key"),
    "too many bytes": ("# " + "x" * 2**15, "32770 bytes; expected at most 32768"),
    "no file": (OBSTACLES["no file"], "no such file; run from the project's root"),
    "a folder": (OBSTACLES["a folder"], "Is a directory; expected a file of YAML"),
    "a link to itself": (
        OBSTACLES["a link to itself"],
        "Too many levels of symbolic links; expect",
    ),
    "a link to nothing": (
        OBSTACLES["a link to nothing"],
        "no such file; run from the project's root",
    ),
}
"""What params.yaml may hold instead, and how the line about it starts."""

VALUES: dict[str, str] = {
    **dict.fromkeys(
        (
            *(
                "!!python/object/apply:os.mkdir [run]",
                "!!python/name:os.system",
                "!foo 1",
                "!!int x",
            ),
            *("!!int ''", "!!bool maybe", "!!float ''", "!!float x", "!!binary '#'", "!!binary a"),
            *("!!set {a}", "!!omap [a: 1]", "!!pairs [a]", "!!timestamp x", "!!null x", "!!map x"),
            *("!!seq x", "!!merge x", "!!str x", "!<tag:example.org,2000:x> 1", "! 1", "*other"),
            *("&a [*a]", "[&a 1, &a 2]", "[&a {k: 1}, &b {<<: [*a, *a]}]"),
        ),
        TAGGED,
    ),
    "2020-99-99": "'2020-99-99' is no !!timestamp (month must be",
    "2020-01-01T99:00:00": "'2020-01-01T99:00:00' is no !!timestamp (hour must be",
    "0000-01-01": "'0000-01-01' is no !!timestamp (year 0",
    "0x_": "'0x_' is no !!int (",
    "0b_": "'0b_' is no !!int (",
    "._": "'._' is no !!float (",
    "=": "could not determine a constructor",
    '"\\ud800"': r"'\ud800' is no !!str (",
    '"\\x"': "expected escape sequence of 2",
    "? -": "mapping keys are not allowed here",
    **dict.fromkeys("}]", "expected the node content"),
    **dict.fromkeys("@`%", "found character "),
    **dict.fromkeys("&*", "expected alphabetic or numeric character"),
}
"""Values that YAML itself refuses, with tags and without, and what is said of each."""
FILES |= {
    f"seed: {value}": (
        TEXT.replace("seed: 1", f"seed: {value}", 1),
        f"not YAML: line {LINE}: {said}",
    )
    for value, said in VALUES.items()
} | {
    f"seed: {value}": (TEXT.replace("seed: 1", f"seed: {value}", 1), said)
    for value, said in {
        "2020-01-01": "seed: got datetime.date(2020, 1, 1); ",
        "0o9": "seed: got '0o9'; ",
        f"1{'_000' * 8}": "seed: got 1000000000000",
        f"0x{'f' * 6_000}": "seed: got a number of too many digit",
        '"\\U00110000"': "not YAML: chr() arg not in range(0x110000)",
        **dict.fromkeys("{['\"", "not YAML: line "),
    }.items()
}

KINDS: tuple[Callable[[random.Random], Bad], ...] = (
    *(_wrong_value, _wrong_value, _wrong_value, _unknown_key, _misspelt_key),
    *(_key_of_another_kind, _missing_key, _changed_line, _changed_line, _changed_line),
    *(_changed_line, _truncated, _number_of_no_end, _nested, _bomb),
)


@promise(
    f"A bad params.yaml ends the pipeline's first stage within {SECONDS} s of computing, in one "
    "line that names the key, or says where the file is no YAML, and what is allowed; nothing is "
    "written",
    full=280,
    few=8,
)
def files(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    files, kinds = in_turn(FILES.items(), randomness), in_turn(KINDS, randomness)
    for number in range(count):
        if number % 2:
            done, content, start = next(kinds)(randomness)
        else:
            done, (content, start) = next(files)
        with _project(folder / "project", content) as here:
            yield Trial(f"{done}; expected {start!r}", _not_named(here, start))


@contextmanager
def _project(folder: Path, content: Content) -> Iterator[Path]:
    """A folder with these parameters and results of before."""
    (folder / "reports").mkdir(parents=True)
    (folder / "reports" / "metrics.json").write_text("{}\n")
    (folder / "params.schema.json").write_text("of before")
    write(folder / "params.yaml", content)
    yield folder
    shutil.rmtree(folder)


class _Representer(SafeRepresenter):
    """Writes a list twice that stands in two places: an alias would be refused as such."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def write(path: Path, content: Content) -> Path:
    if isinstance(content, dict):
        yaml = YAML(typ="safe")  # in C where that is installed: in half the time
        yaml.Representer = _Representer
        with path.open("w", encoding="utf-8") as file:
            yaml.dump(content, file)
    elif isinstance(content, str | bytes):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    else:
        content(path, random.Random(0))
    return path


TELLING = re.compile(r"expected|allowed|line \d+|not UTF-8 text|not YAML: |no such file")


def _not_named(folder: Path, start: str) -> str:
    started = _computed()

    def checks(said: str) -> dict[str, bool]:
        line = said.removesuffix("\n")
        return {
            "one line": line.isprintable() and line != said,
            "the key": line.startswith(f"Error: params.yaml: {start}"),
            "what is allowed": TELLING.search(line) is not None,
            "length": len(line) < 500,
            "time": _computed() - started < SECONDS,
        }

    return not_refused(folder, "validate", status=1, checks=checks)


def _computed() -> float:
    """Seconds of all processes that this one waited for: the same on a busy machine."""
    times = os.times()
    return times.children_user + times.children_system


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
    with _project(folder / "project", TEXT) as here:
        for stage, arguments in randomness.choices(cases, k=count):
            wrong = [argument for argument in arguments[-2:] if argument not in MODEL_NAMES]
            names = "{lenet5|vgg}" if stage in OF_A_MODEL else ""

            def checks(
                said: str, wrong: list[str] = wrong[:1], names: str = names
            ) -> dict[str, bool]:
                return {
                    "the error": "\nError: " in said and "Traceback" not in said,
                    "what is wrong": all(argument in said for argument in wrong),
                    "what is allowed": names in said,
                }

            problem = not_refused(here, stage, *arguments, status=2, checks=checks)
            yield Trial(" ".join([stage, *map(repr, arguments)]), problem)


@promise(
    "A stage whose inputs are missing names the first of them and what makes it, in one line; "
    "nothing is written",
    full=len(NEED_RESULTS),
    few=0,
)
def inputs(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    def checks(said: str) -> dict[str, bool]:
        return {
            "one line": said.startswith("Error: ") and said.count("\n") == 1,
            "the cure": "no such file; " in said and "dvc repro" in said,
        }

    with _project(folder / "project", TEXT) as here:
        for stage in islice(cycle(NEED_RESULTS), count):
            arguments = [randomness.choice(MODEL_NAMES)] if stage in OF_A_MODEL else []
            problem = not_refused(here, stage, *arguments, status=1, checks=checks)
            yield Trial(" ".join([stage, *arguments]), problem)

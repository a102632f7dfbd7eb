"""The examples in docstrings are true; each public class and function of the library has one."""

import doctest
import inspect
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from cnnpipe import functional, geometry, layers, models
from tests.helpers.project import ROOT

EXAMPLE = re.compile(r"^ *>>> ", re.MULTILINE)


def examples_of_files() -> dict[str, int]:
    """How many examples each module has, by its text: no other module is imported."""
    found = {}
    for path in sorted((ROOT / "cnnpipe").rglob("*.py")):
        if number := len(EXAMPLE.findall(path.read_text(encoding="utf-8"))):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = number
    return found


def is_of(module: ModuleType, value: object) -> bool:
    """Whether it is a class or function that a module defines."""
    is_public = inspect.isclass(value) or inspect.isfunction(value)
    return is_public and value.__module__ == module.__name__


PUBLIC = {
    functional: functional.__all__,
    geometry: geometry.__all__,
    layers: [
        name
        for name, value in vars(layers).items()
        if is_of(layers, value) and not name.startswith("_")
    ],
    models: ["build_model", "loss_function", "predict", "load_model"],
}


@pytest.mark.parametrize(("name", "number"), examples_of_files().items())
def test_examples_are_true(name: str, number: int, tmp_path: Path) -> None:
    module = import_module(name)
    at_hand = {"torch": torch, "folder": tmp_path, "images": torch.zeros(8, 1, 28, 28)}
    names = vars(module) | at_hand | {"model": models.build_model("lenet5")}
    alone, all_below = doctest.DocTestFinder(recurse=False), doctest.DocTestFinder()
    tests = alone.find(module, name, globs=names)
    for key, value in vars(module).items():
        if is_of(module, value):
            # Without a module, which decorated functions are not taken to be of.
            tests += all_below.find(value, f"{name}.{key}", module=False, globs=names)
    assert sum(len(test.examples) for test in tests) == number, "some are where none is found"
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in tests:
        runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)


@pytest.mark.parametrize(
    "documented",
    [
        pytest.param(value, id=f"{module.__name__}.{name}")
        for module, names in PUBLIC.items()
        for name in names
        if inspect.isclass(value := getattr(module, name)) or inspect.isfunction(value)
    ],
)
def test_what_is_public_has_an_example(documented: Any) -> None:
    assert EXAMPLE.search(documented.__doc__)

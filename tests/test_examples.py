"""The examples in docstrings: each public class and function of the library has a true one."""

import doctest
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from cnnpipe import functional, geometry, layers, models


def is_public(value: object) -> bool:
    """A class or function, but no constant and no alias of a type."""
    return inspect.isclass(value) or inspect.isfunction(value)


def is_of(module: ModuleType, value: object) -> bool:
    return getattr(value, "__module__", None) == module.__name__


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


@pytest.mark.parametrize(
    ("module", "documented"),
    [
        pytest.param(module, value, id=f"{module.__name__}.{name}")
        for module, names in PUBLIC.items()
        for name in names
        if is_public(value := getattr(module, name))
    ],
)
def test_example_is_true(module: ModuleType, documented: Any, tmp_path: Path) -> None:
    names = vars(module) | {"torch": torch, "folder": tmp_path}
    finder = doctest.DocTestFinder(recurse=False)
    [test] = finder.find(documented, documented.__name__, module=False, globs=names)
    assert test.examples, "the docstring has no example"
    report: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append)
    assert not failed, "".join(report)

"""The docstrings of packages that list their files, as readers rely on them."""

import re
from pathlib import Path

import pytest

from tests.helpers.project import ROOT


def listed(package: Path) -> set[str]:
    docstring = (package / "__init__.py").read_text(encoding="utf-8").split('"""')[1]
    return set(re.findall(r"^ *([\w<>]+(?:\.py|/)) ", docstring, re.MULTILINE))


LISTS = sorted(path.parent for path in ROOT.glob("cnnpipe/**/__init__.py") if listed(path.parent))


@pytest.mark.parametrize("package", LISTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_that_lists_its_files_lists_them_all(package: Path) -> None:
    kinds = {name for name in listed(package) if "<" in name}  # as <claim>.py
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert all((package / name).exists() for name in listed(package) - kinds)
    assert kinds or modules <= listed(package)

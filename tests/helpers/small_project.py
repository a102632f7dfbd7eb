"""A small project of git and DVC in a temporary folder, whose commands have this code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.helpers.project import ROOT
from torture.project import Project


def small_project(folder: Path, files: Mapping[str, str] | None = None) -> Project:
    """A project of these files, without a commit; of what `folder` holds, if none are given."""
    project = Project(folder, {"PYTHONPATH": str(ROOT), "NO_PROXY": "*"})
    for name, text in (files or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    if files:
        project.begin()
    return project

"""Stages without a process of their own for each, which would first import torch, for seconds."""

import importlib
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner, Result

from cnnpipe.download.files import download
from cnnpipe.params.loading import load_params
from cnnpipe.system.command import RAW
from cnnpipe.validate.schema import Params
from tests.helpers.project import ROOT
from torture.project import Project


def digits_project(folder: Path, changes: Mapping[str, Any]) -> None:
    """Write the digits of scikit-learn, and params.yaml with changes by dotted keys."""
    folder.mkdir(exist_ok=True)
    shutil.copy2(ROOT / "params.yaml", folder)
    Project(folder).change({"data.name": "digits", "runtime.device": "cpu", **changes})
    download(load_params(Params, folder / "params.yaml").data, folder / RAW)


IN_ONE_PROCESS = """
import runpy, sys
for stage in sys.argv[1:]:
    name, *model = stage.split("@")
    sys.argv = [name, *model]
    try:
        runpy.run_module(f"stages.{name}", run_name="__main__")
    except SystemExit as end:
        assert not end.code, stage
"""


def run_there(project: Project, *stages: str) -> None:
    """Run stages with a project's own code, one after the other in another process than this."""
    project.run(sys.executable, "-c", IN_ONE_PROCESS, *stages)


def run_here(stage: str) -> Result:
    """Run a stage in this process, in the working directory."""
    name, _, model = stage.partition("@")
    main = importlib.import_module(f"stages.{name}").main
    return CliRunner().invoke(main, [model] if model else [])


@contextmanager
def within(project: Project) -> Iterator[None]:
    """What happens here happens in a project's folder, with the variables of its commands."""
    with pytest.MonkeyPatch.context() as here:
        here.chdir(project.folder)
        for name in os.environ.keys() - project.environment.keys():
            here.delenv(name)
        for name, value in project.environment.items():
            here.setenv(name, value)
        yield


@contextmanager
def within_quietly(project: Project) -> Iterator[None]:
    """The same for DVC in this process, which warns of a library that it uses."""
    with within(project), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def dvc_here(project: Project, *arguments: str) -> str:
    """What a command of DVC prints, without a process of DVC's."""
    from dvc.cli import main  # for a second

    with within_quietly(project), redirect_stdout(StringIO()) as printed:
        assert main(list(arguments)) == 0
    return printed.getvalue()


@contextmanager
def repo_of(project: Project) -> Iterator[Any]:
    """A project as DVC knows it, `dvc.repo.Repo`, without a process of DVC's."""
    from dvc.repo import Repo  # for a second

    with within_quietly(project), Repo() as repo:
        yield repo


def repro_here(project: Project, *stages: str) -> list[str]:
    """`dvc repro` of some stages or all, by `run_here`; the stages that ran."""

    def run_command(shell: str, command: str, /, **how: Any) -> None:
        python, module, stage, *model = shlex.split(command)
        assert [python, module] == ["python", "-m"]
        result = run_here("@".join([stage.removeprefix("stages."), *model]))
        assert result.exit_code == 0, result.output

    with repo_of(project) as repo, patch("dvc.stage.run._run", run_command):
        return [stage.addressing for stage in repo.reproduce(stages or None)]

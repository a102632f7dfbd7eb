"""Stages on the digits of scikit-learn, run in the test's own process."""

import importlib
from collections.abc import Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from cnnpipe.download.files import download
from cnnpipe.params.loading import load_params
from cnnpipe.system.command import RAW
from cnnpipe.validate.schema import Params
from tests.helpers.project import ROOT


def digits_project(folder: Path, changes: Mapping[str, Any]) -> None:
    """Write the data set, and params.yaml with changes by dotted keys, as `dvc exp run -S` has."""
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    for key, value in {"data.name": "digits", "runtime.device": "cpu", **changes}.items():
        *sections, last = key.split(".")
        reduce(getitem, sections, params)[last] = value
    folder.mkdir(exist_ok=True)
    yaml.dump(params, folder / "params.yaml")
    download(load_params(Params, folder / "params.yaml").data, folder / RAW)


def run_here(stage: str) -> Result:
    """Run a stage in this process, in the working directory."""
    name, _, model = stage.partition("@")
    main = importlib.import_module(f"stages.{name}").main
    return CliRunner().invoke(main, [model] if model else [])

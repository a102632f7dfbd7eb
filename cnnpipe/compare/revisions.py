"""What the pipeline left at a revision: a commit, a branch, a DVC experiment, or the workspace."""

import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.repo import Repo
from dvc.scm import NoSCM, RevError, resolve_rev
from dvc_data.index import DataIndexDirError
from numpy.typing import NDArray
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cnnpipe.data.idx import parse_images
from cnnpipe.params.inheritance import add_train_defaults
from cnnpipe.report.inputs import flattened
from cnnpipe.system.artifacts import load_csv, load_json, load_weights
from cnnpipe.system.errors import InputError

WORKSPACE = "workspace"
"""DVC's name for the files as they lie there."""
RESULTS = {
    "reports/evaluation/{}.json": (
        "test_accuracy",
        "test_errors",
        "test_loss",
        "ece",
        "parameters",
        "macs",
        "per_class",
        "confusion",
    ),
    "reports/predictions/{}.csv": ("index", "label", "prediction"),
    "reports/curves/{}.csv": (
        "epoch",
        "train_loss",
        "train_accuracy",
        "validation_loss",
        "validation_accuracy",
    ),
    "reports/figures/{}.json": ("title",),
}
"""What is read of a model, and the keys or columns without which it cannot be compared."""
WEIGHTS = "data/models/{}.safetensors"
IMAGES = "data/raw/t10k-images-idx3-ubyte"


@dataclass(frozen=True)
class ModelResults:
    """What is known of one model at a revision; empty or None for what is not there."""

    evaluation: Mapping[str, Any]
    predictions: pd.DataFrame | None
    curves: pd.DataFrame | None
    title: str
    kernels: Mapping[str, NDArray[Any]]
    """Convolution → weights (O, C, kH, kW); empty if the model is not there."""


@dataclass(frozen=True)
class Revision:
    """One of the two that are compared."""

    name: str
    """As the user gave it."""
    commit: str
    """First digits of the commit; empty for the workspace."""
    message: str
    """First line of the commit's message; empty for the workspace."""
    params: Mapping[str, Any]
    """Dotted key → value of what ran: each model's section holds what it takes from `train`."""
    models: Mapping[str, ModelResults]
    test_images: NDArray[np.uint8] | None = None
    """(N, 28, 28); None if they are not there."""


def read_revision(project: Path, name: str, models: Sequence[str]) -> Revision:
    """Read a revision's results from git and from DVC's cache, without touching the workspace.

    Args:
        project: the folder of the project, a git and DVC repository.
        name: what git or DVC resolves to a commit, or "workspace".
        models: names of the models.

    Raises:
        InputError: not a repository, no such revision, a revision without results, or a damaged
            file.
    """
    try:
        with Repo(str(project)) as repo:
            commit = "" if name == WORKSPACE else _resolve(repo, name)
            message = _message(repo, commit) if commit else ""
        files = DVCFileSystem(str(project), rev=commit or None)
        with TemporaryDirectory() as copies:
            results, params, images = _read(files, Path(copies), name, models)
    except NotDvcRepoError:
        raise InputError(
            f"{project}: no git and DVC repository; run from the project's root"
        ) from None
    except DvcException as error:
        raise InputError(f"{name}: cannot be read: {' '.join(str(error).split())}") from None
    if not any(result.evaluation for result in results.values()):
        raise InputError(
            f"{name}: has no reports/evaluation; `dvc repro` or `dvc exp run` makes it"
        )
    return Revision(name, commit[:7], message, params, results, images)


def _read(
    files: DVCFileSystem, folder: Path, name: str, models: Sequence[str]
) -> tuple[dict[str, ModelResults], dict[str, Any], NDArray[np.uint8] | None]:
    """Copy what is there into a folder, and read it with the readers that check it."""
    for file in [
        "params.yaml",
        IMAGES,
        *(path.format(model) for path in (*RESULTS, WEIGHTS) for model in models),
    ]:
        _copy(files, file, folder)
    try:
        results = {model: _read_model(folder, model) for model in models}
        return results, _read_params(folder / "params.yaml", name), _read_images(folder / IMAGES)
    except InputError as error:  # it names the copy, which means nothing to the user
        raise InputError(str(error).replace(f"{folder}{os.sep}", f"{name}: ")) from None


def _resolve(repo: Repo, name: str) -> str:
    if isinstance(repo.scm, NoSCM):
        raise InputError(f"{repo.root_dir}: no git repository, so it has no revision {name}")
    try:
        # Git would take an empty name for HEAD.
        commit = resolve_rev(repo.scm, name) if name else None
        if commit:
            resolve_rev(repo.scm, f"{commit}^{{commit}}")  # refuses a file's or a folder's hash
    except RevError:
        commit = None
    if commit is None:
        raise InputError(
            f"{name or 'an empty name'}: no such revision; expected a commit, a branch, a tag, the "
            f"name of an experiment as `dvc exp show` lists them, or {WORKSPACE}"
        )
    return str(commit)


def _message(repo: Repo, commit: str) -> str:
    lines = str(repo.scm.resolve_commit(commit).message).strip().splitlines()
    first = lines[0] if lines else ""
    # DVC names its own commits by a hash of 64 digits.
    return "a DVC experiment" if re.match(r"dvc: commit experiment [0-9a-f]{64}", first) else first


def _copy(files: DVCFileSystem, path: str, folder: Path) -> None:
    """Copy one file if the revision has it and DVC's cache, where it is DVC's, holds it."""
    try:
        content = files.read_bytes(path)
    except (FileNotFoundError, DvcException, DataIndexDirError):
        return
    copy = folder / path
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(content)


def _read_model(folder: Path, name: str) -> ModelResults:
    evaluation, predictions, curves, figures = (
        _read_results(folder / path.format(name), needed) for path, needed in RESULTS.items()
    )
    weights = folder / WEIGHTS.format(name)
    return ModelResults(
        evaluation=evaluation or {},
        predictions=predictions,
        curves=curves,
        title=figures["title"] if figures else name,
        kernels=_kernels(weights) if weights.exists() else {},
    )


def _read_results(path: Path, needed: Sequence[str]) -> Any:
    """A JSON object or a table; None if it is not there. Revisions may have other schemas."""
    if not path.exists():
        return None
    found = load_csv(path) if path.suffix == ".csv" else load_json(path)
    present = found if isinstance(found, (dict, pd.DataFrame)) else ()
    if missing := [key for key in needed if key not in present]:
        raise InputError(f"{path}: lacks {', '.join(missing)}; another version of cnnpipe made it")
    return found


def _kernels(path: Path) -> dict[str, NDArray[Any]]:
    """The weights with four axes: those of convolutions."""
    state, _ = load_weights(path)
    return {
        key.removesuffix(".weight"): np.asarray(state[key].float().numpy())
        for key in sorted(state, key=_numbers_by_value)  # a file's own order is that of a hash
        if state[key].ndim == 4
    }


def _numbers_by_value(name: str) -> list[tuple[int, str]]:
    """Sorts conv2 before conv10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _read_params(path: Path, name: str) -> dict[str, Any]:
    """Every parameter by its dotted key; unchecked, as another revision has another schema."""
    if not path.exists():
        return {}
    try:
        tree = YAML(typ="safe", pure=True).load(io.BytesIO(path.read_bytes()))
    except YAMLError as error:
        raise InputError(f"{name}: params.yaml: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        return {}
    if all(isinstance(tree.get(section), dict) for section in ("train", "models")):
        add_train_defaults(tree)
        del tree["train"]
    return dict(flattened(tree))


def _read_images(path: Path) -> NDArray[np.uint8] | None:
    """The test images; pictures of them are an extra, so damaged ones count as absent."""
    try:
        return parse_images(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None

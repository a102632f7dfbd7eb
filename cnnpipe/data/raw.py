"""The folder that holds a data set on disk: four decompressed idx files and dataset.json.

dataset.json says which data set lies there and its files' SHA-256. It holds nothing about where
the bytes came from, so that every mirror leaves the same folder.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from cnnpipe.data import idx, sources
from cnnpipe.data.sources import (
    FILE_NAMES,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
)
from cnnpipe.params.data import DatasetName
from cnnpipe.system.artifacts import atomic_write, load_json, save_json
from cnnpipe.system.errors import InputError

DESCRIPTION = "dataset.json"
LARGEST = 2**34
"""Bytes that no file reaches."""
CURE = "delete the folder and run `dvc repro` to make it again"


class RawDataset(NamedTuple):
    """What the folder holds, as read-only arrays of bytes."""

    name: DatasetName
    classes: tuple[str, ...]
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]


def write_raw(
    folder: Path,
    name: DatasetName,
    files: Iterable[tuple[str, bytes]],
    classes: Sequence[str] | None = None,
) -> None:
    """Write the files as they come, and dataset.json when all are there.

    Args:
        classes: of a data set whose classes are not known beforehand.
    """
    digests, sizes = {}, {}
    for file, content in files:
        with atomic_write(folder / file, "wb") as out:
            out.write(content)
        digests[file], sizes[file] = hashlib.sha256(content).hexdigest(), len(content)
    description = _description(name, classes or sources.CLASSES[name], digests, sizes)
    save_json(folder / DESCRIPTION, description)


def _description(
    name: DatasetName,
    classes: Sequence[str],
    digests: Mapping[str, str],
    sizes: Mapping[str, int],
) -> dict[str, Any]:
    """What dataset.json holds."""
    files = {file: {"sha256": digests[file], "bytes": sizes[file]} for file in FILE_NAMES}
    return {"name": name, "classes": list(classes), "files": files}


def read_raw(folder: Path) -> RawDataset:
    """Read the folder and check everything: digests, headers, lengths, labels.

    Raises:
        InputError: a file is missing or damaged; the text names it and the cure.
    """
    described, name, classes, digests = _read_description(folder / DESCRIPTION)
    contents = {file: _read_pinned(folder / file, digests[file]) for file in FILE_NAMES}
    found = {file: len(content) for file, content in contents.items()}
    if described != _description(name, classes, digests, found):
        raise InputError(f"{folder / DESCRIPTION}: damaged: not of the files beside it; {CURE}")

    def part(of_images: str, of_labels: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        file = of_images  # the one that an error names
        try:
            images = idx.parse_images(contents[file])  # (N, 28, 28)
            file = of_labels
            labels = idx.parse_labels(contents[file], len(classes))  # (N,)
            if len(labels) != len(images):
                raise ValueError(f"{len(labels)} labels for {len(images)} images")
        except ValueError as error:
            raise InputError(f"{folder / file}: damaged: {error}; {CURE}") from None
        return images, labels

    train, test = part(TRAIN_IMAGES, TRAIN_LABELS), part(TEST_IMAGES, TEST_LABELS)
    return RawDataset(name, classes, *train, *test)


def _read_description(
    path: Path,
) -> tuple[Any, DatasetName, tuple[str, ...], dict[str, str]]:
    """The whole description; the data set's name and classes; the digest of each file."""
    described = load_json(path)
    try:
        name: DatasetName = described["name"]
        if name not in get_args(DatasetName):
            raise ValueError(f"unknown data set {name!r}")
        classes = tuple(map(str, described["classes"]))
        if classes != sources.CLASSES.get(name, classes) or len(set(classes)) < 2:
            raise ValueError(f"these are not the classes of {name}")
        files = {file: described["files"][file] for file in FILE_NAMES}
        digests = {file: str(entry["sha256"]) for file, entry in files.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged: {error!r}; {CURE}") from None
    # Digests that the project pins replace those in the folder.
    return described, name, classes, sources.PINS.get(name, digests)


def _read_pinned(path: Path, digest: str) -> bytes:
    if not path.is_file():
        raise InputError(f"{path}: no such file; {CURE}")
    if path.stat().st_size < LARGEST:
        with path.open("rb") as file:
            # Piece by piece, and into memory only if it is the right file, however much lies there.
            if hashlib.file_digest(file, "sha256").hexdigest() == digest:
                file.seek(0)
                return file.read()
    raise InputError(f"{path}: damaged: its SHA-256 is not the pinned one; {CURE}")

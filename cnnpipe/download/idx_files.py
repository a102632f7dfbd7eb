"""Four idx files in a folder, MNIST's, EMNIST's or one's own, as labelled images.

    train-images-idx3-ubyte    train-labels-idx1-ubyte
    t10k-images-idx3-ubyte     t10k-labels-idx1-ubyte     (or test-…; both may be missing)

They may be compressed by gzip, and their names may begin with one more word and a hyphen. Labels
may be any bytes: they are numbered from 0 in their order. The classes are named by `classes.txt`,
one a line in the order of their labels; by EMNIST's file <word>-mapping.txt; else by the labels.
Images of files that begin with "emnist-" have rows and columns exchanged, and are turned upright.

Axes: N images, H height, W width.

Source: G. Cohen, S. Afshar, J. Tapson, A. van Schaik, "EMNIST: an extension of MNIST to handwritten
    letters", 2017.
"""

import gzip
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnpipe.data import idx
from cnnpipe.system.errors import InputError

NAME = re.compile(
    r"(?P<word>(?:.+-)?)(?P<part>train|t10k|test)-(?P<kind>images|labels)[-.]idx[13]-ubyte(\.gz)?"
)
CLASSES = "classes.txt"
MOST_CLASSES = 256
"""A label is a byte."""

Bytes = NDArray[np.uint8]
Files = Mapping[Path, re.Match[str]]
"""What lies in the folder, and the parts of its name."""


class Part(NamedTuple):
    """Training or test images, and their labels."""

    images: Bytes
    """(N, 28, 28)"""
    labels: Bytes
    """(N,)"""


def has_idx_files(folder: Path) -> bool:
    """Whether a folder holds a file that is called as one of the four."""
    return any(NAME.fullmatch(path.name) for path in folder.iterdir())


def read_idx_files(folder: Path) -> tuple[list[str], Part, Part | None]:
    """The names of the classes, the training images, and the test images if they are there.

    Raises:
        InputError: a file is missing or damaged, or does not fit the others; the text names it.
    """
    files = {
        path: match for path in sorted(folder.iterdir()) if (match := NAME.fullmatch(path.name))
    }
    words = sorted({match["word"] for match in files.values()})
    if len(words) > 1:
        raise InputError(
            f"{folder}: holds files of several data sets, {words[0]}… and {words[1]}…; expected "
            "those of one"
        )
    training = _read_part(folder, files, "train")
    has_test = any(match["part"] != "train" for match in files.values())
    testing = _read_part(folder, files, "test") if has_test else None
    labels = np.unique(training.labels)
    if testing and (unknown := np.setdiff1d(testing.labels, labels)).size:
        raise InputError(f"{folder}: label {unknown[0]} is in the test set only")
    return (
        _class_names(folder, words[0], labels.tolist()),
        _numbered(training, labels),
        testing and _numbered(testing, labels),
    )


def _read_part(folder: Path, files: Files, part: str) -> Part:
    of_images, of_labels = (_only(folder, files, part, kind) for kind in ("images", "labels"))
    images = _parsed(of_images, idx.parse_images)
    labels = _parsed(of_labels, lambda content: idx.parse_labels(content, MOST_CLASSES))
    if len(labels) != len(images):
        raise InputError(
            f"{of_labels}: {len(labels)} labels; {of_images.name} has {len(images)} images"
        )
    turned = files[of_images]["word"].startswith("emnist-")
    return Part(images.transpose(0, 2, 1) if turned else images, labels)


def _only(folder: Path, files: Files, part: str, kind: str) -> Path:
    """The one file of images or labels to train or test with."""
    found = [
        path
        for path, match in files.items()
        if match["kind"] == kind and (match["part"] == "train") == (part == "train")
    ]
    if len(found) != 1:
        names = " and ".join(path.name for path in found) or "no file"
        raise InputError(f"{folder}: {names} of {part} {kind}; expected one, {part}-{kind}-idx…")
    return found[0]


def _parsed(path: Path, parse: Callable[[bytes], Bytes]) -> Bytes:
    try:
        return parse(_content(path))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _content(path: Path) -> bytes:
    """
    Raises:
        ValueError: it is a damaged gzip file.
    """
    content = path.read_bytes()
    if content[:2] != idx.GZIP:
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"damaged gzip file: {error}") from None


def _numbered(part: Part, labels: Bytes) -> Part:
    """With each label replaced by its place among all `labels`."""
    return part._replace(labels=np.searchsorted(labels, part.labels).astype(np.uint8))


def _class_names(folder: Path, word: str, labels: list[int]) -> list[str]:
    mapping, names = folder / f"{word}mapping.txt", folder / CLASSES
    if names.is_file():
        try:
            lines = names.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{names}: not in UTF-8 ({error})") from None
        if len(lines) != len(labels):
            raise InputError(
                f"{names}: got {len(lines)} lines; expected a name for each of the labels, "
                f"{len(labels)} from {labels[0]} to {labels[-1]}"
            )
        return [line.strip() for line in lines]
    if word.startswith("emnist-") and mapping.is_file():
        # A line holds a label and the codes of the characters that it stands for.
        try:
            rows = [
                list(map(int, line.split())) for line in mapping.read_text("ascii").splitlines()
            ]
            known = {label: "".join(map(chr, codes)) for label, *codes in rows}
            return [known[label] for label in labels]
        except (ValueError, KeyError, OverflowError) as error:
            raise InputError(f"{mapping}: damaged, or of other labels: {error!r}") from None
    return [str(label) for label in labels]

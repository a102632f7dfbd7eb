"""A data set of one's own: a folder of pictures for each class, or four idx files.

    folder/cat/*.png, folder/dog/*.jpg, …         a class is called as its folder
    folder/train/cat/*.png, folder/test/cat/…     the same with a test set
    folder/train-images-idx3-ubyte, …             see idx_files.py

Pictures stand in the order of the SHA-256 of their 28×28 pixels, which mixes the classes. What the
files are called plays no part.

Source: torchvision's `ImageFolder`, for the folders of classes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from cnnpipe.data import idx
from cnnpipe.data.dataset import held_out_of
from cnnpipe.data.sources import FILE_NAMES, TRAIN_LABELS
from cnnpipe.download.idx_files import MOST_CLASSES, Bytes, Part, has_idx_files, read_idx_files
from cnnpipe.download.picture import SUFFIXES, border_grey, read_picture
from cnnpipe.system.artifacts import project_root
from cnnpipe.system.errors import InputError

LITTER = ("Thumbs.db", "desktop.ini")
"""What file managers leave. It is passed over, as is each name that begins with a full stop."""
LONGEST_NAME = 40
"""Characters of a class's name."""
MIDDLE_GREY = 127

Classes = Mapping[str, Sequence[Path]]
"""The pictures of each class, by its name."""


class OwnData(NamedTuple):
    """A data set as data/raw holds it."""

    classes: tuple[str, ...]
    files: dict[str, bytes]
    """The four idx files, by name."""
    summary: str
    """What was found, as one line."""

    def identity(self) -> dict[str, Any]:
        """The names of the classes and the SHA-256 of each file: other data has another one."""
        digests = {file: hashlib.sha256(self.files[file]).hexdigest() for file in FILE_NAMES}
        return {"classes": list(self.classes), "sha256": digests}

    def check_batch_size(self, batch_size: int, validation: float) -> None:
        """
        Raises:
            InputError: fewer images than one batch are left to train with.
        """
        labels = idx.parse_labels(self.files[TRAIN_LABELS], len(self.classes))
        left = sum(count - held_out_of(count, validation) for count in np.bincount(labels).tolist())
        if batch_size > left:
            raise InputError(
                f"batch_size: got {batch_size}; expected at most {left}, the number of images to "
                f"train with ({self.summary})"
            )


def read_folder(folder: Path, test: float) -> OwnData:
    """Read a folder of pictures or of idx files, and check all of it.

    Args:
        test: fraction of each class that is tested with, where the folder has no test set.

    Raises:
        InputError: something is missing or cannot be used; the text names it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; data.path names it")
    note = ""
    if has_idx_files(folder):
        names, training, testing = read_idx_files(folder)
        _check_names(folder, names)
    else:
        names, training, testing = _read_pictures(folder)
        # MNIST's ground is dark, too, and so is what comes in at the edges of a moved image.
        if np.median([border_grey(image) for image in training.images]) > MIDDLE_GREY:
            training, testing = _inverted(training), testing and _inverted(testing)
            note = "; inverted, as most stand on a light ground"
    if testing is None:
        training, testing = _split(training, test)
    for part, what in ((training, "train"), (testing, "test")):
        absent = np.bincount(part.labels, minlength=len(names)) == 0
        if absent.any():
            raise InputError(
                f"{folder}: class {names[absent.argmax()]!r} has no image to {what} with; "
                "expected two images of each class at least"
            )
    counts = f"{len(training.labels):,} training and {len(testing.labels):,} test images"
    arrays = (training.images, training.labels, testing.images, testing.labels)
    return OwnData(
        tuple(names),
        dict(zip(FILE_NAMES, map(idx.encode_idx, arrays), strict=True)),
        f"{folder}: {counts} of {len(names)} classes{note}",
    )


def _check_names(folder: Path, names: Sequence[str]) -> None:
    if not 2 <= len(names) <= MOST_CLASSES:
        found = {0: "no class", 1: "one class"}.get(len(names), f"{len(names)} classes")
        is_copy = project_root().resolve() != Path.cwd()
        hint = ". The queue’s copy of the project has only what git or DVC tracks: see docs/data.md"
        raise InputError(
            f"{folder}: holds {found}; expected 2 to {MOST_CLASSES}, each a folder of pictures, or "
            f"the four idx files of a data set{hint if is_copy else ''}"
        )
    for name in names:
        if not (0 < len(name) <= LONGEST_NAME and name.isprintable() and name == name.strip()):
            raise InputError(
                f"{folder}: a class is called {name!r}; expected 1 to {LONGEST_NAME} characters "
                "that can be printed, without space around them"
            )
        if names.count(name) > 1:
            raise InputError(f"{folder}: two classes are called {name!r}")


def _split(part: Part, fraction: float) -> tuple[Part, Part]:
    """Training and test images: the latter are those of each class with the smallest SHA-256.

    Neither a seed nor a name decides what is tested with, and a new image moves hardly any other
    one. A class gives at least one image to each part, unless it has only one: that is trained
    with.
    """
    tested = np.zeros(len(part.labels), dtype=bool)
    for label in np.unique(part.labels):
        members = np.flatnonzero(part.labels == label).tolist()
        members.sort(key=lambda index: _digest(part.images[index]))
        tested[members[: held_out_of(len(members), fraction)]] = True
    return (
        Part(part.images[~tested], part.labels[~tested]),
        Part(part.images[tested], part.labels[tested]),
    )


def _digest(image: Bytes) -> bytes:
    return hashlib.sha256(image.tobytes()).digest()


def _read_pictures(folder: Path) -> tuple[list[str], Part, Part | None]:
    """The names of the classes, the training images, and the test images if they lie apart."""
    if [path.name for path in _visible(folder) if path.is_dir()] == ["test", "train"]:
        parts = [_classes_in(folder / "train"), _classes_in(folder / "test")]
        for name in sorted(parts[0].keys() ^ parts[1].keys()):
            raise InputError(
                f"{folder}: class {name!r} is in one of train and test; expected it in both"
            )
    else:
        parts = [_classes_in(folder)]
    names = list(parts[0])
    _check_names(folder, names)
    training, *rest = [_read_part(part) for part in parts]
    return names, training, rest[0] if rest else None


def _classes_in(folder: Path) -> Classes:
    classes = {}
    for path in _visible(folder):
        if path.is_dir():
            classes[path.name] = _pictures_in(path)
        elif path.suffix.lower() in SUFFIXES:
            raise InputError(f"{path}: in no class; expected it in a folder named after one")
    return classes


def _pictures_in(folder: Path) -> list[Path]:
    paths = _visible(folder)
    for path in paths:
        if path.is_dir():
            raise InputError(
                f"{path}: a folder in class {folder.name!r}; expected pictures. Nothing but train "
                "and test, both and alone, may stand above the classes"
            )
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(f"{path}: not a picture; expected {', '.join(SUFFIXES)}")
        if not path.is_file():
            raise InputError(f"{path}: no such file; it is a link to nowhere, or no file")
    if not paths:
        raise InputError(f"{folder}: a class without pictures; expected two at least")
    return paths


def _visible(folder: Path) -> list[Path]:
    """What lies in a folder, by name, without what is hidden and what file managers leave."""
    found = [path for path in folder.iterdir() if path.name[0] != "." and path.name not in LITTER]
    return sorted(found, key=lambda path: path.name)


def _read_part(classes: Classes) -> Part:
    """All pictures of some classes, in the order of their SHA-256."""
    files = [(path, label) for label, paths in enumerate(classes.values()) for path in paths]
    images = [read_picture(path) for path, _ in tqdm(files, unit="picture", disable=None)]
    order = sorted(range(len(files)), key=lambda index: (_digest(images[index]), files[index][1]))
    labels = np.array([label for _, label in files], dtype=np.uint8)
    return Part(np.stack(images)[order], labels[order])


def _inverted(part: Part) -> Part:
    return part._replace(images=255 - part.images)

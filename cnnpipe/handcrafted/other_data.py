"""Data sets other than the one trained on, where they can be had without a network."""

from collections.abc import Sequence
from pathlib import Path

from cnnpipe.data.dataset import Dataset, Split, load_dataset
from cnnpipe.data.digits import digits_files
from cnnpipe.data.idx import parse_images, parse_labels
from cnnpipe.data.sources import DIGITS, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from cnnpipe.params.data import DatasetName


def other_datasets(
    names: Sequence[DatasetName], own: str, folder: Path
) -> tuple[list[Dataset], list[str]]:
    """The data sets named, less `own`, which was trained on; and the names of those not there.

    `digits` comes with scikit-learn; another lies in a folder of its name in `folder`, filled as
    data/raw is.
    """
    found, absent = [], []
    for name in names:
        if name == own:
            continue
        if name == "digits":
            found.append(digits())
        elif (folder / name).exists():
            found.append(load_dataset(folder / name))
        else:
            absent.append(str(name))
    return found, absent


def digits() -> Dataset:
    """Scikit-learn's digits, in MNIST's layout."""
    files = digits_files()

    def split(images: str, labels: str) -> Split:
        return Split.of(parse_images(files[images]), parse_labels(files[labels], len(DIGITS)))

    return Dataset(
        "digits", DIGITS, split(TRAIN_IMAGES, TRAIN_LABELS), split(TEST_IMAGES, TEST_LABELS)
    )

"""A data set comes back as it was written; torture/data.py damages it."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cnnpipe.data.dataset import Dataset, Split, load_dataset, split_validation
from cnnpipe.data.digits import enlarge, interpolation_weights, is_test_digit
from cnnpipe.data.idx import encode_idx, parse_images, parse_labels
from cnnpipe.data.raw import write_raw
from cnnpipe.data.sources import CLASSES, FILE_NAMES
from cnnpipe.download.files import download
from cnnpipe.params.loading import load_params
from cnnpipe.validate.schema import Params
from tests.helpers.project import ROOT

PARAMS = load_params(Params, ROOT / "params.yaml").data
DIGITS = PARAMS.model_copy(update={"name": "digits"})


def tiny_files(train: int = 6, test: int = 4) -> dict[str, bytes]:
    """A data set of a few images, image i filled with the value i."""

    def images(count: int) -> NDArray[np.uint8]:
        values = np.arange(count, dtype=np.uint8)[:, None, None]
        return np.broadcast_to(values, (count, 28, 28))

    def labels(count: int) -> NDArray[np.uint8]:
        return np.arange(count, dtype=np.uint8) % 10

    arrays = (images(train), labels(train), images(test), labels(test))
    return dict(zip(FILE_NAMES, map(encode_idx, arrays), strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A raw folder whose pins are those of its own dataset.json."""
    write_raw(tmp_path / "raw", "fashion_mnist", tiny_files().items())
    return tmp_path / "raw"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Loading compares them with their pins, so it says if scikit-learn's digits change."""
    folder = tmp_path_factory.mktemp("digits")
    download(DIGITS, folder)
    return load_dataset(folder)


class TestIdx:
    def test_header_is_written_out(self) -> None:
        content = encode_idx(np.array([3, 1, 2], dtype=np.uint8))
        assert content == bytes([0, 0, 8, 1, 0, 0, 0, 3, 3, 1, 2])

    def test_round_trip(self) -> None:
        images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
        assert np.array_equal(parse_images(encode_idx(images)), images)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "starts with ; expected 00 00 08 03"),
            (b"\x1f\x8b\x08\x00", "starts with 1f 8b 08 00; expected 00 00 08 03"),
            (bytes([0, 0, 8, 1, 0, 0, 0, 0]), "starts with 00 00 08 01; expected 00 00 08 03"),
            (bytes([0, 0, 8, 3, 0, 0]), "ends after 6 bytes, inside its 16-byte header"),
            (struct.pack(">4B3I", 0, 0, 8, 3, 0, 28, 28), r"holds nothing: .*\(0, 28, 28\)"),
            (struct.pack(">4B3I", 0, 0, 8, 3, 1, 28, 28) + bytes(783), "799 bytes; .* make 800"),
            (struct.pack(">4B3I", 0, 0, 8, 3, 1, 28, 28) + bytes(785), "801 bytes; .* make 800"),
            (struct.pack(">4B3I", 0, 0, 8, 3, *[2**32 - 1] * 3), "16 bytes; .* make 79228"),
            (struct.pack(">4B3I", 0, 0, 8, 3, 1, 14, 56) + bytes(784), "14×56; expected 28×28"),
        ],
    )
    def test_bad_images(self, content: bytes, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            parse_images(content)

    def test_label_beyond_the_classes(self) -> None:
        content = encode_idx(np.array([0, 9, 255, 10], dtype=np.uint8))
        with pytest.raises(ValueError, match="label 255 at index 2; expected 0 to 9"):
            parse_labels(content, classes=10)


class TestLoadDataset:
    def test_tensors(self, folder: Path) -> None:
        dataset = load_dataset(folder)
        assert dataset.name == "fashion_mnist"
        assert dataset.classes[9] == "Ankle boot"
        assert (len(dataset.train), len(dataset.test)) == (6, 4)
        assert dataset.train.images.shape == (6, 28, 28)
        assert dataset.train.images.dtype == torch.uint8
        assert dataset.train.images[:, 27, 27].tolist() == [0, 1, 2, 3, 4, 5]
        assert dataset.train.labels.dtype == torch.int64
        assert dataset.test.labels.tolist() == [0, 1, 2, 3]

    def test_every_mirror_leaves_the_same_folder(self, folder: Path, tmp_path: Path) -> None:
        write_raw(tmp_path / "again", "fashion_mnist", reversed(tiny_files().items()))
        names = sorted(path.name for path in folder.iterdir())
        assert names == sorted([*FILE_NAMES, "dataset.json"])
        for name in names:
            assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


class TestDigits:
    def test_sizes(self, digits: Dataset) -> None:
        assert (len(digits.train), len(digits.test)) == (1442, 355)
        assert digits.classes == tuple("0123456789")

    def test_both_parts_hold_every_class_alike(self, digits: Dataset) -> None:
        share = digits.test.labels.bincount() / digits.train.labels.bincount()
        assert share.tolist() == pytest.approx([0.25] * 10, abs=0.01)

    def test_images_fill_the_box_and_leave_the_border(self, digits: Dataset) -> None:
        images = torch.cat([digits.train.images, digits.test.images])
        ink = images.amax(dim=0) > 0
        assert not ink[:4].any()
        assert not ink[-4:].any()
        assert not ink[:, :4].any()
        assert not ink[:, -4:].any()
        assert images.max() == 255
        assert digits.train.images[0, 8:20, 14].tolist() != [0] * 12

    def test_interpolation_of_two_values_at_four_places(self) -> None:
        """Places −¼, ¼, ¾, 1¼ of the old grid; in eighths, with nothing outside."""
        weights, unit = interpolation_weights(2, 4)
        assert unit == 8
        assert weights.tolist() == [[6, 0], [6, 2], [2, 6], [0, 6]]

    def test_enlarge_keeps_the_full_scale(self) -> None:
        """Between scans of 16 the interpolated value is 16, which becomes 255."""
        enlarged = enlarge(np.full((1, 8, 8), 16))
        assert enlarged.shape == (1, 28, 28)
        assert enlarged.dtype == np.uint8
        assert (enlarged[0, 6:22, 6:22] == 255).all()

    def test_every_fifth_of_each_class_is_a_test_digit(self) -> None:
        labels = np.array([0] * 5 + [1] * 4 + [0] * 5 + [1], dtype=np.uint8)
        assert np.flatnonzero(is_test_digit(labels)).tolist() == [4, 13, 14]


class TestSplitValidation:
    @pytest.fixture
    def train(self) -> Split:
        """Forty images of class 0, twenty of class 1, mixed; image i is filled with i."""
        labels = torch.tensor([0, 1, 0] * 20)
        images = torch.arange(60, dtype=torch.uint8)[:, None, None].expand(60, 28, 28)
        return Split(images, labels)

    def test_every_class_gives_its_fraction(self, train: Split) -> None:
        training, validation = split_validation(train, 0.1, seed=1)
        assert validation.labels.bincount().tolist() == [4, 2]
        assert training.labels.bincount().tolist() == [36, 18]

    def test_parts_are_disjoint_complete_and_in_order(self, train: Split) -> None:
        training, validation = split_validation(train, 0.3, seed=1)
        places = [part.images[:, 0, 0].tolist() for part in (training, validation)]
        assert all(place == sorted(place) for place in places)
        assert sorted(places[0] + places[1]) == list(range(60))
        assert torch.equal(training.labels, train.labels[places[0]])

    def test_the_seed_decides(self, train: Split) -> None:
        first, again, other = (
            split_validation(train, 0.3, seed)[1].images[:, 0, 0] for seed in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_small_classes_give_one_and_keep_one(self) -> None:
        split = Split(torch.zeros(5, 28, 28, dtype=torch.uint8), torch.tensor([0, 0, 1, 2, 2]))
        training, validation = split_validation(split, 0.01, seed=0)
        assert validation.labels.tolist() == [0, 2]
        assert training.labels.tolist() == [0, 1, 2]


def test_every_data_set_has_ten_different_classes() -> None:
    assert all(len(set(classes)) == len(classes) == 10 for classes in CLASSES.values())


@pytest.mark.skipif("CNNPIPE_MIRROR" not in os.environ, reason="CNNPIPE_MIRROR names no mirror")
def test_real_mnist(tmp_path: Path) -> None:
    download(
        PARAMS.model_copy(update={"mirrors": []}), tmp_path, mirror=os.environ["CNNPIPE_MIRROR"]
    )
    dataset = load_dataset(tmp_path)
    assert (len(dataset.train), len(dataset.test)) == (60_000, 10_000)
    assert dataset.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert dataset.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]

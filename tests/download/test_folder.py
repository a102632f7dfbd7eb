"""A data set of one's own: what is read of a folder, and what is refused in one line."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cnnpipe.data.idx import encode_idx, parse_images, parse_labels
from cnnpipe.data.sources import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from cnnpipe.download.folder import OwnData, read_folder
from cnnpipe.download.picture import read_picture
from cnnpipe.system.errors import InputError

Picture = NDArray[np.uint8]


def picture(seed: int, ground: int = 0) -> Picture:
    """A random square on an even ground."""
    image = np.full((28, 28), ground, dtype=np.uint8)
    image[8:20, 8:20] = np.random.default_rng(seed).integers(0, 256, (12, 12))
    return image


def write(path: Path, image: Picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def classes_of_ten(folder: Path, ground: int = 0) -> None:
    for label, name in enumerate(("cat", "dog", "owl")):
        for number in range(10):
            write(folder / name / f"{number}.png", picture(100 * label + number, ground))


def part(own: OwnData, images: str, labels: str) -> list[tuple[bytes, str]]:
    """Each image's bytes and the name of its class."""
    numbers = parse_labels(own.files[labels], len(own.classes))
    pixels = parse_images(own.files[images])
    return [
        (image.tobytes(), own.classes[label]) for image, label in zip(pixels, numbers, strict=True)
    ]


def trained_with(own: OwnData) -> list[tuple[bytes, str]]:
    return part(own, TRAIN_IMAGES, TRAIN_LABELS)


def judged_with(own: OwnData) -> list[tuple[bytes, str]]:
    return part(own, TEST_IMAGES, TEST_LABELS)


class TestPictures:
    def test_each_picture_is_kept_once_under_its_class(self, tmp_path: Path) -> None:
        classes_of_ten(tmp_path)
        (tmp_path / "README.md").write_text("passed over")
        (tmp_path / "cat" / ".hidden").write_text("passed over")
        (tmp_path / "cat" / "Thumbs.db").write_text("passed over")
        own = read_folder(tmp_path, test=0.2)
        assert own.classes == ("cat", "dog", "owl")
        assert own.summary == f"{tmp_path}: 24 training and 6 test images of 3 classes"
        drawn = {
            (picture(100 * label + number).tobytes(), name)
            for label, name in enumerate(own.classes)
            for number in range(10)
        }
        assert {*trained_with(own), *judged_with(own)} == drawn
        for name in own.classes:
            assert [label for _, label in judged_with(own)].count(name) == 2

    def test_names_of_files_decide_nothing(self, tmp_path: Path) -> None:
        classes_of_ten(tmp_path)
        before = read_folder(tmp_path, test=0.2)
        for number in range(10):
            path = tmp_path / "dog" / f"{number}.png"
            path.rename(path.with_name(f"{9 - number}-.PNG"))
        assert read_folder(tmp_path, test=0.2) == before

    def test_classes_are_mixed(self, tmp_path: Path) -> None:
        """Some experiments look at the first images of the test set."""
        classes_of_ten(tmp_path)
        first = [name for _, name in judged_with(read_folder(tmp_path, test=0.5))[:6]]
        assert len(set(first)) == 3

    def test_a_new_picture_moves_at_most_one_other(self, tmp_path: Path) -> None:
        classes_of_ten(tmp_path)
        before = set(judged_with(read_folder(tmp_path, test=0.5)))
        new = picture(999)
        write(tmp_path / "owl" / "new.png", new)
        after = set(judged_with(read_folder(tmp_path, test=0.5))) - {(new.tobytes(), "owl")}
        assert len(before ^ after) <= 1

    def test_a_test_set_of_ones_own_is_kept(self, tmp_path: Path) -> None:
        for number in range(3):
            for name in ("a", "b"):
                where = "test" if number == 2 else "train"
                write(tmp_path / where / name / f"{number}.png", picture(10 * number + ord(name)))
        own = read_folder(tmp_path, test=0.9)
        assert (len(trained_with(own)), len(judged_with(own))) == (4, 2)
        assert (picture(20 + ord("b")).tobytes(), "b") in judged_with(own)

    def test_a_light_ground_becomes_dark(self, tmp_path: Path) -> None:
        classes_of_ten(tmp_path, ground=250)
        own = read_folder(tmp_path, test=0.2)
        every = {image for image, _ in (*trained_with(own), *judged_with(own))}
        assert (255 - picture(0, 250)).tobytes() in every
        assert own.summary.endswith("; inverted, as most stand on a light ground")

    def test_a_changed_picture_or_class_has_another_identity(self, tmp_path: Path) -> None:
        """The download stage depends on it."""
        classes_of_ten(tmp_path)
        before = read_folder(tmp_path, test=0.2).identity()
        (tmp_path / "cat" / ".DS_Store").write_text("")
        assert read_folder(tmp_path, test=0.2).identity() == before
        (tmp_path / "cat").rename(tmp_path / "bat")
        renamed = read_folder(tmp_path, test=0.2).identity()
        assert renamed["sha256"] == before["sha256"]
        assert renamed["classes"] == ["bat", "dog", "owl"]
        write(tmp_path / "bat" / "0.png", picture(999))
        assert read_folder(tmp_path, test=0.2).identity()["sha256"] != before["sha256"]

    def test_a_batch_is_not_larger_than_what_is_trained_with(self, tmp_path: Path) -> None:
        """Of 8 training images of each class one is held out for validation."""
        classes_of_ten(tmp_path)
        own = read_folder(tmp_path, test=0.2)
        own.check_batch_size(21, validation=0.05)
        with pytest.raises(
            InputError, match=r"batch_size: got 22; expected at most 21, the number"
        ):
            own.check_batch_size(22, validation=0.05)

    def test_links_are_followed(self, tmp_path: Path) -> None:
        classes_of_ten(tmp_path / "there")
        (tmp_path / "here").mkdir()
        for name in ("cat", "dog", "owl"):
            (tmp_path / "here" / name).symlink_to(tmp_path / "there" / name)
        here, there = (read_folder(tmp_path / name, 0.2) for name in ("here", "there"))
        assert here.files == there.files


class TestPicture:
    def read(self, path: Path, image: Image.Image, **options: object) -> Picture:
        image.save(path, **options)
        return read_picture(path)

    def test_its_own_size_comes_back_as_it_is(self, tmp_path: Path) -> None:
        image = Image.fromarray(picture(1))
        assert np.array_equal(self.read(tmp_path / "a.png", image), picture(1))

    def test_colours_become_grey(self, tmp_path: Path) -> None:
        """0.299·255 = 76.2, 0.587·255 = 149.7, 0.114·255 = 29.1."""
        colours = np.zeros((28, 28, 3), dtype=np.uint8)
        colours[:9, :, 0] = colours[9:18, :, 1] = colours[18:, :, 2] = 255
        grey = self.read(tmp_path / "a.png", Image.fromarray(colours))
        assert grey[[0, 10, 20], 5].tolist() == [76, 150, 29]

    def test_what_is_transparent_is_white(self, tmp_path: Path) -> None:
        colours = np.zeros((28, 28, 4), dtype=np.uint8)
        colours[10:, :, 3] = 255
        grey = self.read(tmp_path / "a.png", Image.fromarray(colours))
        assert grey[[9, 10], 5].tolist() == [255, 0]

    def test_sixteen_bits_become_eight(self, tmp_path: Path) -> None:
        """257 = 65,535 / 255."""
        values = np.full((28, 28), 257 * 100, dtype=np.uint16)
        assert (self.read(tmp_path / "a.png", Image.fromarray(values)) == 100).all()

    def test_a_camera_held_upright(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # turn by 90° to the right
        upright = self.read(tmp_path / "a.png", Image.fromarray(picture(1)), exif=exif)
        assert np.array_equal(upright, np.rot90(picture(1), -1))

    def test_the_proportion_is_kept_and_the_margin_is_as_the_border(self, tmp_path: Path) -> None:
        """Of 112×56 pixels each 4×4 become one, 28×14 of them, with 7 rows above and below."""
        wide = np.full((56, 112), 10, dtype=np.uint8)
        wide[20:36, 40:72] = 200
        fitted = self.read(tmp_path / "a.png", Image.fromarray(wide))
        assert fitted.shape == (28, 28)
        assert (fitted[:7] == 10).all()
        assert (fitted[21:] == 10).all()
        rows, columns = np.nonzero(fitted == 200)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (13, 14, 11, 16)


def idx_pair(word: str, part: str, labels: list[int]) -> dict[str, bytes]:
    """A file of images, image i filled with i in its first row, and one of their labels."""
    images = np.zeros((len(labels), 28, 28), dtype=np.uint8)
    images[:, 0] = np.arange(len(labels), dtype=np.uint8)[:, None] + 1
    return {
        f"{word}{part}-images-idx3-ubyte": encode_idx(images),
        f"{word}{part}-labels-idx1-ubyte": encode_idx(np.array(labels, dtype=np.uint8)),
    }


def idx_files(folder: Path, word: str = "", labels: tuple[int, ...] = (1, 2, 3)) -> None:
    folder.mkdir(exist_ok=True)
    files = idx_pair(word, "train", [*labels] * 2) | idx_pair(word, "test", [*labels])
    for name, content in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))


class TestIdxFiles:
    def test_emnist_is_turned_upright_and_named(self, tmp_path: Path) -> None:
        """Its images are stored by columns, and the labels of its letters begin at 1."""
        idx_files(tmp_path, "emnist-letters-")
        (tmp_path / "emnist-letters-mapping.txt").write_text("1 65 97\n2 66 98\n3 67 99\n")
        own = read_folder(tmp_path, test=0.2)
        assert own.classes == ("Aa", "Bb", "Cc")
        images = parse_images(own.files[TEST_IMAGES])
        assert images[1, :, 0].tolist() == [2] * 28
        assert not images[1, :, 1:].any()
        assert parse_labels(own.files[TEST_LABELS], 3).tolist() == [0, 1, 2]

    def test_mnists_form_comes_back_as_it_is(self, tmp_path: Path) -> None:
        """Without .gz, and called t10k."""
        idx_files(tmp_path, labels=(0, 1))
        for path in list(tmp_path.iterdir()):
            name = path.name.removesuffix(".gz").replace("test", "t10k")
            path.with_name(name).write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
        own = read_folder(tmp_path, test=0.2)
        assert own.classes == ("0", "1")
        assert own.files == {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def test_classes_have_names_in_a_file_and_a_test_set_is_made(self, tmp_path: Path) -> None:
        for name, content in idx_pair("", "train", [7, 5, 7, 5, 5]).items():
            (tmp_path / name).write_bytes(content)
        (tmp_path / "classes.txt").write_text("oak\nelm\n")
        own = read_folder(tmp_path, test=0.4)
        assert sorted(name for _, name in judged_with(own)) == ["elm", "oak"]
        assert sorted(name for _, name in trained_with(own)) == ["elm", "oak", "oak"]


def link_to_nowhere(folder: Path) -> None:
    classes_of_ten(folder)
    (folder / "cat" / "a.png").symlink_to(folder / "gone.png")


def missing_labels(folder: Path) -> None:
    idx_files(folder)
    (folder / "test-labels-idx1-ubyte.gz").unlink()


def png(image: Picture) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "png")
    return content.getvalue()


ONE = png(picture(1))
IN_BOTH = ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png")
IMAGES = "train-images-idx3-ubyte.gz"
PACKED = gzip.compress(idx_pair("", "train", [1, 2, 3] * 2)["train-images-idx3-ubyte"])


@pytest.mark.parametrize(
    ("start", "files", "said"),
    [
        (Path.rmdir, {}, "own: no such folder; data.path names it"),
        (
            None,
            {"README.md": b""},
            "own: holds no class; expected 2 to 256, each a folder of pictures, or the four",
        ),
        (None, {"cat/1.png": ONE}, "own: holds one class; expected 2 to 256"),
        (classes_of_ten, {"fox/.hidden": b""}, "own/fox: a class without pictures"),
        (
            classes_of_ten,
            {"fox/1.png": ONE},
            "own: class 'fox' has no image to test with; expected two images",
        ),
        (
            None,
            {"1.png": ONE},
            "own/1.png: in no class; expected it in a folder named after one",
        ),
        (
            classes_of_ten,
            {"cat/0.png": b"<html>"},
            "own/cat/0.png: not readable: not a picture of the formats BMP, JPEG, PNG",
        ),
        (classes_of_ten, {"cat/0.png": ONE[:-60]}, "own/cat/0.png: not readable: "),
        (
            classes_of_ten,
            {"cat/notes.txt": b""},
            "own/cat/notes.txt: not a picture; expected .bmp, .jpeg, .jpg",
        ),
        (link_to_nowhere, {}, "own/cat/a.png: no such file; it is a link to nowhere"),
        (
            None,
            {"val/cat/1.png": ONE, "train/cat/1.png": ONE},
            "own/train/cat: a folder in class 'train'; expected pictures. Nothing but train",
        ),
        (
            None,
            dict.fromkeys((*IN_BOTH, "test/fox/1.png"), ONE),
            "own: class 'fox' is in one of train and test; expected it in both",
        ),
        (
            classes_of_ten,
            {"cat/0.pgm": b"P5 16384 16384 255\n"},
            "own/cat/0.pgm: not readable: Image size (268435456 pixels) exceeds limit",
        ),
        (
            classes_of_ten,
            {"fox\n/1.png": ONE},
            "own: a class is called 'fox\\n'; expected 1 to 40 characters",
        ),
        (missing_labels, {}, "own: no file of test labels; expected one, test-labels-idx"),
        (idx_files, {IMAGES: PACKED[:-9]}, f"own/{IMAGES}: damaged gzip file: "),
        (
            None,
            {f"emnist-letters-{IMAGES}": b"", f"emnist-digits-{IMAGES}": b""},
            "own: holds files of several data sets, emnist-digits-… and emnist-letters-…",
        ),
        (
            idx_files,
            {"classes.txt": b"cat\ndog\n"},
            "own/classes.txt: got 2 lines; expected a name for each of the labels, 3 from",
        ),
    ],
)
def test_refused_in_one_line(
    start: Callable[[Path], object] | None, files: dict[str, bytes], said: str, tmp_path: Path
) -> None:
    """What the folder begins with, and the files that are then put into it."""
    folder = tmp_path / "own"
    folder.mkdir()
    if start:
        start(folder)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/{said}")) as raised:
        read_folder(folder, test=0.2)
    assert "\n" not in str(raised.value)

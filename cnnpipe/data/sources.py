"""Which four files make up each data set, where they come from, and the digests that pin them.

A mirror changes where bytes come from, never which bytes: a file counts only if its content is
the pinned one. MNIST and digits are pinned by the SHA-256 of their decompressed files (gzip files
of one content differ in their time stamps). Fashion-MNIST and KMNIST are pinned by the MD5 of the
gzip files that torchvision publishes.
"""

from dataclasses import dataclass

from cnnpipe.params.data import DatasetName

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"
FILE_NAMES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)

MNIST_SIZES = {
    TRAIN_IMAGES: 16 + 60_000 * 28 * 28,
    TRAIN_LABELS: 8 + 60_000,
    TEST_IMAGES: 16 + 10_000 * 28 * 28,
    TEST_LABELS: 8 + 10_000,
}

PINS: dict[str, dict[str, str]] = {
    "mnist": {
        TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "digits": {
        TRAIN_IMAGES: "a66bc03d8be8e673f5afd8d771e45c57b0416ab1f83136f0f8730e1aca5d6b6b",
        TRAIN_LABELS: "997d8237ea59870b42f811eaad3e13914b38ab6a9a5e9ad6affdff0f34e7cfdc",
        TEST_IMAGES: "bfd1a7db865e1b5e5f8bf7c450ddf8ed24d1830795c17635f7b9a6fb7dfb4f3c",
        TEST_LABELS: "6ff66f7ef309c514bc431118f706c8249a50930d6256e9191340a2d710351535",
    },
}
"""SHA-256 of the decompressed files."""

DIGITS = tuple("0123456789")
BOXED = ("mnist", "digits")
"""Data sets whose images are 20×20 boxes in 28×28 pixels, as MNIST's."""
CLASSES: dict[DatasetName, tuple[str, ...]] = {
    "mnist": DIGITS,
    "fashion_mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    "digits": DIGITS,
}


@dataclass(frozen=True)
class SourceFile:
    """One file of a data set; exactly one of its two digests is known beforehand."""

    name: str
    """Of the decompressed file; a mirror holds `name`.gz or, if its SHA-256 is known, this one."""
    size: int
    """Bytes of the decompressed file."""
    sha256: str | None = None
    """Of the decompressed file."""
    gzip_md5: str | None = None
    """Of the compressed file."""


@dataclass(frozen=True)
class Source:
    """A data set that is fetched: its files and the mirrors that publish them."""

    name: str
    files: tuple[SourceFile, ...]
    mirrors: tuple[str, ...]


def mnist(mirrors: list[str]) -> Source:
    files = (SourceFile(name, MNIST_SIZES[name], sha256=PINS["mnist"][name]) for name in FILE_NAMES)
    return Source("mnist", tuple(files), tuple(mirrors))


def from_torchvision(name: DatasetName) -> Source:
    """Fashion-MNIST or KMNIST, with the mirrors and MD5s that torchvision records."""
    # Imported here, because it imports torch, and downloading MNIST needs neither.
    from torchvision.datasets import KMNIST, FashionMNIST

    published = {"fashion_mnist": FashionMNIST, "kmnist": KMNIST}[name]
    files = []
    for archive, md5 in published.resources:
        file = archive.removesuffix(".gz")
        files.append(SourceFile(file, MNIST_SIZES[file], gzip_md5=md5))
    return Source(name, tuple(files), tuple(published.mirrors))

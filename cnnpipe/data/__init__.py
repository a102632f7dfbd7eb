"""Data sets: fetched from mirrors, checked against pinned digests, handed on as tensors.

`download.download` fills a folder; `load_dataset` reads it back and trusts nothing in it. Every
data set has MNIST's shape: four idx files of 28×28 images with values 0..255 and integer labels.

    sources.py   which files make up each data set, and the digests that pin them
    idx.py       the file format
    raw.py       the folder on disk: written, read and checked
    dataset.py   tensors: `load_dataset`, `split_validation`

    mirrors.py   getting a file from mirrors that may answer anything
    digits.py    the data set that needs no network
    download.py  `download`
"""

from cnnpipe.data.dataset import Dataset, Split, load_dataset, split_validation

__all__ = ["Dataset", "Split", "load_dataset", "split_validation"]

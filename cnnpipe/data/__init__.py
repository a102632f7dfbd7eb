"""Data sets: checked against pinned digests, handed on as tensors.

`cnnpipe.download` fills a folder; `load_dataset` reads it back and trusts nothing in it. Every data
set has MNIST's shape: four idx files of 28×28 images with values 0..255 and integer labels.

    sources.py        which files make up each data set, and the digests that pin them
    idx.py            the file format
    raw.py            the folder on disk: written, read and checked
    digits.py         the data set that needs no network
    dataset.py        tensors: `load_dataset`, `split_validation`
    preprocessing.py  from stored bytes to a network's input: normalisation, moves, augmentation
"""

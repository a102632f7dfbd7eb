"""The data set is right to the byte, or it is refused."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import random
import re
import shutil
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np

from cnnpipe.data.dataset import load_dataset
from cnnpipe.data.digits import digits_files
from cnnpipe.data.idx import encode_idx, parse_images, parse_labels
from cnnpipe.data.raw import DESCRIPTION, write_raw
from cnnpipe.data.sources import (
    FILE_NAMES,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    SourceFile,
)
from cnnpipe.download.files import download
from cnnpipe.download.mirrors import PATIENCE, SourcesUnreachable, fetch
from cnnpipe.params.data import DataParams, DatasetName
from cnnpipe.system.artifacts import sha256_of
from cnnpipe.system.errors import InputError
from torture.campaign import Trial, failed, in_turn, promise
from torture.damage import BYTES, OBSTACLES, Damage, FileDamage, flip, rewritten
from torture.mirror import CONTENT, DEAD, FAULTS, GOOD, SOURCE, TIMEOUT, Server, bomb, running
from torture.project import ROOT, contents, edited, fresh_copy, run_in

SEVERAL = 36
"""Images of the small data set, which only its own dataset.json pins."""
DAMAGED = "damaged: "
NOT_PINNED = "its SHA-256 is not the pinned one"


@dataclass(frozen=True)
class Fault:
    """Damage to one file of a data set."""

    files: Sequence[str]
    """One of them is damaged."""
    damage: FileDamage
    says: str
    """A pattern that the error must match."""
    anywhere: bool = False
    """Whether the error may name another file: where two are changed, or a digest is."""


def _fitting(damage: Damage) -> FileDamage:
    """Damage that dataset.json describes."""

    def fit(path: Path, randomness: random.Random) -> None:
        content = damage(path.read_bytes(), randomness)
        path.write_bytes(content)
        described = json.loads(path.with_name(DESCRIPTION).read_bytes())
        entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        described["files"][path.name] = entry
        path.with_name(DESCRIPTION).write_text(json.dumps(described))

    return fit


def _description(damage: Damage, says: str) -> Fault:
    return Fault([DESCRIPTION], rewritten(damage), says, anywhere=True)


def _telling(damage: Damage) -> Damage:
    """Damage again until JSON means something else: white space and a line twice mean nothing."""

    def meaning(data: bytes) -> object:
        try:
            return json.loads(data)
        except ValueError:
            return "no JSON"

    def tell(data: bytes, randomness: random.Random) -> bytes:
        while meaning(damaged := damage(data, randomness)) == meaning(data):
            pass
        return damaged

    return tell


def _edited(change: Callable[[dict[str, Any], str], object]) -> Damage:
    """Another description of the same files; `change` may change one file's entry."""

    def edit(data: bytes, randomness: random.Random) -> bytes:
        described = json.loads(data)
        change(described, randomness.choice(FILE_NAMES))
        return json.dumps(described).encode()

    return edit


def _swapped(path: Path, randomness: random.Random) -> None:
    _swap(path, path.with_name(randomness.choice([name for name in ALL if name != path.name])))


def _parts_swapped(path: Path, randomness: random.Random) -> None:
    _swap(path.with_name(TRAIN_IMAGES), path.with_name(TEST_IMAGES))
    _swap(path.with_name(TRAIN_LABELS), path.with_name(TEST_LABELS))


def _swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def _foreign(path: Path, randomness: random.Random) -> None:
    """The file of that name of the other data set."""
    other = "digits" if "fashion" in path.with_name(DESCRIPTION).read_text() else "fashion_mnist"
    shutil.copy(path.parent.parent / other / path.name, path)


def _first_size(size: int) -> Damage:
    return lambda data, _: data[:4] + struct.pack(">I", size) + data[8:]


def _shape(*shape: int) -> Damage:
    return lambda data, _: encode_idx(parse_images(data).reshape(shape))


def _with_label(label: int) -> Damage:
    def damage(data: bytes, randomness: random.Random) -> bytes:
        labels = parse_labels(data, 10).copy()  # (N,)
        labels[randomness.randrange(len(labels))] = label
        return encode_idx(labels)

    return damage


def _another_value(data: bytes, randomness: random.Random) -> bytes:
    values = bytearray(data)
    place = randomness.randrange(16, len(data))
    values[place] = (values[place] + 1) % 10
    return bytes(values)


NO_IDX = "expected 00 00 08 0"

# A kind of damage, and what is said of it where the data set is not pinned.
IDX: dict[str, tuple[Damage, str]] = {
    "another magic number": (lambda data, rng: flip(data[:4], rng) + data[4:], NO_IDX),
    "a byte less": (lambda data, _: data[:-1], "bytes; "),
    "a byte more": (lambda data, _: data + b"\0", "bytes; "),
    "nothing": (lambda data, _: b"", "starts with ;"),
    "the header alone": (lambda data, _: data[:8], "inside its|bytes; "),
    "a size of 0": (_first_size(0), "holds nothing|bytes; "),
    "a size of 1": (_first_size(1), "bytes; "),
    "a size of 2³¹": (_first_size(2**31), "bytes; "),
    "a size of 2³² - 1": (_first_size(2**32 - 1), "bytes; "),
}
IDX_IMAGES: dict[str, tuple[Damage, str]] = {
    "labels": (lambda data, _: encode_idx(np.zeros(SEVERAL, np.uint8)), NO_IDX),
    "an image less": (lambda data, _: encode_idx(parse_images(data)[1:]), "labels for"),
    "images of 14×56": (_shape(-1, 14, 56), "expected 28×28"),
    "images of 56×14": (_shape(-1, 56, 14), "expected 28×28"),
    "images of one axis": (_shape(-1, 784), NO_IDX),
    "rows of images": (_shape(-1, 28), NO_IDX),
    "pixels": (_shape(-1), NO_IDX),
}
IDX_LABELS: dict[str, tuple[Damage, str]] = {
    "images": (lambda data, _: encode_idx(np.zeros((9, 28, 28), np.uint8)), NO_IDX),
    "a label less": (lambda data, _: encode_idx(parse_labels(data, 10)[1:]), "labels for"),
    "a column": (lambda data, _: encode_idx(parse_labels(data, 10)[:, None]), NO_IDX),
    "a label 10": (_with_label(10), "label 10 at index"),
    "a label 255": (_with_label(255), "label 255 at index"),
}
NOT_BESIDE = "not of the files beside it"
DESCRIPTIONS: dict[str, tuple[Callable[[dict[str, Any], str], object], str]] = {
    "another name": (lambda tree, _: tree.update(name="mnist"), f"{NOT_PINNED}|not the classes"),
    "an unknown name": (lambda tree, _: tree.update(name="cifar10"), "unknown data set 'cifar10'"),
    "a list as name": (lambda tree, _: tree.update(name=["mnist"]), "unknown data set"),
    "a number as name": (lambda tree, _: tree.update(name=3), "unknown data set"),
    "another order of classes": (lambda tree, _: tree["classes"].reverse(), "not the classes of"),
    "no classes": (lambda tree, _: tree.pop("classes"), "KeyError"),
    "classes of null": (lambda tree, _: tree.update(classes=None), "TypeError"),
    "another digest": (lambda tree, file: tree["files"][file].update(sha256="0" * 64), DAMAGED),
    "no digest": (lambda tree, file: tree["files"][file].pop("sha256"), "KeyError"),
    "another size": (lambda tree, file: tree["files"][file].update(bytes=1), NOT_BESIDE),
    "a file more": (lambda tree, file: tree["files"].update(more={}), NOT_BESIDE),
    "a file less": (lambda tree, file: tree["files"].pop(file), "KeyError"),
    "a number for the files": (lambda tree, _: tree.update(files=3), "TypeError"),
}
ALL = (*FILE_NAMES, DESCRIPTION)
FOLDERS: dict[str, Fault] = {
    **{name: Fault(FILE_NAMES, rewritten(damage), NOT_PINNED) for name, damage in BYTES.items()},
    **{
        f"dataset.json: {name}": _description(_telling(damage), DAMAGED)
        for name, damage in BYTES.items()
    },
    **{
        f"dataset.json: {name}": _description(_edited(change), says)
        for name, (change, says) in DESCRIPTIONS.items()
    },
    **{
        f"{what}: {name}": Fault(files, _fitting(damage), f"{says}|{NOT_PINNED}")
        for what, files, kinds in (
            ("images", (TRAIN_IMAGES, TEST_IMAGES), IDX | IDX_IMAGES),
            ("labels", (TRAIN_LABELS, TEST_LABELS), IDX | IDX_LABELS),
        )
        for name, (damage, says) in kinds.items()
    },
    **{name: Fault(ALL, obstacle, "no such file") for name, obstacle in OBSTACLES.items()},
    "1 TiB": Fault(FILE_NAMES, lambda path, _: os.truncate(path, 2**40), NOT_PINNED),
    "swapped with another": Fault(ALL, _swapped, DAMAGED, anywhere=True),
    "training and test images swapped": Fault(ALL, _parts_swapped, NOT_PINNED, anywhere=True),
    "of another data set": Fault(ALL, _foreign, DAMAGED, anywhere=True),
}
DIGITS = {
    "another value": Fault(FILE_NAMES, _fitting(_another_value), NOT_PINNED),
    "zeros": Fault(
        FILE_NAMES, _fitting(lambda data, _: data[:16] + bytes(len(data) - 16)), NOT_PINNED
    ),
}
"""What only a pin of the project can tell from the right values."""
KINDS: dict[DatasetName, dict[str, Fault]] = {
    "digits": FOLDERS | DIGITS,
    "fashion_mnist": FOLDERS,
}
ALL_KINDS = [(name, *kind) for name, kinds in KINDS.items() for kind in kinds.items()]


@promise(
    "A damaged data set is refused in one line that names the damaged file, MNIST and digits even "
    "where dataset.json was edited to fit the damage",
    full=600,
    few=len(ALL_KINDS),
)
def folders(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    for done, here, _, expected in _damaged(count, randomness, _good_folders(folder)):
        yield Trial(done, _not_refused(here, expected))


def _damaged(
    count: int, randomness: random.Random, good: dict[DatasetName, Path]
) -> Iterator[tuple[str, Path, Path, str]]:
    """What was done, to which copy of which folder, and a pattern for the error."""
    for name, done, fault in islice(in_turn(ALL_KINDS, randomness), count):
        with fresh_copy(good[name], good[name].with_name("damaged")) as here:
            file = randomness.choice(fault.files)
            fault.damage(here / file, randomness)
            named = ALL if fault.anywhere else (file, file.replace("images-idx3", "labels-idx1"))
            expected = rf"{re.escape(str(here))}/({'|'.join(named)}): .*({fault.says}).*`dvc repro`"
            yield f"{name}: {file}: {done}", here, good[name], expected


def _good_folders(folder: Path) -> dict[DatasetName, Path]:
    """The digits, and a small data set that only its own dataset.json pins."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (2 * SEVERAL, 28, 28), dtype=np.uint8)
    labels = np.arange(2 * SEVERAL, dtype=np.uint8) % 10
    arrays = (images[:SEVERAL], labels[:SEVERAL], images[SEVERAL:], labels[SEVERAL:])
    small = dict(zip(FILE_NAMES, map(encode_idx, arrays), strict=True))
    write_raw(folder / "digits", "digits", digits_files().items())
    write_raw(folder / "fashion_mnist", "fashion_mnist", small.items())
    return {"digits": folder / "digits", "fashion_mnist": folder / "fashion_mnist"}


def _not_refused(folder: Path, expected: str) -> str:
    try:
        load_dataset(folder)
    except InputError as error:
        said = str(error)
        refused = re.match(expected, said) and said.isprintable()
        return "" if refused else f"{said!r}, not {expected}"
    return "it was loaded"


@promise(
    "Over a damaged data set a fresh download puts the right bytes; where a folder has a file's "
    "name it says so, and does it once the data set is deleted",
    full=120,
    few=8,
)
def repairs(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    good_folders = _good_folders(folder)
    mirror = folder / "mirror"
    mirror.mkdir()
    for file in FILE_NAMES:
        content = (good_folders["fashion_mnist"] / file).read_bytes()
        (mirror / f"{file}.gz").write_bytes(gzip.compress(content))
    for done, here, good, _ in _damaged(count, randomness, good_folders):
        yield Trial(done, _not_repaired(here, good, mirror))


def _not_repaired(folder: Path, good: Path, mirror: Path) -> str:
    in_the_way = [str(path) for path in folder.iterdir() if path.is_dir()]
    try:
        _download(folder, good, mirror)
    except OSError as error:
        if in_the_way != [error.filename]:
            return repr(error)
        shutil.rmtree(folder)
        _download(folder, good, mirror)
    found, expected = contents(folder), contents(good)
    wrong = [name for name in found | expected if found.get(name) != expected.get(name)]
    return f"not as they were: {', '.join(wrong)}" if wrong else ""


def _download(folder: Path, good: Path, mirror: Path) -> None:
    """As the stage does it; the small data set has no mirrors of its own."""
    with redirect_stderr(io.StringIO()):
        if good.name == "digits":
            params = DataParams(
                name="digits", path="none", test=0.5, validation=0.1, mirrors=[], timeout=1
            )
            download(params, folder)
        else:
            source = replace(SOURCE, files=tuple(_file(good / name) for name in FILE_NAMES))
            write_raw(folder, "fashion_mnist", fetch(source, [mirror], TIMEOUT))


def _file(path: Path) -> SourceFile:
    return SourceFile(path.name, path.stat().st_size, sha256=sha256_of(path))


def _repacked(change: Damage) -> Damage:
    return lambda data, randomness: gzip.compress(change(gzip.decompress(data), randomness))


ARCHIVES: dict[str, Damage] = {
    **BYTES,
    "as it was": lambda data, _: data,
    "an empty member before": lambda data, _: gzip.compress(b"") + data,
    "an empty member after": lambda data, _: data + gzip.compress(b""),
    "another member after": lambda data, randomness: data + gzip.compress(randomness.randbytes(99)),
    "in two members": lambda data, _: b"".join(
        gzip.compress(part) for part in (gzip.decompress(data)[:99], gzip.decompress(data)[99:])
    ),
    "packed twice": lambda data, _: gzip.compress(data),
    "not packed": lambda data, _: gzip.decompress(data),
    "packed by bzip2": lambda data, _: bz2.compress(gzip.decompress(data)),
    "packed by xz": lambda data, _: lzma.compress(gzip.decompress(data)),
    "packed by zlib": lambda data, _: zlib.compress(gzip.decompress(data)),
    "another checksum": lambda data, randomness: data[:-8] + randomness.randbytes(4) + data[-4:],
    "another length": lambda data, randomness: data[:-4] + randomness.randbytes(4),
    "one bit of the content": _repacked(flip),
    "a byte less": _repacked(lambda content, _: content[:-1]),
    "a byte more": _repacked(lambda content, _: content + b"\0"),
    "nothing packed": _repacked(lambda content, _: b""),
    "zeros": _repacked(lambda content, _: bytes(len(content))),
    "garbage after the magic number": lambda data, randomness: (
        data[:2] + randomness.randbytes(len(data))
    ),
    "another time, another level": lambda data, _: gzip.compress(gzip.decompress(data), 1, mtime=1),
    "with a name": lambda data, _: b"\x1f\x8b\x08\x08" + data[4:10] + b"images\0" + data[10:],
    "a name without end": lambda data, _: b"\x1f\x8b\x08\x08" + data[4:10] + b"i" * len(data),
    "a long extra field": lambda data, _: (
        b"\x1f\x8b\x08\x04" + data[4:10] + b"\xff\xff" + data[10:]
    ),
    "reserved flags": lambda data, _: b"\x1f\x8b\x08\xe0" + data[4:],
    "not deflated": lambda data, _: b"\x1f\x8b\x07\x00" + data[4:],
}
"""Damage to a gzip file whose header has ten bytes."""
PACKED = list(product(ARCHIVES.items(), ("sha256", "gzip_md5")))


@promise(
    "A damaged or foreign gzip file is refused by its name or holds exactly the pinned content; "
    "where the file itself is pinned, it is refused",
    full=800,
    few=len(PACKED),
)
def archives(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    path = folder / f"{TRAIN_IMAGES}.gz"
    for (done, damage), pin in islice(in_turn(PACKED, randomness), count):
        # Runs of one value, as in images: content that compresses, but not to nothing.
        content = b"".join(
            bytes([randomness.randrange(256)]) * randomness.randint(1, 40) for _ in range(200)
        )
        archive = gzip.compress(content, mtime=0)
        path.write_bytes(damage(archive, randomness))
        pins = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "gzip_md5": hashlib.md5(archive, usedforsecurity=False).hexdigest(),
        }
        file = SourceFile(TRAIN_IMAGES, len(content), **{pin: pins[pin]})
        try:
            with redirect_stderr(io.StringIO()):
                found = dict(fetch(replace(SOURCE, files=(file,)), [folder], TIMEOUT))
            exact = found == {TRAIN_IMAGES: content}
            held = exact and (pin == "sha256" or done == "as it was")
            wrong = "" if held else "it was taken"
        except SourcesUnreachable as error:
            says = "instead of|its MD5" if pin == "gzip_md5" else "wrong content|damaged gzip"
            refused = re.match(f"  {path}: .*({says})", str(error).splitlines()[1])
            wrong = "" if refused and done != "as it was" else repr(error)
        yield Trial(f"{done}, pinned by {pin}", wrong)


@promise(
    "Of mirrors that answer anything (errors, web pages, wrong, damaged or endless content, "
    "silence) each file is taken from the first that has it; if none has, the error says why of "
    "each, no part of a file is left, and a mirror took at most 15 time-outs",
    full=110,
    few=len(FAULTS) + 4,
)
def mirrors(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    alone, good = in_turn(FAULTS, randomness), in_turn(GOOD, randomness)
    with running() as server:
        for number in range(count):
            if number < len(FAULTS):
                asked = [[next(alone)] * 4, [next(good)] * 4]
            elif number == len(FAULTS):
                asked = [[next(alone)] * 4 for _ in range(3)]
            else:
                choices = [randomness.choice([GOOD, tuple(FAULTS)]) for _ in range(16)]
                each = [randomness.choice(choice) for choice in choices]
                asked = [each[4 * n : 4 * n + 4] for n in range(randomness.randint(1, 4))]
            done = " | ".join(" ".join(dict.fromkeys(one)) for one in asked)
            yield Trial(done, _not_from_mirrors(server, asked, folder / f"{number}"))


def _not_from_mirrors(server: Server, asked: list[list[str]], folder: Path) -> str:
    had, faults = _expected(asked)
    mirrors = [f"{server.url}/{','.join(behaviours)}" for behaviours in asked]
    started, said, printed = time.monotonic(), "", io.StringIO()
    with redirect_stderr(printed):
        try:
            write_raw(folder, "fashion_mnist", fetch(SOURCE, mirrors, TIMEOUT))
        except SourcesUnreachable as error:
            said = str(error)
    seconds = time.monotonic() - started
    there = contents(folder)
    complete = there.pop(DESCRIPTION, None) is not None
    missing = ", ".join(file for file in FILE_NAMES if file not in had)
    lines = [line for line in printed.getvalue().splitlines() if "bytes from" not in line]
    checks = {
        "each file": there == {file: CONTENT[file] for file in had},
        "the description": complete == (not missing),
        "the error": said.startswith(f"data set tiny: no mirror gave {missing}\n") == bool(missing),
        "what is said of each": len(lines) == len(faults)
        and all(re.search(FAULTS[fault], line) for fault, line in zip(faults, lines, strict=True))
        and (not missing or all(f"\n  {line}\n" in said for line in lines)),
        "the time": seconds < len(asked) * PATIENCE * TIMEOUT + 2,
    }
    return failed(checks, f"{seconds:.1f} s; {sorted(there)}; {printed.getvalue()}{said}")


def _expected(asked: list[list[str]]) -> tuple[list[str], list[str]]:
    """The files that come, and the faults that are met, in order."""
    had: list[str] = []
    faults = []
    for behaviours in asked:
        for file, behaviour in zip(FILE_NAMES, behaviours, strict=True):
            if file in had:
                continue
            if behaviour in GOOD:
                had.append(file)
                continue
            faults.append(behaviour)
            if behaviour in DEAD:
                break
    return had, faults


PEAK = 300
"""MiB, resident, of a download that meets a bomb."""
MEASURED = (
    "import resource, subprocess, sys\n"
    "status = subprocess.call(sys.argv[1:])\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    "sys.exit(status)"
)
"""A process that knows of no memory but that of the one which it starts."""


@promise(
    f"A download that is given 512 MiB packed in half a megabyte, a file of 64 GiB or an answer "
    f"without end stays below {PEAK} MiB of memory, and says what it refused",
    full=16,
    few=1,
)
def bombs(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    files = _bomb_files()
    with running() as server:
        for kind in islice(in_turn(["zeros", "flood", "endless", *files], randomness), count):
            here = folder / "here"
            here.mkdir()
            shutil.copy(ROOT / "params.yaml", here)
            with edited(here / "params.yaml") as tree:
                tree["data"] |= {"name": "mnist", "mirrors": [], "timeout": 5}
            for name in FILE_NAMES if kind in files else ():
                (here / f"{name}.gz").write_bytes(files[kind])
                if kind == ENDLESS:
                    os.truncate(here / f"{name}.gz", 2**36)
            mirror = str(here) if kind in files else f"{server.url}/{kind}"
            yield Trial(kind, _not_small(here, mirror))
            shutil.rmtree(here)


ENDLESS = "64 GiB"


def _bomb_files() -> dict[str, bytes]:
    packed = bomb()
    long_field = packed[:3] + b"\x04" + packed[4:10] + b"\xff\xff" + bytes(2**16 - 1)
    return {
        "512 MiB of zeros": packed,
        "512 MiB, said to be 4 GiB": long_field + packed[10:-4] + b"\xff\xff\xff\xff",
        "512 files of 1 MiB": bomb(1) * 512,
        "512 MiB packed twice": gzip.compress(packed),
        ENDLESS: packed[:10],
    }


def _not_small(folder: Path, mirror: str) -> str:
    stage = [sys.executable, "-m", "stages.download"]
    result = run_in(folder, "-c", MEASURED, *stage, CNNPIPE_MIRROR=mirror)
    if result.returncode < 0:
        return result.stderr
    peak = int(result.stdout.split()[-1]) / 1024  # KiB on Linux
    checks = {
        "status": result.returncode == 1,
        "memory": peak < PEAK,
        "text": f"no mirror gave {TRAIN_IMAGES}" in result.stderr,
        "no traceback": "Traceback" not in result.stderr,
        "nothing left": not (folder / "data").exists(),
    }
    return failed(checks, f"{peak:.0f} MiB; {result.stderr}")

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
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

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
    Source,
    SourceFile,
)
from cnnpipe.download.files import download
from cnnpipe.download.mirrors import PATIENCE, SourcesUnreachable, fetch
from cnnpipe.params.data import DataParams, DatasetName
from cnnpipe.system.errors import InputError
from torture.campaign import Trial, judged, promise
from torture.damage import damaged
from torture.mirror import CONTENT, DEAD, FAULTS, GOOD, SOURCE, TIMEOUT, Server, bomb, running
from torture.project import ROOT, run_in

PARTNER = {TRAIN_IMAGES: TRAIN_LABELS, TEST_IMAGES: TEST_LABELS}
SEVERAL = 36
"""Images of the small data set: no pins of the project, only those of its own dataset.json."""

DamageFolder = Callable[[Path, random.Random], tuple[str, set[str]]]
"""Damages a folder; returns what was done, and the files of which the error must name one."""


@promise(
    "A damaged data set is refused in one line that names the damaged file, MNIST and digits even "
    "where dataset.json was edited to fit the damage",
    full=600,
    few=60,
)
def folders(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    good = _good_folders(folder)
    for number in range(count):
        name = randomness.choice(["digits", "fashion_mnist"])
        here = folder / f"{number}"
        shutil.copytree(good[name], here)
        done, files = _choose_damage(randomness)(here, randomness)
        yield Trial(f"{name}: {done}", *_refused(here, files))
        shutil.rmtree(here)


def _good_folders(folder: Path) -> dict[str, Path]:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (2 * SEVERAL, 28, 28), dtype=np.uint8)
    labels = np.arange(2 * SEVERAL, dtype=np.uint8) % 10
    small = {
        TRAIN_IMAGES: encode_idx(images[:SEVERAL]),
        TRAIN_LABELS: encode_idx(labels[:SEVERAL]),
        TEST_IMAGES: encode_idx(images[SEVERAL:]),
        TEST_LABELS: encode_idx(labels[SEVERAL:]),
    }
    write_raw(folder / "digits", "digits", digits_files().items())
    write_raw(folder / "fashion_mnist", "fashion_mnist", small.items())
    return {name: folder / name for name in ("digits", "fashion_mnist")}


def _refused(folder: Path, files: set[str]) -> tuple[bool, str]:
    try:
        load_dataset(folder)
    except Exception as error:
        said = str(error)
        named = any(str(folder / file) in said for file in files)
        return isinstance(error, InputError) and named and said.isprintable(), repr(error)
    return False, "it was loaded"


def _choose_damage(randomness: random.Random) -> DamageFolder:
    common: list[DamageFolder] = [_bytes, _bytes, _bytes, _fitting, _fitting, _fitting]
    return randomness.choice([*common, _swapped, _parts_swapped, _foreign, _described, _no_file])


def _bytes(folder: Path, randomness: random.Random) -> tuple[str, set[str]]:
    file = randomness.choice([*FILE_NAMES, DESCRIPTION])
    good = (folder / file).read_bytes()
    while True:
        done, content = damaged(good, randomness)
        # White space is all that a JSON file can lose and mean the same.
        if file != DESCRIPTION or content.split() != good.split():
            break
    (folder / file).write_bytes(content)
    return f"{file}: {done}", {file}


def _fitting(folder: Path, randomness: random.Random) -> tuple[str, set[str]]:
    """Contents that are no such data set, described by a dataset.json that fits them."""
    name: DatasetName = json.loads((folder / DESCRIPTION).read_bytes())["name"]
    files = {file: (folder / file).read_bytes() for file in FILE_NAMES}
    file = randomness.choice(FILE_NAMES)
    if name == "digits" and randomness.random() < 0.5:
        wrong = _wrong_values(files[file], randomness)
    else:
        wrong = _wrong_structures(files, file, randomness)
    done = randomness.choice(list(wrong))
    files[file] = wrong[done]
    write_raw(folder, name, files.items())
    return f"{file}: {done}, and dataset.json fits", {file, PARTNER.get(file, file)}


def _wrong_structures(
    files: dict[str, bytes], file: str, randomness: random.Random
) -> dict[str, bytes]:
    content = files[file]
    header = bytearray(content[:8])
    header[randomness.randrange(4)] ^= 1 << randomness.randrange(8)
    wrong = {
        "another magic number": bytes(header) + content[8:],
        "a byte less": content[:-1],
        "a byte more": content + b"\0",
        "nothing": b"",
        "the header alone": content[:8],
    }
    for size in (0, 1, 2**31, 2**32 - 1):
        wrong[f"a first size of {size}"] = content[:4] + struct.pack(">I", size) + content[8:]
    if file in PARTNER:
        images = parse_images(content)  # (N, 28, 28)
        many = len(images)
        wrong["labels"] = files[PARTNER[file]]
        wrong["an image less"] = encode_idx(images[1:])
        for shape in ((many, 14, 56), (many, 56, 14), (many, 784), (28 * many, 28), (many * 784,)):
            wrong[f"shape {shape}"] = encode_idx(images.reshape(shape))
        return wrong
    labels = parse_labels(content, 10)  # (N,)
    wrong["images"] = files[TRAIN_IMAGES]
    wrong["a label less"] = encode_idx(labels[1:])
    wrong["a column"] = encode_idx(labels[:, None])
    for label in (10, 255):
        other = labels.copy()
        other[randomness.randrange(len(labels))] = label
        wrong[f"a label {label}"] = encode_idx(other)
    return wrong


def _wrong_values(content: bytes, randomness: random.Random) -> dict[str, bytes]:
    """What only a pin can tell from the right values."""
    header = 16 if content[3] == 3 else 8
    values = bytearray(content)
    place = randomness.randrange(header, len(content))
    values[place] = (values[place] + 1) % 10
    return {
        "another value": bytes(values),
        "zeros": content[:header] + bytes(len(content) - header),
    }


def _swapped(folder: Path, randomness: random.Random) -> tuple[str, set[str]]:
    one, other = randomness.sample([*FILE_NAMES, DESCRIPTION], 2)
    _swap(folder / one, folder / other)
    return f"{one} and {other} swapped", {one, other}


def _parts_swapped(folder: Path, randomness: random.Random) -> tuple[str, set[str]]:
    _swap(folder / TRAIN_IMAGES, folder / TEST_IMAGES)
    _swap(folder / TRAIN_LABELS, folder / TEST_LABELS)
    return "training and test images swapped, with their labels", set(FILE_NAMES)


def _swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def _foreign(folder: Path, randomness: random.Random) -> tuple[str, set[str]]:
    """A file of the other of the two data sets."""
    other = "digits" if "fashion" in (folder / DESCRIPTION).read_text() else "fashion_mnist"
    file = randomness.choice([*FILE_NAMES, DESCRIPTION])
    shutil.copy(folder.parent / other / file, folder / file)
    return f"{file} of {other}", set(FILE_NAMES) if file == DESCRIPTION else {file}


def _described(folder: Path, randomness: random.Random) -> tuple[str, set[str]]:
    """Another description of the same files."""
    described = json.loads((folder / DESCRIPTION).read_bytes())
    file = randomness.choice(FILE_NAMES)
    entry = described["files"][file]
    changes: dict[str, Callable[[], object]] = {
        "another name": lambda: described.update(name=randomness.choice(["mnist", "cifar10", 3])),
        "another class": lambda: described["classes"].reverse(),
        "no classes": lambda: described.pop("classes"),
        "another digest": lambda: entry.update(sha256=entry["sha256"][::-1]),
        "no digest": lambda: entry.pop("sha256"),
        "another size": lambda: entry.update(bytes=entry["bytes"] + 1),
        "a file more": lambda: described["files"].update(more=entry),
        "a file less": lambda: described["files"].pop(file),
    }
    done = randomness.choice(list(changes))
    changes[done]()
    (folder / DESCRIPTION).write_text(json.dumps(described))
    # Under another name the first file is not the pinned one.
    named = {*FILE_NAMES} if done == "another name" else {file}
    return f"dataset.json: {done} ({file})", {DESCRIPTION, *named}


def _no_file(folder: Path, randomness: random.Random) -> tuple[str, set[str]]:
    file = randomness.choice([*FILE_NAMES, DESCRIPTION])
    path = folder / file
    done = randomness.choice(["missing", "a folder", "a link to itself", "a link to nothing"])
    path.unlink()
    if done == "a folder":
        path.mkdir()
    elif done != "missing":
        path.symlink_to(file if done == "a link to itself" else "nothing")
    return f"{file}: {done}", {file}


@promise(
    "Over a damaged data set a fresh download puts the right bytes; where a folder has a file's "
    "name it says so, and does it once the data set is deleted",
    full=120,
    few=8,
)
def repairs(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    good = _good_folders(folder)
    (folder / "mirror").mkdir()
    for file in FILE_NAMES:
        (folder / "mirror" / f"{file}.gz").write_bytes(
            gzip.compress((good["fashion_mnist"] / file).read_bytes())
        )
    for number in range(count):
        name = randomness.choice(["digits", "fashion_mnist"])
        here = folder / f"{number}"
        shutil.copytree(good[name], here)
        done, _ = _choose_damage(randomness)(here, randomness)
        yield Trial(f"{name}: {done}", *_repaired(here, good[name], folder / "mirror"))
        shutil.rmtree(here)


def _repaired(folder: Path, good: Path, mirror: Path) -> tuple[bool, str]:
    in_the_way = [path for path in folder.iterdir() if path.is_dir()]
    try:
        _download(folder, good, mirror)
    except OSError as error:
        if [str(path) for path in in_the_way] != [error.filename]:
            return False, repr(error)
        shutil.rmtree(folder)
        _download(folder, good, mirror)
    wrong = [path.name for path in folder.iterdir() if not (good / path.name).is_file()]
    wrong += [path.name for path in good.iterdir() if not _same(path, folder / path.name)]
    if not wrong:
        load_dataset(folder)
    return not wrong, f"not as they were: {', '.join(wrong)}"


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def _download(folder: Path, good: Path, mirror: Path) -> None:
    """As the stage does it; the small data set has no mirrors of its own."""
    with redirect_stderr(io.StringIO()):
        if good.name == "digits":
            params = DataParams(name="digits", validation=0.1, mirrors=[], timeout=1)
            download(params, folder)
        else:
            contents = {file: (good / file).read_bytes() for file in FILE_NAMES}
            write_raw(folder, "fashion_mnist", fetch(_source(contents), [mirror], TIMEOUT))


def _source(contents: dict[str, bytes]) -> Source:
    files = (
        SourceFile(name, len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    )
    return Source("small", tuple(files), ())


@promise(
    "A damaged or foreign gzip file is refused by its name or holds exactly the pinned content; "
    "where the file itself is pinned, it is refused",
    full=800,
    few=80,
)
def archives(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    for number in range(count):
        # Runs of one value, as in images: content that compresses, but not to nothing.
        content = b"".join(
            bytes([randomness.randrange(256)]) * randomness.randint(1, 40) for _ in range(200)
        )
        archive = gzip.compress(content, mtime=0)
        done, answer = _archive(archive, content, randomness)
        (folder / f"{TRAIN_IMAGES}.gz").write_bytes(answer)
        if number % 4 == 0:
            pin = hashlib.md5(archive, usedforsecurity=False).hexdigest()
            file = SourceFile(TRAIN_IMAGES, len(content), gzip_md5=pin)
        else:
            file = _source({TRAIN_IMAGES: content}).files[0]
        held, said = _refused_or_exact(replace(SOURCE, files=(file,)), folder, content)
        if file.gzip_md5 and said == "exact":
            held, said = False, "the file is not the pinned one"
        yield Trial(done, held, said)


def _refused_or_exact(source: Source, mirror: Path, content: bytes) -> tuple[bool, str]:
    with redirect_stderr(io.StringIO()):
        try:
            fetched = dict(fetch(source, [mirror], TIMEOUT))
        except SourcesUnreachable as error:
            said = str(error).splitlines()
            return said[1].startswith(f"  {mirror / TRAIN_IMAGES}.gz: "), repr(error)
        except Exception as error:
            return False, repr(error)
    return fetched == {TRAIN_IMAGES: content}, "exact" if fetched else "nothing"


def _archive(archive: bytes, content: bytes, randomness: random.Random) -> tuple[str, bytes]:
    """What was done, and other bytes than `archive`."""
    if randomness.random() < 0.5:
        return damaged(archive, randomness)
    other = bytearray(content)
    other[randomness.randrange(len(content))] ^= 1 << randomness.randrange(8)
    body, trailer = archive[10:-8], archive[-8:]
    made = {
        "an empty member before": gzip.compress(b"", mtime=0) + archive,
        "an empty member after": archive + gzip.compress(b"", mtime=0),
        "another member after": archive + gzip.compress(randomness.randbytes(99)),
        "in two members": gzip.compress(content[:99]) + gzip.compress(content[99:]),
        "packed twice": gzip.compress(archive),
        "not packed": content,
        "packed by bzip2": bz2.compress(content),
        "packed by xz": lzma.compress(content),
        "packed by zlib": zlib.compress(content),
        "another checksum": archive[:-8] + randomness.randbytes(4) + archive[-4:],
        "another length": archive[:-4] + randomness.randbytes(4),
        "one bit of the content": gzip.compress(bytes(other)),
        "a byte less": gzip.compress(content[:-1]),
        "a byte more": gzip.compress(content + b"\0"),
        "nothing packed": gzip.compress(b""),
        "zeros": gzip.compress(bytes(len(content))),
        "garbage after the magic number": archive[:2] + randomness.randbytes(len(archive)),
        "another time, another level": gzip.compress(content, 1, mtime=1),
        "with a name": b"\x1f\x8b\x08\x08" + archive[4:10] + b"images\0" + body + trailer,
        "a name without end": b"\x1f\x8b\x08\x08" + archive[4:10] + b"i" * len(archive),
        "a long extra field": b"\x1f\x8b\x08\x04" + archive[4:10] + b"\xff\xff" + body + trailer,
        "reserved flags": b"\x1f\x8b\x08\xe0" + archive[4:],
        "not deflated": b"\x1f\x8b\x07\x00" + archive[4:],
    }
    done = randomness.choice(list(made))
    return done, made[done]


@promise(
    "Of mirrors that answer anything (errors, web pages, wrong, damaged or endless content, "
    "silence) each file is taken from the first that has it; if none has, the error says why of "
    "each, no part of a file is left, and a mirror took at most 15 time-outs",
    full=110,
    few=len(FAULTS),
)
def mirrors(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    alone = randomness.sample(list(FAULTS), len(FAULTS))
    with running() as server:
        for number in range(count):
            if number < len(alone):
                asked = [[alone[number]] * 4, ["good"] * 4]
            else:
                choices = [randomness.choice([GOOD, tuple(FAULTS)]) for _ in range(16)]
                each = [randomness.choice(choice) for choice in choices]
                asked = [each[4 * n : 4 * n + 4] for n in range(randomness.randint(1, 4))]
            done = " | ".join(" ".join(dict.fromkeys(one)) for one in asked)
            yield Trial(done, *_from_mirrors(server, asked, folder / f"{number}"))


def _from_mirrors(server: Server, asked: list[list[str]], folder: Path) -> tuple[bool, str]:
    had, faults = _expected(asked)
    mirrors = [f"{server.url}/{','.join(behaviours)}" for behaviours in asked]
    started, said, printed = time.monotonic(), "", io.StringIO()
    with redirect_stderr(printed):
        try:
            write_raw(folder, "fashion_mnist", fetch(SOURCE, mirrors, TIMEOUT))
        except SourcesUnreachable as error:
            said = str(error)
        except Exception as error:
            return False, repr(error)
    seconds = time.monotonic() - started
    there = {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}
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
    seen = f"{seconds:.1f} s; {sorted(there)}; {printed.getvalue()}{said}"
    return judged(checks, seen)


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
    tree = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["data"] |= {"name": "mnist", "mirrors": [], "timeout": 5}
    with running() as server:
        kinds = ["zeros", "flood", "endless", *_bomb_files()]
        for number in range(count):
            if not number % len(kinds):
                randomness.shuffle(kinds)
            kind = kinds[number % len(kinds)]
            here = folder / f"{number}"
            here.mkdir()
            with (here / "params.yaml").open("w", encoding="utf-8") as file:
                YAML(typ="safe").dump(tree, file)
            mirror = f"{server.url}/{kind}"
            if kind in _bomb_files():
                mirror = str(here)
                for name in FILE_NAMES:
                    _bomb_files()[kind](here / f"{name}.gz")
            yield Trial(kind, *_small_download(here, mirror))
            shutil.rmtree(here)


def _bomb_files() -> dict[str, Callable[[Path], object]]:
    def sparse(path: Path) -> None:
        path.write_bytes(bomb()[:10])
        os.truncate(path, 2**36)

    packed = bomb()
    said_to_be_4_gib = packed[:3] + b"\x04" + packed[4:10] + b"\xff\xff" + bytes(2**16 - 1)
    return {
        "512 MiB of zeros": lambda path: path.write_bytes(packed),
        "512 MiB, said to be 4 GiB": lambda path: path.write_bytes(
            said_to_be_4_gib + packed[10:-4] + b"\xff\xff\xff\xff"
        ),
        "512 files of 1 MiB": lambda path: path.write_bytes(bomb(1) * 512),
        "512 MiB packed twice": lambda path: path.write_bytes(gzip.compress(packed)),
        "64 GiB": sparse,
    }


def _small_download(folder: Path, mirror: str) -> tuple[bool, str]:
    stage = [sys.executable, "-m", "stages.download"]
    result = run_in(folder, "-c", MEASURED, *stage, CNNPIPE_MIRROR=mirror)
    if result.returncode < 0:
        return False, result.stderr
    peak = int(result.stdout.split()[-1]) / 1024  # KiB on Linux
    checks = {
        "status": result.returncode == 1,
        "memory": peak < PEAK,
        "text": f"no mirror gave {TRAIN_IMAGES}" in result.stderr,
        "no traceback": "Traceback" not in result.stderr,
        "nothing left": not (folder / "data").exists(),
    }
    return judged(checks, f"{peak:.0f} MiB; {result.stderr}")

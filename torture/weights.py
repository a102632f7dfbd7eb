"""Weights and checkpoints come back bit for bit, or they are refused; nothing in them is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from itertools import combinations, islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from cnnpipe.data.dataset import Split
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.models import build_model, load_model, save_model
from cnnpipe.params.loading import load_params
from cnnpipe.system.artifacts import TEMPORARY, load_weights, save_weights
from cnnpipe.system.errors import InputError
from cnnpipe.train.checkpoint import Checkpoints
from cnnpipe.train.loop import train
from cnnpipe.validate.schema import Params
from torture.campaign import Trial, failed, in_turn, promise
from torture.damage import BYTES, OBSTACLES, Damage, FileDamage, rewritten
from torture.project import ROOT

SMALL: dict[str, dict[str, Any]] = {
    "lenet5": {"activation": "relu", "pooling": "max", "classes": 10},
    "vgg": {"blocks": [[4, 4], [8]], "hidden": 16, "dropout": 0.5, "classes": 10},
}


Header = dict[str, Any]
"""Of a safetensors file: each tensor's dtype, shape and place; and the metadata."""


def _parts(data: bytes) -> tuple[Header, bytearray]:
    """The header of a safetensors file, and the tensors' bytes."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), bytearray(data[end:])


def _joined(header: bytes, payload: bytearray) -> bytes:
    return len(header).to_bytes(8, "little") + header + payload


def _edited(
    change: Callable[[Header, bytearray, random.Random], object], indent: int | None = None
) -> Damage:
    """`change` gets the header and the tensors' bytes; `indent` is that of the new header."""

    def damage(data: bytes, randomness: random.Random) -> bytes:
        header, payload = _parts(data)
        change(header, payload, randomness)
        text = json.dumps(header, indent=indent).encode()
        return _joined(text + b" " * (-len(text) % 8), payload)  # the tensors stay aligned

    return damage


def _in_header(change: Callable[[Header, str, random.Random], object]) -> Damage:
    """`change` gets the header and the name of one of its tensors."""
    return _edited(lambda header, _, rng: change(header, rng.choice(_names(header)), rng))


def _in_metadata(change: Callable[[dict[str, Any], str], object]) -> Damage:
    """`change` gets the digest with the metadata, and one of their keys; no new digest is made."""

    def edit(header: Header, payload: bytearray, randomness: random.Random) -> None:
        entry = json.loads(header["__metadata__"]["cnnpipe"])
        change(entry, randomness.choice(list(entry["metadata"])))
        header["__metadata__"]["cnnpipe"] = json.dumps(entry)

    return _edited(edit)


def _names(header: Header) -> list[str]:
    return [name for name in header if name != "__metadata__"]


def _swap_contents(header: Header, payload: bytearray, randomness: random.Random) -> None:
    one, other = (
        slice(*header[name]["data_offsets"]) for name in _alike(header, payload, randomness)
    )
    payload[one], payload[other] = payload[other], payload[one]


def _swap_names(header: Header, payload: bytearray, randomness: random.Random) -> None:
    one, other = _alike(header, payload, randomness)
    header[one], header[other] = header[other], header[one]


def _alike(header: Header, payload: bytearray, randomness: random.Random) -> tuple[str, str]:
    """Two tensors of the same type and shape and other values; else of any shape."""

    def content(name: str) -> bytearray:
        return payload[slice(*header[name]["data_offsets"])]

    def kind(name: str) -> tuple[object, object]:
        return header[name]["dtype"], header[name]["shape"]

    pairs = combinations(_names(header), 2)
    different = [(a, b) for a, b in pairs if content(a) != content(b)]
    return randomness.choice([(a, b) for a, b in different if kind(a) == kind(b)] or different)


def _drop_the_last(header: Header, payload: bytearray, randomness: random.Random) -> None:
    """With its bytes, so that the file stays valid."""
    last = max(_names(header), key=lambda name: header[name]["data_offsets"][1])
    del payload[header.pop(last)["data_offsets"][0] :]


def _another_type(header: Header, tensor: str, randomness: random.Random) -> None:
    of_the_same_size = {"F32": ["I32", "U32"], "I64": ["F64", "U64"], "U8": ["I8", "BOOL"]}
    others = of_the_same_size.get(header[tensor]["dtype"], ["F16", "nonsense"])
    header[tensor]["dtype"] = randomness.choice(others)


def _another_offset(header: Header, tensor: str, randomness: random.Random) -> None:
    offset = randomness.choice([-4, 1, 4, 2**40, 2**63])
    header[tensor]["data_offsets"][randomness.randrange(2)] += offset


def _another_digit(entry: dict[str, Any], key: str) -> None:
    """A digit for a digit, so that only the digest can tell; where there is none, another sign."""
    text = entry["metadata"][key]
    digit = re.search(r"\d", text)
    place, sign = (digit.start(), (int(digit[0]) + 1) % 10) if digit else (0, "!")
    entry["metadata"][key] = f"{text[:place]}{sign}{text[place + 1 :]}"


def _another_sign(entry: dict[str, Any], key: str) -> None:
    entry["metadata"][key] = f"!{entry['metadata'][key][1:]}"


def _another_length(data: bytes, randomness: random.Random) -> bytes:
    length = int.from_bytes(data[:8], "little")
    other = [0, 1, length - 1, length + 1, len(data), 10**8, 2**40, 2**63, 2**64 - 1]
    return randomness.choice(other).to_bytes(8, "little") + data[8:]


def _another_order(header: Header, payload: bytearray, randomness: random.Random) -> None:
    """The keys' order means nothing, as white space does."""
    reversed_items = list(reversed(header.items()))
    header.clear()
    header.update(reversed_items)


HARMLESS = "the header written another way"
HEADERS = (b"{}", b"[]", b"null", b"", b'"text"', b"{" * 999, b"[" * 99_999, b"\xff" * 99)
METADATA: list[dict[str, str]] = [
    *({}, {"cnnpipe": "{}"}, {"cnnpipe": "[1]"}, {"cnnpipe": "x"}, {"cnnpipe": "[" * 9_999}),
    {"a": "b"},
]
STRUCTURES: dict[str, Damage] = {
    "contents swapped": _edited(_swap_contents),
    "names swapped": _edited(_swap_names),
    "the last tensor missing": _edited(_drop_the_last),
    "a tensor renamed": _in_header(lambda header, name, _: header.update(renamed=header.pop(name))),
    "another type": _in_header(_another_type),
    "an axis more": _in_header(lambda header, name, _: header[name]["shape"].insert(0, 1)),
    "a huge shape": _in_header(
        lambda header, name, _: header[name].update(shape=[2**62, 4, 2**62])
    ),
    "another offset": _in_header(_another_offset),
    "no metadata": _in_header(lambda header, _, __: header.pop("__metadata__")),
    "other metadata": _in_header(
        lambda header, _, rng: header.update(__metadata__=rng.choice(METADATA))
    ),
    "another digit in the metadata": _in_metadata(_another_digit),
    "another sign in the metadata": _in_metadata(_another_sign),
    "a key more": _in_metadata(lambda entry, _: entry["metadata"].update(more="text")),
    "a key less": _in_metadata(lambda entry, key: entry["metadata"].pop(key)),
    "another digest": _in_metadata(lambda entry, _: entry.update(sha256="0" * 64)),
    "a digest of null": _in_metadata(lambda entry, _: entry.update(sha256=None)),
    "no digest": _in_metadata(lambda entry, _: entry.pop("sha256")),
    "a list as metadata": _in_metadata(lambda entry, key: entry.update(metadata=[key])),
    "another length of the header": _another_length,
    "another header": lambda data, rng: _joined(rng.choice(HEADERS), _parts(data)[1]),
}
IN_PLACE: dict[str, FileDamage] = {
    **{name: rewritten(damage) for name, damage in (BYTES | STRUCTURES).items()},
    HARMLESS: rewritten(_edited(_another_order, indent=3)),
}


def _resaved(
    change: Callable[[dict[str, Tensor], dict[str, str], random.Random], object],
) -> FileDamage:
    """Save the file again with a digest that fits."""

    def resave(path: Path, randomness: random.Random) -> None:
        tensors, metadata = load_weights(path)
        change(tensors, metadata, randomness)
        save_weights(path, tensors, metadata)

    return resave


def _refitted(change: Callable[[dict[str, Any], dict[str, Tensor], str], object]) -> FileDamage:
    """`change` gets the description of a network, the weights, and the name of one of them."""

    def refit(tensors: dict[str, Tensor], metadata: dict[str, str], rng: random.Random) -> None:
        described = json.loads(metadata["cnnpipe"])
        change(described, tensors, rng.choice(list(tensors)))
        metadata["cnnpipe"] = json.dumps(described)

    return _resaved(refit)


def _described_as(text: str) -> FileDamage:
    return _resaved(lambda _, metadata, __: metadata.update(cnnpipe=text))


NETWORKS: dict[str, FileDamage] = {
    "a tensor less": _refitted(lambda _, tensors, name: tensors.pop(name)),
    "a tensor more": _refitted(lambda _, tensors, __: tensors.update(more=torch.zeros(1))),
    "another shape": _refitted(lambda _, tensors, name: tensors.update({name: torch.zeros(3, 3)})),
    "a class more": _refitted(lambda net, _, __: net["architecture"].update(classes=11)),
    "an unknown setting": _refitted(lambda net, _, __: net["architecture"].update(depth=3)),
    "no activation": _refitted(lambda net, _, __: net["architecture"].update(activation="gelu")),
    "no architecture": _refitted(lambda net, _, __: net.pop("architecture")),
    "no normalisation": _refitted(lambda net, _, __: net.pop("normalization")),
    "a normalisation more": _refitted(lambda net, _, __: net["normalization"].update(more=1)),
    "the other name": _refitted(
        lambda net, _, __: net.update(name="vgg" if net["name"] == "lenet5" else "lenet5")
    ),
    "an unknown name": _refitted(lambda net, _, __: net.update(name="alexnet")),
    "a list as the name": _refitted(lambda net, _, __: net.update(name=["vgg"])),
    **{f"described as {text!r}": _described_as(text) for text in ("", "[]", "{")},
}
"""Weights that do not belong to the network described, under a digest that fits."""


class _RunsWhenUnpickled:
    """Makes the folder `marker` when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def _torch_saved(value: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    torch.save(value, content, **options)
    return content.getvalue()


def _npz(other: Path) -> bytes:
    content = io.BytesIO()
    np.savez(content, *(tensor.numpy() for tensor in load_weights(other)[0].values()))
    return content.getvalue()


def _zip(other: Path) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.write(other, "lenet5.safetensors")
    return content.getvalue()


FOREIGN: dict[str, Callable[[Path, Path], bytes]] = {
    "weights without a digest": lambda other, trap: safetensors.torch.save(load_weights(other)[0]),
    "a pickle": lambda other, trap: pickle.dumps(other.read_bytes()),
    "a pickle that runs": lambda other, trap: pickle.dumps(_RunsWhenUnpickled(trap)),
    "of torch.save": lambda other, trap: _torch_saved(load_weights(other)[0]),
    "of torch.save, runs": lambda other, trap: _torch_saved(_RunsWhenUnpickled(trap)),
    "of an old torch.save, runs": lambda other, trap: _torch_saved(
        _RunsWhenUnpickled(trap), _use_new_zipfile_serialization=False
    ),
    "a whole module": lambda other, trap: _torch_saved(nn.Linear(2, 2)),
    "an npz file": lambda other, trap: _npz(other),
    "a zip file": lambda other, trap: _zip(other),
    "a web page": lambda other, trap: b"<!DOCTYPE html><html>404</html>",
    "a Git LFS pointer": lambda other, trap: b"version https://git-lfs.github.com/spec/v1\n",
    "zeros": lambda other, trap: bytes(100_000),
    "noise": lambda other, trap: random.Random(0).randbytes(100_000),
}
"""Contents that this project did not write: of another weights file, and of what makes a folder
when it is unpickled."""


def _foreign(other: Path, trap: Path) -> dict[str, FileDamage]:
    def written(content: bytes) -> FileDamage:
        return lambda path, _: path.write_bytes(content)

    return {name: written(make(other, trap)) for name, make in FOREIGN.items()}


@promise(
    "A damaged or foreign weights file is refused in one line that names it, or every weight is "
    "bit for bit the saved one; a pickle under its name is never run",
    full=800,
    few=len(SMALL) * (len(IN_PLACE) + len(NETWORKS) + len(FOREIGN)),
)
def models(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    files = {name: _save(name, folder / "good") for name in SMALL}
    intact = {name: _content(file) for name, file in files.items()}
    trap = folder / "run"
    kinds = [
        (name, *kind)
        for name, other in zip(files, reversed(files.values()), strict=True)
        for kind in (IN_PLACE | NETWORKS | _foreign(other, trap)).items()
    ]
    for name, done, damage in islice(in_turn(kinds, randomness), count):
        path = folder / f"{name}.safetensors"
        shutil.copy(files[name], path)
        damage(path, randomness)
        wrong = _not_refused(path, intact[name]) or _was_run(trap)
        yield Trial(f"{name}: {done}", wrong)


def _save(name: str, folder: Path) -> Path:
    generator = torch.Generator().manual_seed(len(name))
    model = build_model(name, **SMALL[name])
    with torch.no_grad():
        for tensor in model.state_dict().values():
            # Statistics of batch normalisation, too, are as different as after training.
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
    path = folder / f"{name}.safetensors"
    save_model(path, model, name, SMALL[name], Normalization(0.1307, 0.3081))
    return path


def _content(path: Path) -> tuple[object, ...]:
    """All that makes a network, in a form that tells by `==` whether every bit is the same."""
    model, normalization = load_model(path)
    return str(model), normalization, _bits(model.state_dict())


def _bits(value: Any) -> Any:
    """`value` with its tensors as their dtype, shape and bytes."""
    if isinstance(value, Tensor):
        content = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return str(value.dtype), tuple(value.shape), content
    if isinstance(value, dict):
        return {key: _bits(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_bits(item) for item in value]
    return value


def _not_refused(path: Path, intact: tuple[object, ...]) -> str:
    try:
        return "" if _content(path) == intact else "it was loaded"
    except InputError as error:
        said = str(error)
        return "" if said.isprintable() and said.startswith(f"{path}: ") else repr(error)


def _was_run(trap: Path) -> str:
    """What is wrong if a pickle was run, which makes the folder `trap`."""
    if not trap.exists():
        return ""
    trap.rmdir()
    return "it was run"


NO_STATE = r"not the state of a run \("
STATES: dict[str, tuple[dict[str, str], str]] = {
    "of another run": ({"key": "another"}, "of another run"),
    "of no state": ({"state": "null3"}, NO_STATE),
    "of a state that lacks tensors": ({"state": '{"tensor": "no"}'}, NO_STATE),
    "of no time": ({"seconds": "soon"}, NO_STATE),
}
"""Other metadata of a checkpoint, under a digest that fits, and what is said of it."""
KEYS = ("key", "seconds", "state")


def _with(changes: dict[str, str]) -> FileDamage:
    return _resaved(lambda _, metadata, __: metadata.update(changes))


def _without(key: str) -> FileDamage:
    return _resaved(lambda _, metadata, __: metadata.pop(key))


def _mine(path: Path, randomness: random.Random) -> None:
    path.write_bytes(b"mine")


STRAYS: list[tuple[str, str, FileDamage]] = [
    *(
        ("step-9999999.safetensors", name, damage)
        for name, damage in OBSTACLES.items()
        if name != "no file"
    ),
    *(
        (f"{stem}.safetensors", "a file", _mine)
        for stem in ("step-", "step-0000004 (copy)", "step-4e9", "step-²")
    ),
    (".step-0000004.safetensors.0123abcd.tmp", "a half-written file", _mine),
]
"""What looks like a checkpoint and is none. It is left alone, but for what a killed save left."""


@promise(
    "A damaged checkpoint is named and not used: a run goes on from the newest intact one, in "
    "exactly the state that it held, or says that there is none",
    full=400,
    few=len(IN_PLACE) + len(FOREIGN) + len(STATES) + len(KEYS) + len(STRAYS),
)
def checkpoints(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    with _project(folder):
        older, newer = _train()
        good = {file: file.read_bytes() for file in (older, newer)}
        states = {newer: _bits(_opened().load())}
        newer.unlink()
        states[older] = _bits(_opened().load())
        save_weights(folder / "foreign", load_weights(older)[0], {})
        trap = folder / "run"
        damages = {
            **{name: (damage, "") for name, damage in IN_PLACE.items() if name != HARMLESS},
            **{name: (damage, "") for name, damage in _foreign(folder / "foreign", trap).items()},
            **{name: (_with(changes), says) for name, (changes, says) in STATES.items()},
            **{f"no {key}": (_without(key), "") for key in KEYS},
        }
        kinds = [("", done, *how) for done, how in damages.items()]
        kinds += [(name, done, damage, "") for name, done, damage in STRAYS]
        for stray, done, damage, says in islice(in_turn(kinds, randomness), count):
            for file, content in good.items():
                file.write_bytes(content)
            lost = [] if stray else randomness.choice([[newer], [newer], [older], [older, newer]])
            for path in lost or [newer.with_name(stray)]:
                damage(path, randomness)
            names = [file.name for file in lost] or stray
            yield Trial(f"{names}: {done}", _was_run(trap) or _not_resumed(states, lost, says))
            shutil.rmtree(older.parent, ignore_errors=True)
            older.parent.mkdir()


@contextmanager
def _project(folder: Path) -> Iterator[None]:
    with patch.dict(os.environ, {"DVC_ROOT": str(folder)}), torch.random.fork_rng():
        os.environ.pop("DVC_EXP_NAME", None)
        yield


def _opened() -> Checkpoints:
    return Checkpoints("vgg", "0123456789abcdef", interval=0)


def _train() -> list[Path]:
    """Train for two epochs and return the checkpoints."""
    torch.manual_seed(0)
    images = torch.randint(256, (64, 28, 28), dtype=torch.uint8)
    split = Split(images, torch.arange(64) % 10)
    changes = {"epochs": 2, "batch_size": 32, "precision": "float32"}
    run = load_params(Params, ROOT / "params.yaml").train.model_copy(update=changes)
    model = build_model("vgg", **SMALL["vgg"])
    arguments = (model, split, split, run, Normalization.of(images))
    train(*arguments, seed=0, progress=False, checkpoints=_opened())
    return _opened().files()


def _not_resumed(states: dict[Path, Any], lost: Sequence[Path], says: str) -> str:
    folder = _opened().folder
    strays = set(folder.iterdir()) - states.keys() - set(folder.glob(TEMPORARY))
    intact = [file for file in sorted(states, reverse=True) if file not in lost]
    newest = intact[0] if intact else None
    printed = io.StringIO()
    with redirect_stderr(printed), _opened().locked():
        state = _opened().load()
    lines = printed.getvalue().splitlines()
    met = sorted((file for file in lost if newest is None or file > newest), reverse=True)
    checks = {
        "the state": _bits(state) == (states[newest] if newest else None),
        "what is said": len(lines) == len(met) + (newest is None)
        and all(
            re.fullmatch(rf"Warning: {file}: damaged: .*{says}.*; it is not used", line)
            for line, file in zip(lines, met, strict=False)
        ),
        "strays": all(path.is_symlink() or path.exists() for path in strays),
        "damaged files": not any(file.exists() for file in met),
        "what a killed save left": not any(folder.glob(TEMPORARY)),
        "intact files": all(file.exists() for file in intact),
    }
    return failed(checks, printed.getvalue())

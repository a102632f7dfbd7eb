"""Weights and checkpoints come back bit for bit, or they are refused; nothing in them is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
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
from cnnpipe.params.models import ModelName
from cnnpipe.system.artifacts import load_weights, save_weights
from cnnpipe.system.errors import InputError
from cnnpipe.train.checkpoint import Checkpoints
from cnnpipe.train.loop import train
from cnnpipe.validate.schema import Params
from torture.campaign import Trial, judged, promise
from torture.damage import Damage, damaged
from torture.project import ROOT

SMALL: dict[ModelName, dict[str, Any]] = {
    "lenet5": {"activation": "relu", "pooling": "max", "classes": 10},
    "vgg": {"blocks": [[4, 4], [8]], "hidden": 16, "dropout": 0.5, "classes": 10},
}


@promise(
    "A damaged or foreign weights file is refused in one line that names it, or every weight is "
    "bit for bit the saved one; a pickle under its name is never run",
    full=800,
    few=80,
)
def models(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    marker = folder / "run"
    files = {name: _save(name, folder / "good") for name in SMALL}
    intact = {name: _content(file) for name, file in files.items()}
    for number in range(count):
        name = randomness.choice(list(files))
        path = folder / f"{name}.safetensors"
        draw = randomness.random()
        if draw < 0.7:
            done, content = damaged_weights(files[name].read_bytes(), randomness)
            path.write_bytes(content)
        elif draw < 0.85:
            done = _refitted(path, name, *load_weights(files[name]), randomness)
        else:
            others = [file for other, file in files.items() if other != name]
            done = _foreign(path, marker, others[0], randomness)
        held, said = _refused_or_intact(path, intact[name])
        if marker.exists():
            held, said = False, "it was run"
            marker.rmdir()
        yield Trial(f"{number}: {name}: {done}", held, said)


def _save(name: ModelName, folder: Path) -> Path:
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


def _refused_or_intact(path: Path, intact: tuple[object, ...]) -> tuple[bool, str]:
    try:
        found = _content(path)
    except Exception as error:
        said = str(error)
        short = said.isprintable() and said.startswith(f"{path}: ")
        return isinstance(error, InputError) and short, repr(error)
    return found == intact, "it was loaded"


def damaged_weights(data: bytes, randomness: random.Random) -> tuple[str, bytes]:
    """What was done to a safetensors file, and its new bytes: random ones, or structure kept."""
    if randomness.random() < 0.5:
        return damaged(data, randomness)
    kind = randomness.choice(STRUCTURES)
    return kind.__name__.strip("_").replace("_", " "), kind(data, randomness)


def _swap_tensors(data: bytes, randomness: random.Random) -> bytes:
    """Two tensors of one shape, in place."""
    header, payload = _parts(data)
    one, other = _alike(header, payload, randomness)
    first, second = (payload[slice(*header[name]["data_offsets"])] for name in (one, other))
    changed = bytearray(payload)
    changed[slice(*header[one]["data_offsets"])] = second
    changed[slice(*header[other]["data_offsets"])] = first
    return _joined(header, bytes(changed))


def _swap_names(data: bytes, randomness: random.Random) -> bytes:
    header, payload = _parts(data)
    one, other = _alike(header, payload, randomness)
    header[one], header[other] = header[other], header[one]
    return _joined(header, payload)


def _rename_a_tensor(data: bytes, randomness: random.Random) -> bytes:
    header, payload = _parts(data)
    name = randomness.choice(_names(header))
    header[f"{name}{randomness.randrange(10)}"] = header.pop(name)
    return _joined(header, payload)


def _drop_a_tensor(data: bytes, randomness: random.Random) -> bytes:
    """The last one, with its bytes, so that the file stays valid."""
    header, payload = _parts(data)
    last = max(_names(header), key=lambda name: header[name]["data_offsets"][1])
    return _joined(header, payload[: header.pop(last)["data_offsets"][0]])


def _change_a_type(data: bytes, randomness: random.Random) -> bytes:
    header, payload = _parts(data)
    entry = header[randomness.choice(_names(header))]
    alike = {"F32": ["I32", "U32"], "I64": ["F64", "U64"], "U8": ["I8", "BOOL"]}
    entry["dtype"] = randomness.choice(alike.get(entry["dtype"], ["F16", "nonsense"]))
    return _joined(header, payload)


def _change_a_shape(data: bytes, randomness: random.Random) -> bytes:
    header, payload = _parts(data)
    entry = header[randomness.choice(_names(header))]
    entry["shape"] = [1, *entry["shape"]] if randomness.random() < 0.5 else [2**62, 4, 2**62]
    return _joined(header, payload)


def _change_an_offset(data: bytes, randomness: random.Random) -> bytes:
    header, payload = _parts(data)
    entry = header[randomness.choice(_names(header))]
    entry["data_offsets"][randomness.randrange(2)] += randomness.choice([-4, 1, 4, 2**40, 2**63])
    return _joined(header, payload)


def _change_the_metadata(data: bytes, randomness: random.Random) -> bytes:
    """Without a digest that fits."""
    header, payload = _parts(data)
    entry = json.loads(header["__metadata__"]["cnnpipe"])
    key = randomness.choice(list(entry["metadata"]))
    text = entry["metadata"][key]
    # A digit for a digit, so that only the digest can tell; any sign for any other.
    digits = [place for place, sign in enumerate(text) if sign.isdigit()]
    place = randomness.choice(digits if randomness.random() < 0.8 else range(len(text)))
    sign = str((int(text[place]) + 1) % 10) if text[place].isdigit() else "!"
    changes: dict[str, Callable[[], object]] = {
        "a sign": lambda: entry["metadata"].update(
            {key: f"{text[:place]}{sign}{text[place + 1 :]}"}
        ),
        "a key more": lambda: entry["metadata"].update(more="text"),
        "a key less": lambda: entry["metadata"].pop(key),
        "another digest": lambda: entry.update(sha256=entry["sha256"][::-1]),
        "a digest of null": lambda: entry.update(sha256=None),
        "no digest": lambda: entry.pop("sha256"),
        "a list": lambda: entry.update(metadata=[key]),
    }
    changes[randomness.choice(list(changes))]()
    header["__metadata__"]["cnnpipe"] = json.dumps(entry)
    return _joined(header, payload)


def _other_metadata(data: bytes, randomness: random.Random) -> bytes:
    header, payload = _parts(data)
    entries: list[Any] = [{}, {"cnnpipe": "{}"}, {"cnnpipe": "[1]"}, {"cnnpipe": "x"}, {"a": "b"}]
    header["__metadata__"] = randomness.choice([*entries, {"cnnpipe": "[" * 9_999}])
    return _joined(header, payload)


def _no_metadata(data: bytes, randomness: random.Random) -> bytes:
    header, payload = _parts(data)
    del header["__metadata__"]
    return _joined(header, payload)


def _another_header_length(data: bytes, randomness: random.Random) -> bytes:
    length = int.from_bytes(data[:8], "little")
    other = [0, 1, length - 1, length + 1, len(data), 10**8, 2**40, 2**63, 2**64 - 1]
    return randomness.choice(other).to_bytes(8, "little") + data[8:]


def _another_header(data: bytes, randomness: random.Random) -> bytes:
    headers = [b"{}", b"[]", b"null", b"", b'"text"', b"{" * 999, b"[" * 99_999, b"\xff" * 99]
    header = randomness.choice(headers)
    return len(header).to_bytes(8, "little") + header + _parts(data)[1]


def _write_the_header_another_way(data: bytes, randomness: random.Random) -> bytes:
    """The one change that changes nothing: white space, the order of the keys."""
    header, payload = _parts(data)
    text = json.dumps(dict(reversed(header.items())), indent=randomness.randint(1, 4)).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + payload


STRUCTURES: tuple[Damage, ...] = (
    *(_swap_tensors, _swap_tensors, _swap_names, _rename_a_tensor, _drop_a_tensor),
    *(_change_a_type, _change_a_shape, _change_an_offset, _change_the_metadata),
    *(_change_the_metadata, _other_metadata, _no_metadata, _another_header_length),
    *(_another_header, _write_the_header_another_way),
)


def _parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and the tensors' bytes."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def _joined(header: dict[str, Any], payload: bytes) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + payload


def _names(header: dict[str, Any]) -> list[str]:
    return [name for name in header if name != "__metadata__"]


def _alike(header: dict[str, Any], payload: bytes, randomness: random.Random) -> tuple[str, str]:
    """Two tensors of the same shape and other values; where there are none, of any shape."""

    def bits(name: str) -> bytes:
        return payload[slice(*header[name]["data_offsets"])]

    names = _names(header)
    pairs = [(a, b) for a in names for b in names if bits(a) != bits(b)]
    alike = [(a, b) for a, b in pairs if header[a]["shape"] == header[b]["shape"]]
    same_length = [(a, b) for a, b in alike if len(bits(a)) == len(bits(b))]
    return randomness.choice(same_length or pairs)


def _refitted(
    path: Path,
    name: ModelName,
    tensors: dict[str, Tensor],
    metadata: dict[str, str],
    randomness: random.Random,
) -> str:
    """Weights that do not belong to the network described, under a digest that fits."""
    described = json.loads(metadata["cnnpipe"])
    architecture = described["architecture"]
    tensor = randomness.choice(list(tensors))
    changes: dict[str, Callable[[], object]] = {
        "a tensor less": lambda: tensors.pop(tensor),
        "a tensor more": lambda: tensors.update(more=torch.zeros(1)),
        "a tensor of another shape": lambda: tensors.update({tensor: torch.zeros(3, 3)}),
        "another class more": lambda: architecture.update(classes=11),
        "an unknown setting": lambda: architecture.update(depth=3),
        "an unknown activation": lambda: architecture.update(activation="gelu"),
        "no architecture": lambda: described.pop("architecture"),
        "no normalisation": lambda: described.pop("normalization"),
        "another normalisation": lambda: described["normalization"].update(more=1),
        "the other name": lambda: described.update(name="vgg" if name == "lenet5" else "lenet5"),
        "an unknown name": lambda: described.update(name="alexnet"),
        "a list as the name": lambda: described.update(name=["vgg"]),
    }
    done = randomness.choice(list(changes))
    changes[done]()
    text = randomness.choice([json.dumps(described)] * 8 + ["", "[]", "{"])
    save_weights(path, tensors, {"cnnpipe": text})
    return f"{done} ({tensor}), described in {len(text)} letters, under a digest that fits"


class _RunsWhenUnpickled:
    """Makes the folder `marker` when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def _foreign(path: Path, marker: Path, other: Path, randomness: random.Random) -> str:
    """A file that this project did not write for this name."""
    tensors, _ = load_weights(other)
    arrays: dict[str, Any] = {name.replace(".", "_"): t.numpy() for name, t in tensors.items()}

    def write(content: bytes) -> Callable[[], object]:
        return lambda: path.write_bytes(content)

    def packed() -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(other, "lenet5.safetensors")

    makes: dict[str, Callable[[], object]] = {
        "the other network's file": lambda: shutil.copy(other, path),
        "its weights without a digest": lambda: safetensors.torch.save_file(tensors, path),
        "a pickle": lambda: path.write_bytes(pickle.dumps(arrays)),
        "a pickle that runs": lambda: path.write_bytes(pickle.dumps(_RunsWhenUnpickled(marker))),
        "a file of torch.save": lambda: torch.save(tensors, path),
        "a file of torch.save that runs": lambda: torch.save(_RunsWhenUnpickled(marker), path),
        "an old file of torch.save that runs": lambda: torch.save(
            _RunsWhenUnpickled(marker), path, _use_new_zipfile_serialization=False
        ),
        "a whole module": lambda: torch.save(nn.Linear(2, 2), path),
        "an npz file": lambda: _save_npz(path, arrays),
        "a zip file": packed,
        "a web page": write(b"<!DOCTYPE html><html>404</html>"),
        "a Git LFS pointer": write(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
        "zeros": write(bytes(100_000)),
        "noise": write(randomness.randbytes(100_000)),
    }
    done = randomness.choice(list(makes))
    makes[done]()
    return done


def _save_npz(path: Path, arrays: dict[str, Any]) -> None:
    content = io.BytesIO()
    np.savez(content, **arrays)
    path.write_bytes(content.getvalue())


@promise(
    "A damaged checkpoint is named and not used: a run goes on from the newest intact one, in "
    "exactly the state that it held, or says that there is none",
    full=400,
    few=40,
)
def checkpoints(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    with _project(folder):
        older, newer = _train()
        states = {}
        for file in (older, newer):
            states[file] = _only(file)
            shutil.copy(file, folder / file.name)
        for number in range(count):
            for file in (older, newer):
                shutil.copy(folder / file.name, file)
            done, lost = _damage_some(older, newer, folder, randomness)
            yield Trial(f"{number}: {done}", *_goes_on(states, lost))
            shutil.rmtree(older.parent, ignore_errors=True)
            older.parent.mkdir()
            if (folder / "run").exists():
                yield Trial(f"{number}: {done}", False, "it was run")
                (folder / "run").rmdir()


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


def _only(file: Path) -> Any:
    """The state in one of the checkpoints."""
    hidden = [other.rename(other.with_suffix(".away")) for other in _opened().files()]
    file.with_suffix(".away").rename(file)
    state = _bits(_opened().load())
    for other in hidden:
        if other.exists():
            other.rename(other.with_suffix(".safetensors"))
    return state


def _damage_some(
    older: Path, newer: Path, folder: Path, randomness: random.Random
) -> tuple[str, set[Path]]:
    """What was done, and the files that are no longer intact."""
    draw = randomness.random()
    if draw < 0.15:
        return _stray(newer.parent, randomness), set()
    victims = [newer] if draw < 0.7 else [older] if draw < 0.8 else [older, newer]
    said = []
    for file in victims:
        while True:
            if randomness.random() < 0.8:
                done, content = damaged_weights((folder / file.name).read_bytes(), randomness)
                file.write_bytes(content)
            else:
                done = _foreign_checkpoint(file, folder, randomness)
            if done != "write the header another way":
                break
        said.append(f"{file.name}: {done}")
    return ", ".join(said), set(victims)


def _foreign_checkpoint(file: Path, folder: Path, randomness: random.Random) -> str:
    tensors, metadata = load_weights(folder / file.name)
    changes: dict[str, dict[str, str]] = {
        "of another run": {"key": "another"},
        "of no state": {"state": "null3"},
        "of a state that lacks tensors": {"state": '{"tensor": "no"}'},
        "of no time": {"seconds": "soon"},
    }
    done = randomness.choice([*changes, "a key less", "foreign"])
    if done == "foreign":
        weights = folder / "lenet5.safetensors"
        if not weights.exists():
            save_weights(weights, tensors, {})
        return _foreign(file, folder / "run", weights, randomness)
    if done == "a key less":
        del metadata[randomness.choice(list(metadata))]
    save_weights(file, tensors, metadata | changes.get(done, {}))
    return done


def _stray(folder: Path, randomness: random.Random) -> str:
    """What looks like a checkpoint and is none; it is left alone."""
    name = randomness.choice(["step-9999999", "step-", "step-0000004 (copy)", "step-4e9", "step-²"])
    path = folder / f"{name}.safetensors"
    if name == "step-9999999":
        done = randomness.choice(["a folder", "a link to itself", "a link to nothing"])
        if done == "a folder":
            path.mkdir()
        else:
            path.symlink_to(path.name if done == "a link to itself" else "nothing")
        return f"{done} named {path.name}"
    path.write_bytes(b"mine")
    return f"a file named {path.name}"


def _goes_on(states: dict[Path, Any], lost: set[Path]) -> tuple[bool, str]:
    strays = {path for path in _opened().folder.iterdir() if path not in states}
    intact = [file for file in sorted(states, reverse=True) if file not in lost]
    newest = intact[0] if intact else None
    printed = io.StringIO()
    with redirect_stderr(printed):
        try:
            with _opened().locked():
                state = _opened().load()
        except Exception as error:
            return False, repr(error)
    lines = printed.getvalue().splitlines()
    met = sorted((file for file in lost if newest is None or file > newest), reverse=True)
    checks = {
        "the state": _bits(state) == (states[newest] if newest else None),
        "what is said": len(lines) == len(met) + (newest is None)
        and all(
            line.startswith(f"Warning: {file}: damaged: ") and line.endswith("; it is not used")
            for line, file in zip(lines, met, strict=False)
        ),
        "strays": all(path.is_symlink() or path.exists() for path in strays),
        "damaged files": not any(file.exists() for file in met),
        "intact files": all(file.exists() for file in intact),
    }
    return judged(checks, printed.getvalue())

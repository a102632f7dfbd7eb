"""Reading and writing every file the pipeline makes: JSON, CSV, weights.

Each file is written beside its final name and renamed onto it, so a final name always holds either
the previous complete file or the new complete one, whatever happens in between. Each reader
checks what it reads, and names the damaged file.

Torch and pandas take longer to import than most stages take to run, so the functions that need
them import them.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NoReturn, overload

from cnnpipe.system.errors import InputError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

WEIGHTS_KEY = "cnnpipe"
"""The one entry of a weights file's metadata: safetensors writes several in random order, and the
same weights would then be different bytes."""

TEMPORARY = ".*.????????.tmp"
"""What files are called, for `glob`, until they are complete."""


def project_root() -> Path:
    """Where the project lies, for what outlives an experiment: mirrors, markers, checkpoints.

    DVC's queue runs experiments in a copy of the project, and names the original in DVC_ROOT.
    """
    return Path(os.environ.get("DVC_ROOT") or ".")


@overload
def atomic_write(path: Path, mode: Literal["w"] = "w") -> AbstractContextManager[IO[str]]: ...
@overload
def atomic_write(
    path: Path, mode: Literal["wb"], *, flushed: bool = True
) -> AbstractContextManager[IO[bytes]]: ...
@contextmanager
def atomic_write(
    path: Path, mode: Literal["w", "wb"] = "w", *, flushed: bool = True
) -> Iterator[IO[Any]]:
    """Open a file that appears under `path`, complete and on disk, when the block ends well.

    The content goes to a temporary file in the same folder (made if missing), is flushed to disk
    and renamed; on any exception the temporary file is removed and `path` keeps what it held.
    Text is UTF-8 with "\\n" on every platform.

    Args:
        path, mode: as of `open`.
        flushed: without, a power cut can leave a damaged file: for what its reader checks and can
            do without. Flushing takes milliseconds, on a busy disk far more.

    Raises:
        OSError: the folder or the disk does not take the file; the error names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    text = {"encoding": "utf-8", "newline": "\n"} if mode == "w" else {}
    try:
        # Not tempfile: its files are readable by their owner only, whatever the umask says.
        with temporary.open(mode.replace("w", "x"), **text) as file:  # type: ignore[call-overload]
            with suppress(OSError):  # a file system without locks takes the file all the same
                _lock(file)
            yield file
            file.flush()
            if flushed:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)) and error.errno:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    if flushed:
        _sync_folder(path.parent)


def remove_leftovers(files: Iterable[Path]) -> None:
    """Delete those of `files`, all `TEMPORARY`, whose writers were killed.

    A living writer holds a lock on its file, but for the moments after it opens and closes it: a
    file without a lock that nobody has written to for a second is left over.
    """
    for leftover in files:
        with suppress(OSError):  # its writer lives, or has just finished
            with leftover.open("rb") as file:
                _lock(file)
            if time.time() - leftover.stat().st_mtime > 1:
                leftover.unlink()


def _lock(file: IO[Any]) -> None:
    """Lock an open file for this process.

    Raises:
        OSError: another process holds a lock on it, or the file system knows no locks.
    """
    if sys.platform != "win32":  # there nobody can delete a file that is open
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; Windows neither needs it nor opens folders."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, keys in the order given.

    Raises:
        ValueError: `value` holds NaN or infinity, which JSON has no way to write.
        TypeError: `value` holds something that is not JSON.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as file:
        file.write(text + "\n")


def load_json(path: Path) -> Any:
    """Read a file that `save_json` wrote.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    content = _read_bytes(path)
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"not JSON ({error})") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def save_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a table: a header line, "\\n", floats with the fewest digits that give them back."""
    with atomic_write(path) as file:
        frame.to_csv(file, index=False, lineterminator="\n")


def load_csv(path: Path) -> pd.DataFrame:
    """Read a table that `save_csv` wrote; floats come back bit for bit.

    Raises:
        InputError: the file is missing or is not a table.
    """
    import io

    import pandas as pd

    content = _read_bytes(path)
    try:
        return pd.read_csv(
            io.StringIO(content.decode("utf-8")),
            # A class may be called "NA" or "null"; only an empty cell is a missing value.
            keep_default_na=False,
            na_values=[""],
        )
    except ValueError as error:  # pandas' parser errors and UnicodeDecodeError derive from it
        raise _damaged(path, f"not a CSV table ({' '.join(str(error).split())})") from None


def save_weights(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write named tensors and a few texts as safetensors, with a SHA-256 over all of them.

    The same tensors and metadata give the same bytes, in whatever order they come.
    """
    import safetensors.torch

    tensors = {name: state[name].detach().to("cpu", copy=True).contiguous() for name in state}
    entry = {"sha256": _weights_digest(tensors, metadata), "metadata": dict(metadata)}
    data = safetensors.torch.save(tensors, {WEIGHTS_KEY: json.dumps(entry, sort_keys=True)})
    with atomic_write(path, "wb") as file:
        file.write(data)


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `save_weights` wrote: the tensors (on the CPU) and the metadata.

    The file is read once, so what was checked is what is returned. No code in it is executed.

    Raises:
        InputError: the file is missing, is not safetensors, or differs from what was written.
    """
    import safetensors
    import safetensors.torch

    data = _read_bytes(path)
    try:
        tensors = safetensors.torch.load(data)
        header_length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + header_length])
        entry = json.loads(header["__metadata__"][WEIGHTS_KEY])
        metadata, expected = dict(entry["metadata"]), entry["sha256"]
        intact = _weights_digest(tensors, metadata) == expected
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _damaged(path, f"not weights of cnnpipe ({reason})") from None
    if not intact:
        raise _damaged(path, "its content does not match its SHA-256")
    return tensors, metadata


def _weights_digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 over the metadata and each tensor's name, dtype, shape and bytes, by name."""
    import torch

    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits.

    Raises:
        InputError: the file is missing.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise _missing(path) from None


def _read_bytes(path: Path) -> bytes:
    if not path.is_file():  # nor is a folder one, or a link to itself
        raise _missing(path)
    return path.read_bytes()


def _missing(path: Path) -> InputError:
    return InputError(f"{path}: no such file; `dvc repro` makes it")


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: damaged: {reason}; delete it and run `dvc repro` to make it again")

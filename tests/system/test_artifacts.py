"""Files are complete or absent, come back as they went in, and damage is noticed."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from cnnpipe.system.artifacts import (
    TEMPORARY,
    atomic_write,
    load_csv,
    load_json,
    load_weights,
    remove_leftovers,
    save_csv,
    save_json,
    save_weights,
    sha256_of,
)
from cnnpipe.system.errors import InputError

STATE = {
    "c1.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "c1.half": torch.tensor([1.5, -0.0, float("nan")], dtype=torch.bfloat16),
    "steps": torch.tensor(7),
    "empty": torch.empty(0, 4),
    "mask": torch.tensor([True, False]),
}
METADATA = {"model": "lenet5", "mean": "0.1307", "note": "ünï"}


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1).view(torch.uint8)


class TestAtomicWrite:
    def test_makes_the_folder_and_leaves_one_file(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "text.txt"
        with atomic_write(path) as file:
            file.write("é\n")
            assert not path.exists()
        assert path.read_bytes() == b"\xc3\xa9\n"
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
    def test_keeps_the_previous_file_on_failure(
        self, tmp_path: Path, failure: type[BaseException]
    ) -> None:
        path = tmp_path / "file"
        path.write_text("previous")
        with pytest.raises(failure):  # noqa: PT012, SIM117 - it fails in mid-write
            with atomic_write(path, "wb") as file:
                file.write(b"half")
                raise failure
        assert path.read_text() == "previous"
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
    def test_permissions_follow_the_umask(self, tmp_path: Path) -> None:
        previous = os.umask(0o027)
        try:
            with atomic_write(tmp_path / "file") as file:
                file.write("")
        finally:
            os.umask(previous)
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640

    def test_a_folder_in_the_way_leaves_nothing_behind(self, tmp_path: Path) -> None:
        (tmp_path / "file").mkdir()
        with pytest.raises(OSError, match="file"), atomic_write(tmp_path / "file") as file:
            file.write("")
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_stale_temporary_files_are_removed_live_ones_kept(self, tmp_path: Path) -> None:
        program = (
            "import os, signal, sys; from pathlib import Path\n"
            "from cnnpipe.system.artifacts import *\n"
            "with atomic_write(Path(sys.argv[1])) as file:\n"
            "    os.kill(os.getpid(), signal.SIGKILL)"
        )
        subprocess.run([sys.executable, "-c", program, tmp_path / "dead"], check=False)
        with atomic_write(tmp_path / "alive") as file:
            assert len(list(tmp_path.glob(TEMPORARY))) == 2
            for temporary in tmp_path.glob(TEMPORARY):
                os.utime(temporary, (0, 0))
            remove_leftovers(tmp_path.glob(TEMPORARY))
            file.write("whole")
        assert [path.name for path in tmp_path.iterdir()] == ["alive"]
        assert (tmp_path / "alive").read_text() == "whole"

    def test_a_file_without_a_lock_is_left_to_its_writer_for_a_second(self, tmp_path: Path) -> None:
        temporary = tmp_path / ".x.json.01234567.tmp"
        temporary.touch()
        remove_leftovers([temporary])
        assert temporary.exists()
        os.utime(temporary, (0, 0))
        remove_leftovers([temporary])
        assert not temporary.exists()


class TestJson:
    def test_round_trip_keeps_order_and_floats(self, tmp_path: Path) -> None:
        value = {"b": 0.1 + 0.2, "a": [1, None, "é"]}
        save_json(tmp_path / "x.json", value)
        text = (tmp_path / "x.json").read_text(encoding="utf-8")
        assert text.startswith('{\n  "b": 0.30000000000000004,')
        assert text.endswith("}\n")
        assert load_json(tmp_path / "x.json") == value

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_refuses_what_json_cannot_write(self, tmp_path: Path, value: float) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            save_json(tmp_path / "x.json", {"loss": value})
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("text", [b"", b"{", b'{"a": NaN}', b"\xff", b"[" * 100_000])
    def test_damage_names_the_file(self, tmp_path: Path, text: bytes) -> None:
        path = tmp_path / "x.json"
        path.write_bytes(text)
        with pytest.raises(InputError, match=r"x\.json: damaged: not JSON .*`dvc repro`"):
            load_json(path)


class TestCsv:
    def test_round_trip_is_exact(self, tmp_path: Path) -> None:
        frame = pd.DataFrame(
            {"loss": [0.1 + 0.2, 1e-300, None], "epoch": [1, 2, 3], "class": ["NA", "null", "o,x"]}
        )
        save_csv(tmp_path / "x.csv", frame)
        assert b"\r" not in (tmp_path / "x.csv").read_bytes()
        pd.testing.assert_frame_equal(load_csv(tmp_path / "x.csv"), frame, check_exact=True)

    @pytest.mark.parametrize("text", [b"", b"\xff,a\n1,2\n", b"a,b\n1,2,3\n4,5,6,7\n"])
    def test_damage_names_the_file(self, tmp_path: Path, text: bytes) -> None:
        (tmp_path / "x.csv").write_bytes(text)
        with pytest.raises(InputError, match=r"x\.csv: damaged: not a CSV table .*`dvc repro`"):
            load_csv(tmp_path / "x.csv")


class TestWeights:
    def test_round_trip_is_bit_for_bit(self, tmp_path: Path) -> None:
        save_weights(tmp_path / "w.safetensors", STATE, METADATA)
        state, metadata = load_weights(tmp_path / "w.safetensors")
        assert metadata == METADATA
        assert state.keys() == STATE.keys()
        for name, tensor in STATE.items():
            assert state[name].dtype == tensor.dtype
            assert state[name].shape == tensor.shape
            assert torch.equal(_bits(state[name]), _bits(tensor))

    def test_same_content_is_the_same_bytes(self, tmp_path: Path) -> None:
        """In another process too, where Rust's and Python's hash seeds differ."""
        state = {name: torch.full((2,), float(i)) for i, name in enumerate("abcdef")}
        metadata = {name: name for name in "uvwxyz"}
        save_weights(tmp_path / "here", state, metadata)
        program = (
            "import sys, torch; from pathlib import Path; from cnnpipe.system.artifacts import *\n"
            "state = {n: torch.full((2,), float(i)) for i, n in enumerate('abcdef')}\n"
            "save_weights(Path(sys.argv[1]), dict(reversed(state.items())),"
            " {n: n for n in 'zyxwvu'})"
        )
        subprocess.run([sys.executable, "-c", program, tmp_path / "there"], check=True)
        assert sha256_of(tmp_path / "here") == sha256_of(tmp_path / "there")

    def test_views_and_parameters_are_saved_as_they_read(self, tmp_path: Path) -> None:
        base = torch.arange(12.0).reshape(3, 4)
        state = {"t": base.t(), "row": base[1], "p": torch.nn.Parameter(base[0])}
        save_weights(tmp_path / "w", state, {})
        loaded, _ = load_weights(tmp_path / "w")
        assert all(torch.equal(loaded[name], state[name]) for name in state)
        assert not any(tensor.requires_grad for tensor in loaded.values())


@pytest.mark.parametrize("load", [load_json, load_csv, load_weights, sha256_of])
def test_a_missing_file_names_the_cure(tmp_path: Path, load: Callable[[Path], object]) -> None:
    with pytest.raises(InputError, match=r"^\S*file: no such file; `dvc repro` makes it$"):
        load(tmp_path / "file")


@pytest.mark.parametrize("load", [load_json, load_csv, load_weights])
def test_a_folder_is_a_missing_file(tmp_path: Path, load: Callable[[Path], object]) -> None:
    with pytest.raises(InputError, match=r"^\S*: no such file; `dvc repro` makes it$"):
        load(tmp_path)


def test_sha256_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()

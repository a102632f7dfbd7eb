"""`make repro` without a data set, with damaged files, and when it is stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cnnpipe.data.dataset import load_dataset
from cnnpipe.params.loading import load_params
from cnnpipe.validate.schema import Params
from tests.helpers.project import ROOT
from tests.helpers.small_project import attempt, commit, create, run, start

REPRO = (sys.executable, ROOT / "scripts" / "repro.py")
PIPELINE = """\
stages:
  download:
    cmd: {command}
    params: [data.name, data.mirrors, data.timeout]
    outs: [data/raw]
"""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC project without a stage, whose only mirror refuses connections."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    mirrors = "\n".join(
        f"  - {mirror}" for mirror in load_params(Params, ROOT / "params.yaml").data.mirrors
    )
    assert mirrors in text
    text = text.replace(mirrors, "    - http://127.0.0.1:9/mnist/")
    files = {"params.yaml": text, ".gitignore": "/data/raw\n/.cnnpipe/\n"}
    return create(tmp_path_factory.mktemp("pristine"), files)


@pytest.fixture
def project(pristine: Path, tmp_path: Path) -> Callable[..., Path]:
    def make(command: str = "python -m stages.download") -> Path:
        """The project with the download stage alone, whose command this is."""
        folder = Path(shutil.copytree(pristine, tmp_path / "pro ject"))
        (folder / "dvc.yaml").write_text(PIPELINE.format(command=command))
        commit(folder)
        return folder

    return make


def repro(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return attempt(folder, *REPRO, *arguments)


def test_without_mirrors_it_runs_on_digits_and_prints_so(project: Callable[..., Path]) -> None:
    folder = project()
    result = repro(folder)
    assert result.returncode == 0, result.stderr
    assert (
        "http://127.0.0.1:9/mnist/train-images-idx3-ubyte.gz: Connection refused" in result.stderr
    )
    start, end = result.stdout.split("Reproducing experiment")
    assert "No mirror gave the data set" in start
    assert "Not MNIST" in start
    assert "Not MNIST" in end
    assert "dvc exp run -S data.name=mnist" in end
    assert load_dataset(folder / "data" / "raw").name == "digits"
    assert load_params(Params, folder / "params.yaml").data.name == "digits"
    assert "name: digits" in (folder / "dvc.lock").read_text()


def test_digits_take_the_same_targets(project: Callable[..., Path]) -> None:
    folder = project()
    with (folder / "dvc.yaml").open("a") as pipeline:
        pipeline.write("  other:\n    cmd: touch other\n    outs: [other]\n")
    commit(folder)
    result = repro(folder, "--single-item", "download")
    assert result.returncode == 0, result.stderr
    assert "dvc exp run -S data.name=digits --single-item download" in result.stdout
    assert load_dataset(folder / "data" / "raw").name == "digits"
    assert not (folder / "other").exists()


def test_a_damaged_result_that_dvc_overlooks_is_named_at_the_end(
    project: Callable[..., Path],
) -> None:
    folder = project()
    assert repro(folder).returncode == 0
    labels = folder / "data" / "raw" / "train-labels-idx1-ubyte"
    before = labels.stat()
    content = bytearray(labels.read_bytes())
    content[100] ^= 1
    labels.chmod(0o644)
    labels.write_bytes(content)
    os.utime(labels, ns=(before.st_atime_ns, before.st_mtime_ns))
    result = repro(folder)
    assert "data/raw/train-labels-idx1-ubyte: damaged" in result.stderr
    assert result.returncode == 1
    assert "Results on" not in result.stdout


def test_another_failure_is_passed_on(project: Callable[..., Path]) -> None:
    folder = project("python -c 'raise SystemExit(3)'")
    (folder / ".cnnpipe").mkdir()
    (folder / ".cnnpipe" / "unreachable.txt").write_text("of an earlier run")
    result = repro(folder)
    assert result.returncode not in (0, 130)
    assert "digits" not in result.stdout
    assert load_params(Params, folder / "params.yaml").data.name == "mnist"


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("whole_group", [True, False], ids=["group", "script alone"])
def test_a_signal_ends_dvc_and_its_stage(
    project: Callable[..., Path], number: int, whole_group: bool
) -> None:
    """A terminal sends it to all processes, a supervisor to the script alone."""
    program = (
        "import os, pathlib, time; "
        "pathlib.Path('started').write_text(str(os.getpid())); time.sleep(60)"
    )
    folder = project(f'python -c "{program}"')
    with start(folder, *REPRO, group=True) as process:
        started = folder / "started"
        while not (started.exists() and started.read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        (os.killpg if whole_group else os.kill)(process.pid, number)
        assert process.wait(timeout=20) == 128 + number
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
    assert not (folder / "dvc.lock").exists()


@pytest.mark.parametrize("committed", [True, False])
def test_files_that_dvc_left_incomplete_are_repaired(
    project: Callable[..., Path], committed: bool
) -> None:
    folder = project("mkdir -p data/raw && touch data/raw/x")
    assert repro(folder).returncode == 0
    lock, busy = folder / "dvc.lock", folder / ".dvc" / "tmp" / "rwlock"
    whole = lock.read_bytes()
    if committed:
        commit(folder)
    lock.write_bytes(whole[: whole.index(b"cmd:") + 3])
    busy.write_text('{"write": {')
    result = repro(folder)
    assert result.returncode == 0, result.stderr
    now = "was restored from git" if committed else "was replaced by an empty one"
    assert f"dvc.lock was incomplete because DVC was killed, and {now}." in result.stdout
    assert "rwlock was incomplete because DVC was killed" in result.stdout
    assert lock.read_bytes() == whole


def test_a_dvc_lock_with_a_merge_conflict_is_not_touched(project: Callable[..., Path]) -> None:
    folder = project("mkdir -p data/raw && touch data/raw/x")
    assert repro(folder).returncode == 0
    lock = folder / "dvc.lock"
    whole = lock.read_text()
    commit(folder)
    run(folder, "git", "checkout", "--quiet", "-b", "theirs", "HEAD~")
    lock.write_text(whole.replace("schema", "# theirs\nschema"))
    commit(folder)
    assert attempt(folder, "git", "merge", "-").returncode == 1
    conflict = lock.read_text()
    assert "<<<<<<<" in conflict
    result = repro(folder)
    assert result.returncode != 0
    assert "dvc.lock" in result.stderr
    assert "incomplete" not in result.stdout
    assert lock.read_text() == conflict


@pytest.mark.skipif(os.name != "posix", reason="nohup is POSIX's")
def test_under_nohup_a_hangup_changes_nothing(project: Callable[..., Path]) -> None:
    folder = project("touch started && sleep 2 && mkdir -p data/raw")
    with start(folder, "nohup", *REPRO) as process:
        while not (folder / "started").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=60) == 0


def test_a_folder_that_is_no_clone_of_the_project_is_refused(tmp_path: Path) -> None:
    result = repro(tmp_path)
    assert result.returncode == 1
    assert result.stderr == "Error: no dvc.yaml here; run from the project's root\n"
    (tmp_path / "dvc.yaml").write_text("stages: {}")  # as in a download without .git
    result = repro(tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: this folder is not a git clone with a commit")
    assert result.stderr.count("\n") == 1

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
from tests.helpers.small_project import small_project
from torture.project import Project

REPRO = (sys.executable, str(ROOT / "scripts" / "repro.py"))
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
    return small_project(tmp_path_factory.mktemp("pristine"), files).folder


@pytest.fixture
def make(pristine: Path, tmp_path: Path) -> Callable[..., Project]:
    def with_stage(command: str = "python -m stages.download") -> Project:
        """The project with the download stage alone, whose command this is."""
        project = small_project(Path(shutil.copytree(pristine, tmp_path / "pro ject")))
        (project.folder / "dvc.yaml").write_text(PIPELINE.format(command=command))
        project.commit()
        return project

    return with_stage


@pytest.fixture(scope="module")
def finished(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose download stage has made one file."""
    folder = tmp_path_factory.mktemp("finished") / "project"
    project = small_project(Path(shutil.copytree(pristine, folder)))
    command = "mkdir -p data/raw && echo right > data/raw/x"
    (folder / "dvc.yaml").write_text(PIPELINE.format(command=command))
    project.commit()
    assert "Running stage 'download'" in project.repro()
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Project:
    return small_project(Path(shutil.copytree(finished, tmp_path / "pro ject")))


def repro(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return project.run(*REPRO, *arguments, check=False)


def test_without_mirrors_it_runs_on_digits_and_prints_so(make: Callable[..., Project]) -> None:
    project = make()
    result = repro(project)
    assert result.returncode == 0, result.stderr
    assert (
        "http://127.0.0.1:9/mnist/train-images-idx3-ubyte.gz: Connection refused" in result.stderr
    )
    start, end = result.stdout.split("Reproducing experiment")
    assert "No mirror gave the data set" in start
    assert "Not MNIST" in start
    assert "Not MNIST" in end
    assert "dvc exp run -S data.name=mnist" in end
    assert load_dataset(project.folder / "data" / "raw").name == "digits"
    assert load_params(Params, project.folder / "params.yaml").data.name == "digits"
    assert "name: digits" in (project.folder / "dvc.lock").read_text()


def test_digits_take_the_same_targets(make: Callable[..., Project]) -> None:
    project = make()
    with (project.folder / "dvc.yaml").open("a") as pipeline:
        pipeline.write("  other:\n    cmd: touch other\n    outs: [other]\n")
    project.commit()
    result = repro(project, "--single-item", "download")
    assert result.returncode == 0, result.stderr
    assert "dvc exp run -S data.name=digits --single-item download" in result.stdout
    assert load_dataset(project.folder / "data" / "raw").name == "digits"
    assert not (project.folder / "other").exists()


def test_a_damaged_result_that_dvc_overlooks_is_named_at_the_end(project: Project) -> None:
    assert "Running stage" not in project.repro()  # DVC has seen the file that is damaged next
    made = project.folder / "data" / "raw" / "x"
    before = made.stat()
    made.chmod(0o644)
    made.write_text("wrong\n")
    os.utime(made, ns=(before.st_atime_ns, before.st_mtime_ns))
    result = repro(project)
    assert "data/raw/x: damaged" in result.stderr
    assert result.returncode == 1
    assert "Results on" not in result.stdout


def test_another_failure_is_passed_on(make: Callable[..., Project]) -> None:
    project = make("python -c 'raise SystemExit(3)'")
    (project.folder / ".cnnpipe").mkdir()
    (project.folder / ".cnnpipe" / "unreachable.txt").write_text("of an earlier run")
    result = repro(project)
    assert result.returncode not in (0, 130)
    assert "digits" not in result.stdout
    assert load_params(Params, project.folder / "params.yaml").data.name == "mnist"


def wait_for(file: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a stage has written a file."""
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_text()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("whole_group", [True, False], ids=["group", "script alone"])
def test_a_signal_ends_dvc_and_its_stage(
    make: Callable[..., Project], number: int, whole_group: bool
) -> None:
    """A terminal sends it to all processes, a supervisor to the script alone."""
    program = (
        "import os, pathlib, time; "
        "pathlib.Path('started').write_text(str(os.getpid())); time.sleep(60)"
    )
    project = make(f'python -c "{program}"')
    started = project.folder / "started"
    with project.start(*REPRO) as process:
        wait_for(started, process)
        (os.killpg if whole_group else os.kill)(process.pid, number)
        assert process.wait(timeout=20) == 128 + number
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
    assert not (project.folder / "dvc.lock").exists()


@pytest.mark.parametrize("committed", [True, False])
def test_files_that_dvc_left_incomplete_are_repaired(project: Project, committed: bool) -> None:
    lock, busy = project.folder / "dvc.lock", project.folder / ".dvc" / "tmp" / "rwlock"
    whole = lock.read_bytes()
    if committed:
        project.commit()
    lock.write_bytes(whole[: whole.index(b"cmd:") + 3])
    busy.write_text('{"write": {')
    result = repro(project)
    assert result.returncode == 0, result.stderr
    now = "was restored from git" if committed else "was replaced by an empty one"
    assert f"dvc.lock was incomplete because DVC was killed, and {now}." in result.stdout
    assert "rwlock was incomplete because DVC was killed" in result.stdout
    assert lock.read_bytes() == whole


def test_a_dvc_lock_with_a_merge_conflict_is_not_touched(project: Project) -> None:
    lock = project.folder / "dvc.lock"
    whole = lock.read_text()
    project.commit()
    project.run("git", "checkout", "--quiet", "-b", "theirs", "HEAD~")
    lock.write_text(whole.replace("schema", "# theirs\nschema"))
    project.commit()
    assert project.run("git", "merge", "-", check=False).returncode == 1
    conflict = lock.read_text()
    assert "<<<<<<<" in conflict
    result = repro(project)
    assert result.returncode != 0
    assert "dvc.lock" in result.stderr
    assert "incomplete" not in result.stdout
    assert lock.read_text() == conflict


@pytest.mark.skipif(os.name != "posix", reason="nohup is POSIX's")
def test_under_nohup_a_hangup_changes_nothing(make: Callable[..., Project]) -> None:
    project = make("echo yes > started && sleep 1 && mkdir -p data/raw")
    with project.start("nohup", *REPRO) as process:
        wait_for(project.folder / "started", process)
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=60) == 0


def test_a_folder_that_is_no_clone_of_the_project_is_refused(tmp_path: Path) -> None:
    bare = small_project(tmp_path)
    result = repro(bare)
    assert result.returncode == 1
    assert result.stderr == "Error: no dvc.yaml here; run from the project's root\n"
    (tmp_path / "dvc.yaml").write_text("stages: {}")  # as in a download without .git
    result = repro(bare)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: this folder is not a git clone with a commit")
    assert result.stderr.count("\n") == 1

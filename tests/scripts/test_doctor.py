"""scripts/doctor.py on a pipeline of quick stages: what it names, and what --repair restores."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.doctor import main
from tests.helpers.small_project import small_project
from tests.helpers.stages import repo_of, within

PIPELINE = """\
stages:
  folder:
    cmd: python make.py raw/a raw/b/c
    deps: [make.py]
    outs: [raw]
  file:
    cmd: python make.py model
    deps: [make.py, raw]
    outs: [model]
  committed:
    cmd: python make.py metrics.json figures/x.png
    deps: [make.py, model]
    outs:
      - metrics.json: {cache: false}
      - figures: {cache: false}
"""
MAKE = """\
import sys
from pathlib import Path

for name in sys.argv[1:]:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(f"content of {name}\\n" * 100)
"""


def doctor(folder: Path, *options: str) -> tuple[int, list[str], str]:
    """Its exit status, the lines that name something, and the last line of all."""
    with within(small_project(folder)):
        result = CliRunner().invoke(main, options)
    assert isinstance(result.exception, SystemExit | None)
    *named, last = result.output.splitlines()
    return result.exit_code, named, last


def repro(folder: Path) -> list[str]:
    """`dvc repro`; the stages that ran."""
    with repo_of(small_project(folder)) as repo:
        return [stage.addressing for stage in repo.reproduce()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = {"dvc.yaml": PIPELINE, "make.py": MAKE, ".gitignore": "/raw\n/model\n"}
    project = small_project(tmp_path_factory.mktemp("made"), files)
    assert repro(project.folder) == ["folder", "file", "committed"]
    return project.folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "a project", symlinks=True))


def rot(path: Path) -> None:
    """Change a byte and leave the time stamp, as a disk does."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(status.st_mode)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def object_of(project: Path, path: str) -> Path:
    """The object of the cache that has a result's content."""
    content = (project / path).read_bytes()
    cached = (project / ".dvc/cache/files/md5").rglob("*")
    [found] = [file for file in cached if file.is_file() and file.read_bytes() == content]
    return found


def folder_list(project: Path) -> Path:
    cached = (project / ".dvc/cache/files/md5").rglob("*.dir")
    [found] = [file for file in cached if b"b/c" in file.read_bytes()]
    return found


def test_an_intact_project_gives_one_line(project: Path) -> None:
    status, named, last = doctor(project)
    assert (status, named) == (0, [])
    assert last.startswith("intact: 4 results, 4 objects and 2 runs of DVC's cache")


@pytest.mark.parametrize("path", ["raw/b/c", "model", "metrics.json", "figures/x.png"])
def test_damage_in_a_result_that_dvc_overlooks_is_listed(project: Path, path: str) -> None:
    rot(project / path)
    status, named, last = doctor(project)
    assert status == 1
    expected = "damaged: its hash is not that of dvc.lock; delete it and run `dvc repro`"
    if path in ("metrics.json", "figures/x.png"):
        # Of a folder that git keeps, DVC has no list of files.
        path = path.partition("/")[0]
        expected += f", or `git restore {path}`"
    assert named == [f"{path}: {expected}"]
    assert last.startswith("Error: 1 damaged or missing, listed above")
    shutil.rmtree(project / path) if path == "figures" else (project / path).unlink()
    repro(project)
    assert doctor(project)[0] == 0


def test_a_damaged_object_is_restored_from_its_result(project: Path) -> None:
    path = object_of(project, "raw/a")
    rot(path)
    shown = path.relative_to(project)
    assert doctor(project)[1] == [
        f"{shown}: damaged: its hash is not its name, which is that of raw/a; "
        "`python scripts/doctor.py --repair` restores it from raw/a"
    ]
    assert doctor(project, "--repair")[0] == 0
    assert doctor(project)[0] == 0
    assert repro(project) == []


def test_a_missing_list_of_a_folder_is_restored_from_the_folder(project: Path) -> None:
    folder_list(project).unlink()
    status, [line], _ = doctor(project)
    assert status == 1
    assert line.endswith(
        "missing, which is that of raw; `python scripts/doctor.py --repair` restores it from raw"
    )
    doctor(project, "--repair")
    assert doctor(project)[0] == 0
    assert repro(project) == []


def test_repro_remakes_a_damaged_object_and_result(project: Path) -> None:
    for path in (object_of(project, "model"), project / "model"):
        rot(path)
    assert len(doctor(project)[1]) == 2
    status, _, last = doctor(project, "--repair")
    assert status == 0
    assert last == "2 damaged or missing: deleted or restored; now run `dvc repro`"
    assert "file" in repro(project)
    assert doctor(project)[0] == 0


def test_a_folder_without_an_intact_list_is_reported_as_one(project: Path) -> None:
    listed = folder_list(project)
    for path in (listed, project / "raw/a"):
        rot(path)
    named = [line.partition(": ")[0] for line in doctor(project)[1]]
    assert named == ["raw", str(listed.relative_to(project))]
    doctor(project, "--repair")
    repro(project)
    assert doctor(project)[0] == 0


def test_a_changed_run_record_is_listed(project: Path) -> None:
    [record, *_] = sorted((project / ".dvc/cache/runs").glob("*/*/*"))
    record.write_text(record.read_text().replace("make.py", "fake.py", 1))
    shown = record.relative_to(project)
    assert doctor(project)[1] == [
        f"{shown}: damaged: its hash is not its name; delete it and run `dvc repro`"
    ]
    for content in (b"[", b"\xff", b"- a", b"outs: 1"):
        record.write_bytes(content)
        assert len(doctor(project)[1]) == 1
    doctor(project, "--repair")
    assert doctor(project)[0] == 0


def test_missing_foreign_and_obstructing_files_are_listed(project: Path) -> None:
    (project / "metrics.json").unlink()
    (project / "raw/foreign").write_text("x")
    (project / "raw/a").unlink()
    (project / "model").unlink()
    (project / "model").mkdir()
    assert doctor(project)[1] == [
        "metrics.json: missing; run `dvc repro`, or `git restore metrics.json`",
        "model: a folder instead of the result; delete it and run `dvc repro`",
        "raw/a: missing; run `dvc repro`",
        "raw/foreign: not a result, but in a folder of results; delete it and run `dvc repro`",
    ]
    doctor(project, "--repair")
    repro(project)
    assert doctor(project)[0] == 0


def test_a_fresh_clone_lists_every_result_as_missing(project: Path) -> None:
    for path in ("raw", ".dvc/cache"):
        shutil.rmtree(project / path)
    (project / "dvc.lock").unlink()
    status, named, _ = doctor(project)
    assert status == 1
    assert named[0] == "figures: not in dvc.lock; run `dvc repro`"
    assert len(named) == 4


def test_repair_keeps_files_that_are_not_recorded(project: Path) -> None:
    (project / "dvc.lock").unlink()
    doctor(project, "--repair")
    for path in ("raw/a", "model", "metrics.json", "figures/x.png"):
        assert (project / path).exists()
    repro(project)
    assert doctor(project)[0] == 0


def test_a_folder_without_a_project_gives_a_one_line_error(tmp_path: Path) -> None:
    status, named, last = doctor(tmp_path)
    assert (status, named) == (1, [])
    assert last.startswith("Error: you are not inside of a DVC repository")

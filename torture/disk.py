"""Full disks, missing or read-only folders, and unusual environments.

Every writer meets a full disk thousands of times in this process. Whole stages run as a person
starts them, under conditions that a machine may have.
"""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from cnnpipe.drawing.layout import DPI, WIDTH, save_png
from cnnpipe.system.artifacts import atomic_write, save_csv, save_json, save_weights
from torture import cache as kept_by_dvc
from torture.campaign import Trial, failed, in_turn, promise
from torture.project import DVC, Project, contents, script_of

FULL = (errno.EFBIG, errno.ENOSPC)


@promise(
    "Disk full at any byte of any kind of file that stages write: an error that names the file, "
    "the previous file intact, nothing half-written beside it",
    full=3000,
    few=150,
)
def full_at_any_byte(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    writers = {folder / name: write for name, write in WRITERS.items()}
    for path, write in writers.items():
        write(path)
    for path, write in islice(in_turn(writers.items(), randomness), count):
        good = path.read_bytes()
        size = len(good)
        limit = randomness.choice([randomness.randrange(size), size - 1, 0])
        if randomness.random() < 0.2:  # no previous file
            path.unlink()
        before = contents(folder)
        with largest_file(limit):
            try:
                write(path)
                said = "no error"
            except OSError as error:
                said = str(error) if error.errno in FULL else repr(error)
        checks = {"the error": path.name in said, "the files": contents(folder) == before}
        path.write_bytes(good)
        yield Trial(f"{path.name}, {size:,} bytes, full at {limit:,}", failed(checks, said))


def _text(path: Path) -> None:
    with atomic_write(path) as file:
        file.write("größe\n" * 50_000)  # several buffers


FIGURE = Figure(figsize=(WIDTH, 60 / DPI))


def _raw(path: Path) -> None:
    with atomic_write(path, "wb") as file:
        file.writelines(bytes([k]) * 10_007 for k in range(20))


WRITERS: dict[str, Callable[[Path], None]] = {
    "metrics.json": lambda path: save_json(path, {"errors": list(range(3000)), "class": "é"}),
    "empty.json": lambda path: save_json(path, {}),
    "curves.csv": lambda path: save_csv(path, pd.DataFrame({"loss": np.linspace(0, 1, 5000)})),
    "lenet5.safetensors": lambda path: save_weights(path, {"w": torch.ones(40_000)}, {"a": "b"}),
    "figure.png": lambda path: save_png(path, FIGURE),
    "index.html": _text,
    "images-idx3-ubyte": _raw,
}


def _limit(size: int) -> int:
    """Let this process write no file above `size` bytes, as on a full disk; the limit before."""
    import resource  # which Windows does not have

    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    return before


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    before = _limit(size)
    try:
        yield
    finally:
        _limit(before)


STAGES = (
    *("validate", "download", "train@lenet5", "evaluate@vgg", "visualize@lenet5", "explain@vgg"),
    *("summarize", "principles", "handcrafted", "report"),
)
"""The verify stage and the benchmark take too long for this; they write by the same functions."""
QUICK = ("validate", "download", "evaluate@vgg", "summarize", "report")
WALL_CLOCK = ("timings", "handcrafted_timings.json", "index.html")
"""Results that hold times: another run writes other bytes."""


@dataclass
class Condition:
    """What is done to a stage, and how it may end."""

    name: str
    environment: dict[str, str | None] = field(default_factory=dict)
    """Variables that differ; None: not set."""
    wrapper: tuple[str, ...] = ()
    """Command that runs the stage's own, which follows."""
    largest: int | None = None
    """Bytes; the largest file that the stage may write."""
    umask: int = -1
    below: str = ""
    """Folder of the project that the stage is started in."""
    fails: bool = False
    """Whether the stage must end in an error, and not do its work."""
    names: str = ""
    """A pattern that the error line must match."""


MakeCondition = Callable[[Path, list[Path], random.Random], Condition]
"""Called with the project's folder and the files that the stage wrote there."""


@promise(
    "Disk full, read-only folders, files and folders in each other's place, dangling links, no "
    "HOME, no TMPDIR, no network, a locale without UTF-8, another umask, a full or closed stdout: "
    "a stage works, or ends in one clear line with every file as it was or complete (a curve: up "
    "to the last epoch)",
    full=30,
    few=0,
)
def stages(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    pristine = prepare(folder)
    good = pristine.results()
    for number in range(count):
        make, names = randomness.choice(conditions())
        stage = randomness.choice(names)
        if number < len(STAGES):  # a full disk for every stage
            stage, make = STAGES[number], full_disk
        with pristine.copied(folder / "größe 数字") as project:
            files = [
                file
                for out in project.outs(stage)
                for file in (out, *sorted(out.rglob("*")))
                if file.is_file()
            ]
            condition = make(project.folder, files, randomness)
            before = project.results()
            result = run_under(project, stage, condition)
            wrong = judge(condition, result, before, project, good)
        seen = f"{wrong}; it said: {result.stderr}" if wrong else ""
        yield Trial(f"{stage}, {condition.name}", seen)


@promise(
    "`dvc repro` that ran out of disk ends in an error, and the next one with room ends with every "
    "hash right",
    full=3,
    few=0,
)
def pipeline(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    project = kept_by_dvc.prepare(folder)
    most = 2 * sum(len(file) for file in project.results().values()) // 1024
    while count:
        room = randomness.randrange(most)
        with project.copied(folder / "copy") as copy:
            copy.set("models.lenet5.lr", randomness.uniform(0.001, 0.005))  # it must train again
            wrapper = small_disk(copy.folder, room) if can_mount() else ()
            largest = None if wrapper else room * 1024
            full = copy.run(*wrapper, *DVC, "repro", check=False, preexec_fn=limited(largest))
            if full.returncode == 0:  # it had enough, so this is no trial
                most = max(1, room)
                continue
            again = copy.run(*DVC, "repro", check=False)
            doctor = copy.run(*kept_by_dvc.DOCTOR, check=False)
        checks = {
            "no traceback": "Traceback" not in full.stderr,
            "the next run": again.returncode == 0,
            "the doctor": doctor.returncode == 0,
        }
        seen = "".join(each.stdout + each.stderr for each in (full, again, doctor))
        yield Trial(f"{room} kB of room, exit status {full.returncode}", failed(checks, seen))
        count -= 1


def prepare(folder: Path) -> Project:
    """A project in which the stages have run."""
    project = Project.create(folder / "pristine")
    project.trust_operators()
    for stage in (*STAGES[:3], "train@vgg", "evaluate@lenet5", *STAGES[3:]):
        project.run(*script_of(stage))
    return project


def run_under(
    project: Project, stage: str, condition: Condition
) -> subprocess.CompletedProcess[str]:
    environment: dict[str, str | None] = {**project.environment, "LOKY_MAX_CPU_COUNT": "1"}
    environment |= condition.environment
    return project.run(
        *condition.wrapper,
        *script_of(stage),
        check=False,
        environment={key: value for key, value in environment.items() if value is not None},
        below=condition.below,
        umask=condition.umask,
        preexec_fn=limited(condition.largest),
    )


def limited(largest: int | None) -> Callable[[], object] | None:
    """What a new process calls so that it writes no file above `largest` bytes."""
    return None if largest is None else partial(_limit, largest)


def judge(
    condition: Condition,
    result: subprocess.CompletedProcess[str],
    before: Mapping[str, bytes],
    project: Project,
    good: Mapping[str, bytes],
) -> str:
    """What is not as promised, or nothing."""
    after = project.results()
    if "Traceback" in result.stderr:
        return "a traceback"
    if left := [path.name for path in project.folder.rglob(".*.tmp")]:
        return f"left {left}"
    if lost := before.keys() - after.keys():
        return f"lost {sorted(lost)}"
    for name, content in after.items():
        known = content in (before.get(name), good.get(name))
        timed = any(part in name for part in WALL_CLOCK) and _complete(content)
        if not (known or timed or _up_to_an_epoch(name, content, good)):
            return f"{name} is neither the previous file nor the new one"
    if result.returncode == 0:
        missing = good.keys() - after.keys()
        return f"no {sorted(missing)}" if missing else "no failure" * condition.fails
    if not condition.fails:
        return f"exit status {result.returncode}"
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    if len(errors) != 1 or not re.search(condition.names, errors[0]):
        return "not one clear line"
    return ""


def _up_to_an_epoch(name: str, content: bytes, good: Mapping[str, bytes]) -> bool:
    """Whether it is the beginning of a curve, which training writes after each epoch."""
    is_beginning = good.get(name, b"").startswith(content) and content.endswith(b"\n")
    return name.startswith("reports/curves/") and is_beginning


def _complete(content: bytes) -> bool:
    return content.endswith((b"}\n", b"</html>\n"))


def full_disk(root: Path, files: list[Path], randomness: random.Random) -> Condition:
    """Too little room for the largest result: on a small disk, or by a limit on file sizes."""
    largest = max(files, key=lambda file: file.stat().st_size)
    size = largest.stat().st_size
    names = "|".join(re.escape(str(file.relative_to(root))) for file in files) + "|checkpoints"
    if can_mount() and randomness.random() < 0.5:
        room = randomness.randrange(max(1, size // PAGE)) * PAGE // 1024
        wrapper = small_disk(root, room)
        return Condition(f"disk full after {room} kB", wrapper=wrapper, fails=True, names=names)
    limit = randomness.randrange(size)
    return Condition(f"no file above {limit} bytes", largest=limit, fails=True, names=names)


PAGE = 4096
UNSHARE = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))
"""Mounts made in such a command are gone with it."""
SMALL_DISK = """\
set -e
root=$1 room=$2
shift 2
mkdir -p "$root.disk"
mount --bind "$root" "$root.disk"
mount -t tmpfs -o size=300m none "$root"
cp -a "$root.disk/." "$root/"
free=$(df --output=avail -k "$root" | tail -1)
head -c "$(( free - room ))k" /dev/zero > "$root/filler"
cd "$root"
set +e
"$@"
status=$?
set -e
rm -r "$root/filler" "$root.disk/data" "$root.disk/reports"
cp -a "$root/." "$root.disk/"
exit $status
"""
READ_ONLY = """\
set -e
mount --bind "$1" "$1"
mount -o remount,ro,bind "$1"
shift
exec "$@"
"""


def small_disk(root: Path, room: int) -> tuple[str, ...]:
    """Runs the command after it on a disk with `room` kB left."""
    return (*UNSHARE, "sh", "-c", SMALL_DISK, "sh", str(root), str(room))


@cache
def succeeds(*command: str) -> bool:
    """Whether a command does what it says, for this user on this machine."""
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def can_mount() -> bool:
    """Whether small and read-only disks can be made, for a command and what it starts."""
    test = "mount -t tmpfs none /mnt && mount -o remount,ro,bind /mnt"
    return succeeds(*UNSHARE, "sh", "-c", test)


NO_NETWORK = ("unshare", "--net", *(() if os.geteuid() == 0 else ("--map-root-user",)))


def can_cut_network() -> bool:
    return succeeds(*NO_NETWORK, "true")


def read_only(root: Path, files: list[Path], randomness: random.Random) -> Condition:
    folder = randomness.choice(files).parent
    wrapper = (*UNSHARE, "sh", "-c", READ_ONLY, "sh", str(folder))
    return replace(_blocked(root, folder, "read-only"), wrapper=wrapper)


def file_for_folder(root: Path, files: list[Path], randomness: random.Random) -> Condition:
    folder = randomness.choice(files).parent
    shutil.rmtree(folder)
    folder.write_text("a file\n")
    return _blocked(root, folder, "a file")


def folder_for_file(root: Path, files: list[Path], randomness: random.Random) -> Condition:
    file = randomness.choice(files)
    file.unlink()
    file.mkdir()
    (file / "inside").write_text("kept\n")
    return _blocked(root, file, "a folder")


def _blocked(root: Path, path: Path, how: str) -> Condition:
    where = str(path.relative_to(root))
    return Condition(f"{where} is {how}", fails=True, names=where)


def dangling_link(root: Path, files: list[Path], randomness: random.Random) -> Condition:
    file = randomness.choice(files)
    file.unlink()
    file.symlink_to(root / "nowhere" / "at all")
    return Condition(f"{file.relative_to(root)} is a dangling link")


def surroundings(root: Path, files: list[Path], randomness: random.Random) -> Condition:
    """An unusual environment. The results are deleted and must come out as before."""
    for file in files:
        file.unlink()
    elsewhere = root.parent / "ein Ordner für später"
    elsewhere.mkdir(exist_ok=True)
    bytes_only: dict[str, str | None] = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    return randomness.choice(
        [
            Condition("no HOME", {"HOME": None, "XDG_CACHE_HOME": None, "XDG_CONFIG_HOME": None}),
            Condition("no such HOME", {"HOME": "/nonexistent", "XDG_CACHE_HOME": None}),
            Condition("HOME is no folder", {"HOME": "/dev/null"}),
            Condition("no such TMPDIR", {"TMPDIR": "/nonexistent"}),
            Condition("TMPDIR elsewhere", {"TMPDIR": str(elsewhere)}),
            Condition("the C locale", {"LC_ALL": "C", "LANG": None} | bytes_only),
            Condition("the POSIX locale", {"LC_ALL": "POSIX", **bytes_only}),
            Condition("a locale that is not there", {"LC_ALL": "xx_YY.ISO-8859-1", **bytes_only}),
            Condition("stdout in ASCII", {"PYTHONIOENCODING": "ascii:strict"}),
            Condition("umask 077", umask=0o077),
            Condition("umask 000", umask=0),
            Condition("a safe path", {"PYTHONSAFEPATH": "1"}),
            Condition("almost no environment", dict.fromkeys(os.environ.keys() - KEPT)),
            Condition("stdout closed", wrapper=("sh", "-c", 'exec "$@" >&-', "sh")),
            Condition("stderr closed", wrapper=("sh", "-c", 'exec "$@" 2>&-', "sh")),
            Condition("stdin closed", wrapper=("sh", "-c", 'exec "$@" <&-', "sh")),
            *([Condition("no network", wrapper=NO_NETWORK)] if can_cut_network() else []),
        ]
    )


KEPT = {"PATH", "PYTHONPATH", "OMP_NUM_THREADS"}


def full_stdout(root: Path, files: list[Path], randomness: random.Random) -> Condition:
    wrapper = ("sh", "-c", 'exec "$@" >/dev/full', "sh")
    return Condition("stdout full", wrapper=wrapper, fails=True, names="No space left")


def below_the_root(root: Path, files: list[Path], randomness: random.Random) -> Condition:
    return Condition("in a subfolder", below="reports", fails=True, names=r"params\.yaml|reports/")


def no_mirror(root: Path, files: list[Path], randomness: random.Random) -> Condition:
    """MNIST, whose mirrors are not there."""
    Project(root).set("data.name", "mnist")
    names = "data set mnist: no mirror gave"
    if can_cut_network():
        return Condition("mnist, no network", wrapper=NO_NETWORK, fails=True, names=names)
    Project(root).set("data.mirrors", ["http://127.0.0.1:9/"])
    return Condition("mnist, no mirror", fails=True, names=names)


def conditions() -> list[tuple[MakeCondition, Sequence[str]]]:
    """The conditions to choose from on this machine, and the stages that each fits."""
    slow = ("train@lenet5", "visualize@lenet5", "explain@vgg")
    always: list[tuple[MakeCondition, Sequence[str]]] = [
        (full_disk, QUICK),
        (full_disk, slow),
        (file_for_folder, ("download", "evaluate@vgg", "visualize@lenet5")),
        (folder_for_file, (*QUICK, "visualize@lenet5")),
        (dangling_link, (*QUICK, "train@lenet5")),
        (surroundings, QUICK),
        (surroundings, QUICK),
        (surroundings, slow),
        (full_stdout, QUICK),
        (below_the_root, ("validate", "evaluate@vgg")),
        (no_mirror, ("download",)),
    ]
    return (
        [*always, (read_only, (*QUICK[1:], "visualize@lenet5", "train@lenet5"))]
        if can_mount()
        else always
    )

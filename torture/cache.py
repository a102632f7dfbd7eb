"""Damage to DVC's cache and to the results, and whether `make doctor` names it and its cure."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from torture.campaign import Trial, failed, promise
from torture.damage import BYTES
from torture.project import SMALL, Project, edited

STAGES = ("validate", "download", "train", "evaluate", "summarize")
"""They have outputs of every kind: files and folders, kept by DVC, by git, and in place."""
DOCTOR = (sys.executable, "scripts/doctor.py")
REPAIR = "`python scripts/doctor.py --repair`"
AT_ONCE = 4
"""Files damaged before the doctor is asked, at most; each is one trial."""
CURED = 6
"""Every so often the cures that the doctor names are applied, and not just undone."""


@dataclass
class Change:
    how: str
    path: Path
    before: bytes | None
    """None where there was no file."""
    status: os.stat_result | None


@promise(
    "`make doctor` names exactly the damaged, missing and foreign files among DVC's cache and the "
    "results; after the cure that it names and `dvc repro` everything is whole",
    full=80,
    few=0,
)
def doctor(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    project = prepare(folder)
    while count > 0:
        changes = change_files(
            project.folder, min(count, randomness.randint(1, AT_ONCE)), randomness
        )
        told = project.run(*DOCTOR, check=False)
        named = {line.partition(": ")[0] for line in told.stderr.splitlines()[:-1]}
        places = {place_of(change, project) for change in changes}
        for change in changes:
            place = place_of(change, project)
            checks = {
                "exit status": told.returncode == 1,
                "the file": place in named,
                "no other": not named - places,
            }
            yield Trial(f"{change.how} {place}", failed(checks, f"{told.stderr}{told.stdout}"))
        count -= len(changes)
        if randomness.randrange(CURED) == 0 and count > 0:
            wrong = not_cured(project, told.stderr.splitlines()[:-1])
            yield Trial(f"cure of {', '.join(sorted(places))}", wrong)
            count -= 1
        else:
            for change in changes:
                undo(change)


def place_of(change: Change, project: Project) -> str:
    """As the doctor names it: of a folder that git keeps, DVC has no list of files."""
    cards = project.folder / "reports" / "cards"
    place = cards if cards in change.path.parents else change.path
    return str(place.relative_to(project.folder))


def prepare(folder: Path) -> Project:
    """The pipeline's first stages on digits, run once, with the doctor content."""
    settings = SMALL | {"train.epochs": 1}
    project = Project.create(folder / "a project", settings)
    project.trust_operators()
    with edited(project.folder / "dvc.yaml") as pipeline:
        for name in pipeline["stages"].keys() - set(STAGES):
            del pipeline["stages"][name]
    project.repro()
    project.run(*DOCTOR)
    return project


def change_files(root: Path, most: int, randomness: random.Random) -> list[Change]:
    """Damage up to `most` files: one of them may make it impossible to name another."""
    results, needed = kept(root)
    objects = [path for path in (root / ".dvc/cache").glob("files/md5/??/*") if path.is_file()]
    runs = [path for path in (root / ".dvc/cache/runs").rglob("*") if path.is_file()]
    changes: list[Change] = []
    # A cure deletes a damaged record of a run, and nothing makes it again.
    groups = [group for group in (results, sorted(objects), sorted(runs)) if group]
    for group in randomness.choices(groups, k=most):
        path = randomness.choice(group)
        hows = [*["damage"] * 4, "replace"]
        if path in results + needed:
            hows.append("delete")
        if path.parent == root / "data/raw":
            hows.append("put a foreign file beside")
        # A folder's list tells which of its files is damaged, so it is damaged alone.
        alone = path.suffix == ".dir"
        if any(change.path == path for change in changes) or (alone and changes):
            continue
        other = randomness.choice(results + objects)
        changes.append(change_file(path, other, randomness.choice(hows), randomness))
        if alone:
            break
    return changes


def kept(root: Path) -> tuple[list[Path], list[Path]]:
    """The files of all results, and the objects that the cache holds for them."""
    lock = YAML(typ="safe").load((root / "dvc.lock").read_text(encoding="utf-8"))
    outs = [root / out["path"] for stage in lock["stages"].values() for out in stage["outs"]]
    files = [[out] if out.is_file() else sorted(out.iterdir()) for out in outs]
    results = [file for each in files for file in each]
    needed = []
    for path in results:
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if (kept_by_dvc := root / ".dvc/cache/files/md5" / digest[:2] / digest[2:]).exists():
            needed.append(kept_by_dvc)
    return results, needed


def change_file(path: Path, other: Path, how: str, randomness: random.Random) -> Change:
    if how == "put a foreign file beside":
        path = path.with_name("foreign")
        path.write_bytes(other.read_bytes())
        return Change(how, path, None, None)
    before, status = path.read_bytes(), path.stat()
    if how == "delete":
        path.unlink()
        return Change(how, path, before, status)
    after = other.read_bytes()
    while how == "damage" or is_as_good(path, before, after):
        how = randomness.choice(list(BYTES))
        after = BYTES[how](before, randomness)
    path.chmod(0o644)
    path.write_bytes(after)
    path.chmod(status.st_mode)
    if randomness.random() < 0.5:  # as a disk's rot leaves it
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        how = f"{how} (with the old time stamp)"
    return Change(how, path, before, status)


def is_as_good(path: Path, before: bytes, after: bytes) -> bool:
    """Whether it is no damage. A run's record counts by what it says, but for the sizes in it."""
    if before == after:
        return True
    if "runs" not in path.parts:
        return False
    try:
        said = [
            YAML(typ="safe").load(
                b"\n".join(
                    line
                    for line in content.splitlines()
                    if line.split(b":")[0].strip() not in (b"size", b"nfiles")
                )
            )
            for content in (before, after)
        ]
    except (YAMLError, ValueError):
        return False
    return bool(said[0] == said[1])


def undo(change: Change) -> None:
    change.path.unlink(missing_ok=True)
    if change.before is not None and change.status is not None:
        change.path.parent.mkdir(parents=True, exist_ok=True)
        change.path.write_bytes(change.before)
        change.path.chmod(change.status.st_mode)


def not_cured(project: Project, lines: list[str]) -> str:
    """Do what the doctor says; what was said if not everything is whole then."""
    for line in lines:
        place, _, rest = line.partition(": ")
        if "delete it" in rest:
            path = project.folder / place
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if any(REPAIR in line for line in lines):
        project.run(*DOCTOR, "--repair", check=False)
    repro = project.repro(check=False)
    doctor = project.run(*DOCTOR, check=False)
    whole = doctor.returncode == 0
    return "" if whole else "\n".join([*lines, repro, doctor.stdout, doctor.stderr])

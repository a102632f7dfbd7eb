"""Re-hash everything that DVC keeps, and list what is damaged: `make doctor`.

DVC trusts an object of its cache if the file is read-only, and a result if its size and its time of
change are unchanged. So it also checks out files that a disk or a person has damaged. This script
computes all hashes again, with DVC's own functions:

    objects     each file of the cache against the hash that is its name
    runs        each record of the run cache against the hash that is its name
    results     each output of dvc.yaml, kept by DVC or by git, against dvc.lock

The exit status is 1 if anything is damaged or missing. `--repair` deletes damaged files and files
that do not belong in a folder of results, and restores an object of the cache if the results
include an intact copy; `dvc repro` makes the rest.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click
from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo
from dvc.utils import dict_sha256
from dvc.utils.serialize import load_yaml
from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.hash import file_md5
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree
from dvc_objects.fs.base import FileSystem

NOT_RECORDED = "damaged: its hash is not that of dvc.lock"
MISNAMED = "damaged: its hash is not its name"
RERUN = "run `dvc repro`"
DELETE = "delete it and "
CURE = f"{DELETE}{RERUN}"


class Copy(NamedTuple):
    """An intact copy of an object of the cache, among the results."""

    fs: FileSystem
    path: str
    result: Path
    """The file or folder of the results that has the content."""


@dataclass(frozen=True)
class Damage:
    path: Path
    what: str
    cure: str
    """What a person should do; --repair deletes the path if this begins with `DELETE`."""
    restore: Callable[[], object] | None = None
    """Puts an intact copy in the place of the deleted path."""

    def __str__(self) -> str:
        return f"{_shown(self.path)}: {self.what}; {self.cure}"


@dataclass
class Checkup:
    """What was read, and the damage that was found."""

    objects: int = 0
    runs: int = 0
    results: int = 0
    size: int = 0
    """Bytes."""
    damages: list[Damage] = field(default_factory=list)
    copies: dict[str, Copy] = field(default_factory=dict)
    """Intact results, by hash."""
    needed: dict[str, Path] = field(default_factory=dict)
    """Results that must be in the cache, by hash."""

    def hash_of(self, path: Path, name: str) -> str:
        self.size += path.stat().st_size
        found: str = file_md5(str(path), name=name)
        return found

    def found(self, path: Path, what: str, cure: str = CURE) -> None:
        self.damages.append(Damage(path, what, cure))

    def found_object(self, database: HashFileDB, oid: str, what: str, cure: str) -> None:
        restore = None
        if result := self.needed.get(oid):
            what += f", which is that of {_shown(result)}"
        if copy := self.copies.get(oid):
            cure = f"`python scripts/doctor.py --repair` restores it from {_shown(copy.result)}"
            restore = partial(database.add, copy.path, copy.fs, oid)
        self.damages.append(Damage(Path(database.oid_to_path(oid)), what, cure, restore))


@click.command()
@click.option(
    "--repair",
    is_flag=True,
    help="Delete damaged and foreign files; restore files that have a copy.",
)
def main(repair: bool) -> None:
    """Re-hash everything that DVC keeps, and list what is damaged or missing."""
    try:
        with Repo() as repo:
            checkup = check(repo)
            for damage in checkup.damages:
                click.echo(f"{damage}", err=True)
                if repair:
                    mend(damage)
    except (DvcException, OSError) as error:
        raise click.ClickException(" ".join(str(error).split())) from error
    if not checkup.damages:
        click.echo(
            f"intact: {checkup.results} results, {checkup.objects} objects and {checkup.runs} runs "
            f"of DVC's cache; {checkup.size / 1e6:.0f} MB read"
        )
        return
    count = len(checkup.damages)
    if repair:
        click.echo(f"{count} damaged or missing: deleted or restored; now {RERUN}")
        return
    raise click.ClickException(
        f"{count} damaged or missing, listed above; `python scripts/doctor.py --repair` deletes "
        f"what is damaged and restores what has an intact copy"
    )


def check(repo: Repo) -> Checkup:
    """Hash everything, the results first: they show which object has an intact copy."""
    checkup = Checkup()
    for out in sorted(repo.index.outs, key=lambda out: str(out.fs_path)):
        _check_result(out, checkup)
    # A cache of DVC 2 held its objects in the cache's root; DVC 3 still puts some folders there.
    for database in (repo.cache.local, repo.cache.legacy):
        _check_objects(database, checkup)
    for oid in checkup.needed:
        if not repo.cache.local.exists(oid):
            checkup.found_object(repo.cache.local, oid, "missing", RERUN)
    for record in sorted(Path(repo.stage_cache.cache_dir).glob("*/*/*")):
        _check_run(record, checkup)
    return checkup


def _check_result(out: Output, checkup: Checkup) -> None:
    path, expected = Path(out.fs_path), out.hash_info
    checkup.results += 1
    if not expected or not expected.name or not expected.value:
        checkup.found(path, "not in dvc.lock", RERUN)
        return
    if out.use_cache:
        checkup.needed[expected.value] = path
    if not path.exists():
        checkup.found(path, "missing", _how_to_remake(out, path))
    elif path.is_dir() != expected.isdir:
        checkup.found(path, f"a {'file' if expected.isdir else 'folder'} instead of the result")
    elif expected.isdir:
        _check_folder(out, path, expected.name, expected.value, checkup)
    elif checkup.hash_of(path, expected.name) == expected.value:
        checkup.copies[expected.value] = Copy(out.fs, str(path), path)
    else:
        checkup.found(path, NOT_RECORDED, f"{DELETE}{_how_to_remake(out, path)}")


def _how_to_remake(out: Output, path: Path) -> str:
    """How to make a result again; a file in git need not be computed."""
    return RERUN if out.use_cache else f"{RERUN}, or `git restore {_shown(path)}`"


def _check_folder(out: Output, folder: Path, name: str, oid: str, checkup: Checkup) -> None:
    """Check each file against the cache's list of the folder, or all together without the list."""
    own = Tree()  # type: ignore[no-untyped-call]
    for file in map(Path, out.dvcignore.find(out.fs, str(folder))):
        own.add(file.relative_to(folder).parts, None, HashInfo(name, checkup.hash_of(file, name)))
    own.digest(name=name)
    listed: Tree | None = own
    if own.oid == oid:
        checkup.copies[oid] = Copy(own.fs, own.path, folder)
    else:
        listed = _listed(out.cache, name, oid)
    if listed is None:
        checkup.found(folder, NOT_RECORDED, f"{DELETE}{_how_to_remake(out, folder)}")
        return
    for key in sorted({key for key, _, _ in [*own, *listed]}):
        path = folder.joinpath(*key)
        found, right = (_hash(tree, key) for tree in (own, listed))
        if right and out.use_cache:
            checkup.needed[right] = path
        if not found:
            checkup.found(path, "missing", _how_to_remake(out, path))
        elif not right:
            checkup.found(path, "not a result, but in a folder of results")
        elif found != right:
            checkup.found(path, NOT_RECORDED, f"{DELETE}{_how_to_remake(out, path)}")
        else:
            checkup.copies[found] = Copy(out.fs, str(path), path)


def _hash(tree: Tree, key: tuple[str, ...]) -> str | None:
    _, hash_info = tree.get(key) or (None, None)
    return hash_info.value if hash_info else None


def _listed(database: HashFileDB, name: str, oid: str) -> Tree | None:
    """The cache's list of the files of a folder, if the list is intact."""
    path = database.oid_to_path(oid)
    if not Path(path).is_file() or file_md5(path) != oid.partition(".")[0]:
        return None
    return Tree.load(database, HashInfo(name, oid))


def _check_objects(database: HashFileDB, checkup: Checkup) -> None:
    for path in sorted(Path(database.path).glob("??/*")):
        oid = path.parent.name + path.name
        checkup.objects += 1
        if path.is_dir():
            checkup.found(path, "a folder instead of an object")
        elif checkup.hash_of(path, database.hash_name) != oid.partition(".")[0]:  # HASH.dir: a list
            checkup.found_object(database, oid, MISNAMED, CURE)


def _check_run(path: Path, checkup: Checkup) -> None:
    """Check a record of a stage's outputs, in a folder named after its inputs."""
    checkup.runs += 1
    try:
        record = load_yaml(str(path))
        given = record | {"outs": [out["path"] for out in record["outs"]]}
        names = [dict_sha256(each, exclude=["size", "nfiles"]) for each in (given, record)]
    except (DvcException, AttributeError, KeyError, TypeError, ValueError):
        names = []  # not YAML, or not the record of a run
    if names != [path.parent.name, path.name]:
        checkup.found(path, MISNAMED)


def mend(damage: Damage) -> None:
    """Apply the cure: delete the file, or replace it by an intact copy."""
    if damage.restore is None and not damage.cure.startswith(DELETE):
        return
    if damage.path.is_dir() and not damage.path.is_symlink():
        shutil.rmtree(damage.path)
    else:
        damage.path.unlink(missing_ok=True)
    if damage.restore:
        damage.restore()


def _shown(path: Path) -> str:
    """A path below the current folder as relative, any other as it is."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    sys.exit(main())

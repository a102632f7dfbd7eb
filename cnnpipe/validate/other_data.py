"""Results of another data set, which must not pass for results of this one.

Before a stage runs again, DVC removes what it made. But `dvc exp run summarize` runs some stages
only. The results of the others would stay, and the experiment would be compared by them.
"""

import hashlib
import io
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from cnnpipe.params.data import DataParams
from cnnpipe.system.artifacts import atomic_write

LOCK = Path("dvc.lock")
OWN = Path("reports/validate/folder.json")
"""What the validate stage has just written of a data set of one's own; null of any other."""
RAW = "data/raw"
NOT_THE_CONTENT = ("mirrors", "timeout")
"""Keys of `data` that the download stage reads and that say nothing about what lies in RAW."""


def remove_results_of_other_data(data: DataParams) -> list[Path]:
    """Remove what dvc.lock says was made of another data set than `data` names, and forget it.

    The data set itself stays: the download stage replaces it. A commit or an experiment that has
    the results gives them back; DVC's run cache has the trained models.

    Returns:
        what was removed.
    """
    if not LOCK.is_file():
        return []
    yaml = YAML()  # as DVC reads and writes it
    lock = yaml.load(LOCK.read_text(encoding="utf-8"))
    stages = lock.get("stages", {})  # none after scripts/repro.py has replaced an incomplete file
    if not _names_other_data(stages.get("download", {}), data):
        return []
    made = _made_from(RAW, stages)
    results = [Path(out) for name in made for out in _paths(stages[name], "outs")]
    present = [path for path in results if path.exists()]
    for path in present:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    # Last, so that a run that was killed before is repeated.
    for name in made:
        del stages[name]
    text = io.StringIO()
    yaml.dump(lock, text)
    with atomic_write(LOCK) as file:
        file.write(text.getvalue())
    return present


def _names_other_data(download: Mapping[str, Any], data: DataParams) -> bool:
    """Whether the download stage last ran with another data set, or with other pictures."""
    for dep in download.get("deps", []):
        if dep["path"] == OWN.as_posix() and dep.get("md5") != _md5(OWN):
            return True
    wanted = data.model_dump(exclude=set(NOT_THE_CONTENT))
    recorded = download.get("params", {}).get("params.yaml", {})
    return any(recorded.get(f"data.{key}", value) != value for key, value in wanted.items())


def _md5(path: Path) -> str:
    """As DVC records a file."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _made_from(path: str, stages: Mapping[str, Any]) -> list[str]:
    """The stages that depend on a path, directly or not."""
    sources, found = [path], list[str]()
    while True:
        new = [
            name
            for name, stage in stages.items()
            if name not in found and _overlap(_paths(stage, "deps"), sources)
        ]
        if not new:
            return found
        found += new
        sources += [out for name in new for out in _paths(stages[name], "outs")]


def _paths(stage: Mapping[str, Any], kind: str) -> list[str]:
    return [entry["path"] for entry in stage.get(kind, [])]


def _overlap(some: Iterable[str], others: Iterable[str]) -> bool:
    """Whether a path of one kind is one of the other kind, or lies in one, or holds one."""
    return any(Path(a).is_relative_to(b) or Path(b).is_relative_to(a) for a in some for b in others)

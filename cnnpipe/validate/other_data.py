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

from cnnpipe.params.data import DatasetName
from cnnpipe.system.artifacts import atomic_write

LOCK = Path("dvc.lock")
RAW = "data/raw"
FOLDER = "reports/validate/folder.json"
"""The content of a data set of one's own, which the download stage depends on."""


def remove_results_of_other_data(name: DatasetName) -> list[Path]:
    """Remove what dvc.lock says was made of another data set than this one, and forget it.

    The data set itself stays: the download stage replaces it. A commit or an experiment that has
    the results gives them back; DVC's run cache has the trained models.

    Returns:
        what was removed.
    """
    if not LOCK.is_file():
        return []
    yaml = YAML()  # as DVC reads and writes it
    lock = yaml.load(LOCK.read_text(encoding="utf-8"))
    stages = lock["stages"]
    if not _ran_on_other_data(stages.get("download", {}), name):
        return []
    made = _made_from(RAW, stages)
    results = [Path(out) for stage in made for out in _paths(stages[stage], "outs")]
    present = [path for path in results if path.exists()]
    for path in present:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    # Last, so that a run that was killed before is repeated.
    for stage in made:
        del stages[stage]
    text = io.StringIO()
    yaml.dump(lock, text)
    with atomic_write(LOCK) as file:
        file.write(text.getvalue())
    return present


def _ran_on_other_data(download: Mapping[str, Any], name: DatasetName) -> bool:
    """Whether the download stage last ran with another name, or on another folder of one's own."""
    recorded = download.get("params", {}).get("params.yaml", {}).get("data.name", name)
    hashes = {dep["path"]: dep.get("md5") for dep in download.get("deps", [])}
    content = hashlib.md5(Path(FOLDER).read_bytes(), usedforsecurity=False).hexdigest()
    return bool(recorded != name or hashes.get(FOLDER, content) != content)


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

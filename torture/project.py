"""A copy of the project on small data, in a git repository of its own.

The data set is the digits of scikit-learn, which need no network, and every budget is so small
that the verdicts mean nothing. `Project.create` copies, `repro` runs stages to their end, `start`
leaves them running, `copy` is the same project once more.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", "cnnpipe", "scripts", "stages")
DVC = (sys.executable, "-m", "dvc")

SMALL: dict[str, Any] = {
    "data.name": "digits",
    "train.device": "cpu",
    "train.epochs": 2,
    "models.vgg.epochs": 1,
    "models.vgg.blocks": [[4], [8]],
    "explain.removal_images": 20,
    "explain.attribution.images": 10,
    "explain.attribution.networks": 1,
    "explain.attribution.window": 14,
    "principles.equivalence.steps": 3,
    "principles.output_size.size": 4,
    "principles.locality.images": 8,
    "principles.sharing.train_sizes": [50],
    "principles.sharing.seeds": 2,
    "principles.sharing.steps": 3,
    "principles.translation.seeds": 2,
    "principles.translation.steps": 3,
    "principles.pooling.seeds": 2,
    "principles.pooling.steps": 3,
    "principles.hierarchy.images": 100,
    "principles.hierarchy.steps": 5,
    "principles.activation.depths": [2, 3],
    "principles.activation.trained_depths": [2],
    "principles.activation.seeds": 2,
    "principles.activation.steps": 3,
    "principles.inductive_bias.sizes": [60, 120],
    "principles.inductive_bias.seeds": 2,
    "principles.inductive_bias.steps": 3,
    "principles.filters.draws": 100,
    "handcrafted.training": 100,
    "handcrafted.test": 20,
    "handcrafted.words": 8,
    "handcrafted.epochs": 1,
    "benchmark.batch_size": 2,
    "benchmark.batch_sizes": [1, 2],
    "benchmark.seconds": 0.001,
}
"""Settings with which the whole pipeline takes a minute or two."""


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path, settings: dict[str, Any] = SMALL) -> Project:
        """A fresh copy in `folder` (made if missing), in which nothing has run."""
        project = cls(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, folder / name)
        project.run("git", "init", "--quiet")
        project.run(*DVC, "init", "--quiet")
        for key, value in settings.items():
            project.set(key, value)
        return project

    def copy(self, folder: Path) -> Project:
        """The same project elsewhere, with all that has run in it."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    def set(self, key: str, value: Any) -> None:
        """Change one setting of params.yaml, named as `dvc exp run -S` names it."""
        yaml = YAML()
        path = self.folder / "params.yaml"
        tree = section = yaml.load(path.read_text(encoding="utf-8"))
        *parents, last = key.split(".")
        for parent in parents:
            section = section[parent]
        section[last] = value
        with path.open("w", encoding="utf-8") as file:
            yaml.dump(tree, file)

    def trust_operators(self) -> None:
        """Take the operators for proved, as the project's own report says; proof takes a minute."""
        yaml = YAML()
        path = self.folder / "dvc.yaml"
        pipeline = yaml.load(path.read_text(encoding="utf-8"))
        del pipeline["stages"]["verify"]
        with path.open("w", encoding="utf-8") as file:
            yaml.dump(pipeline, file)
        (self.folder / "reports").mkdir(exist_ok=True)
        shutil.copy2(ROOT / "reports" / "verify.json", self.folder / "reports")

    @property
    def environment(self) -> dict[str, str]:
        """Of the commands: the copy's own code, this interpreter, nothing of whatever is around."""
        around = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return around | {
            "PATH": path,
            "PYTHONPATH": str(self.folder),
            "PYTHONUNBUFFERED": "1",
            "DVC_NO_ANALYTICS": "1",  # sent by a process that outlives the command
            "DVC_SITE_CACHE_DIR": str(self.folder / ".dvc" / "site"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "torture",
            "GIT_AUTHOR_EMAIL": "torture@localhost",
            "GIT_COMMITTER_NAME": "torture",
            "GIT_COMMITTER_EMAIL": "torture@localhost",
        }

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command to its end.

        Raises:
            RuntimeError: it failed, and `check` is set.
        """
        result = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if check and result.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}:\n{result.stdout}{result.stderr}")
        return result

    def repro(self, *targets: str, check: bool = True) -> str:
        """`dvc repro` of some stages or all; what it printed."""
        result = self.run(*DVC, "repro", *targets, check=check)
        return result.stdout + result.stderr

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a command in a session of its own; what it prints goes to `log`."""
        with self.log.open("wb") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def commit(self) -> None:
        """Commit everything to git, as experiments need it."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "state")

    def json(self, path: str) -> Any:
        return json.loads((self.folder / path).read_text(encoding="utf-8"))

    def snapshot(self) -> dict[str, bytes]:
        """Every file under data/ and reports/, and its content."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for top in ("data", "reports")
            for path in (self.folder / top).rglob("*")
            if path.is_file()
        }

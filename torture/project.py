"""A copy of the project on small data, in a git repository of its own.

The data set is the digits of scikit-learn, which need no network. Every budget is so small that
the verdicts mean nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import reduce
from operator import getitem
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cnnpipe.system.artifacts import TEMPORARY
from torture.campaign import failed

ROOT = Path(__file__).resolve().parent.parent
COPIED = (
    *("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", "cnnpipe", "scripts", "stages"),
    *("data/own/README.md", "reports/claims.json"),
)
DVC = (sys.executable, "-m", "dvc")

SMALL: dict[str, Any] = {
    "data.name": "digits",
    "runtime.device": "cpu",
    "train.epochs": 2,
    "models.vgg.epochs": 1,
    "models.vgg.blocks": [[4], [8]],
    "visualize.samples": [0],
    "visualize.mistakes": 2,
    "explain.removal_images": 20,
    "explain.patches": 1,
    "explain.attribution.images": 10,
    "explain.attribution.networks": 1,
    "explain.attribution.window": 14,
    "principles.equivalence.steps": 3,
    "principles.equivalence.test_images": 20,
    "principles.output_size.size": 3,
    "principles.output_size.kernel_size": 2,
    "principles.output_size.stride": 2,
    "principles.output_size.padding": 1,
    "principles.output_size.dilation": 2,
    "principles.locality.images": 20,
    "principles.locality.runs": 2,
    "principles.sharing.train_images": 64,
    "principles.sharing.test_images": 20,
    "principles.sharing.runs": 2,
    "principles.sharing.steps": 3,
    "principles.sharing.judged_shift": 1,
    "principles.sharing.largest_shift": 2,
    "principles.translation.train_images": 64,
    "principles.translation.test_images": 20,
    "principles.translation.runs": 2,
    "principles.translation.steps": 3,
    "principles.translation.judged_shift": 1,
    "principles.translation.largest_shift": 2,
    "principles.pooling.train_images": 64,
    "principles.pooling.test_images": 20,
    "principles.pooling.runs": 2,
    "principles.pooling.steps": 3,
    "principles.pooling.judged_shift": 1,
    "principles.pooling.largest_shift": 2,
    "principles.pooling.map_images": 20,
    "principles.hierarchy.images": 100,
    "principles.hierarchy.filters": 1,
    "principles.hierarchy.patches": 2,
    "principles.activation.depth": 3,
    "principles.activation.trained_depth": 2,
    "principles.inductive_bias.sizes": [60],
    "principles.filters.draws": 100,
    "principles.hierarchy.test_images": 100,
    "principles.hierarchy.runs": 2,
    "principles.hierarchy.steps": 3,
    "principles.activation.test_images": 20,
    "principles.activation.runs": 2,
    "principles.activation.steps": 3,
    "principles.sparsity.test_images": 20,
    "principles.sparsity.runs": 2,
    "principles.sparsity.steps": 3,
    "principles.inductive_bias.test_images": 20,
    "principles.inductive_bias.runs": 2,
    "principles.inductive_bias.steps": 3,
    "principles.filters.test_images": 20,
    "principles.filters.runs": 2,
    "principles.filters.steps": 3,
    "handcrafted.draws": 2,
    "handcrafted.draw_training": 50,
    "handcrafted.draw_test": 10,
    "handcrafted.draw_transfer": 50,
    "handcrafted.training": 100,
    "handcrafted.test": 10,
    "handcrafted.words": 8,
    "handcrafted.epochs": 1,
    "handcrafted.transfer": [],
    "benchmark.batch_size": 2,
    "benchmark.batch_sizes": [2],
    "benchmark.seconds": 0.001,
}
"""Settings with which the whole pipeline takes a minute or two."""


@contextmanager
def fresh_copy(original: Path, copy: Path) -> Iterator[Path]:
    """A copy of a folder that is removed with all that is done to it."""
    shutil.copytree(original, copy, symlinks=True)
    try:
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def contents(folder: Path) -> dict[str, bytes | None]:
    """What a folder holds, also below: each file's content, and None for what is no file."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@contextmanager
def edited(path: Path) -> Iterator[Any]:
    """The content of a YAML file, to be changed in place; comments stay."""
    yaml = YAML()
    content = yaml.load(path.read_text(encoding="utf-8"))
    yield content
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)


class Project:
    def __init__(self, folder: Path, around: Mapping[str, str] = MappingProxyType({})) -> None:
        """
        Args:
            around: environment variables of all its commands.
        """
        self.folder = folder
        self.around = around

    @classmethod
    def create(cls, folder: Path, settings: Mapping[str, Any] = SMALL) -> Project:
        """A fresh copy in `folder` (made if missing), in which nothing has run."""
        project = cls(folder)
        for name in COPIED:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, folder / name)
        project.begin()
        project.change(settings)
        return project

    def begin(self) -> None:
        """Make a repository of git and DVC of its folder, without a commit."""
        self.temporary.mkdir(parents=True)
        self.run("git", "init", "--quiet", "--initial-branch=main")
        (self.folder / ".git" / "info").mkdir(exist_ok=True)
        (self.folder / ".git" / "info" / "exclude").write_text("/.cache/\n/.log\n/.temporary/\n")
        (self.folder / ".dvc").mkdir()
        for name in (".dvc/.gitignore", ".dvc/config"):  # all that `dvc init` would make, as cloned
            shutil.copy2(ROOT / name, self.folder / name)

    @contextmanager
    def copied(
        self, folder: Path, around: Mapping[str, str] = MappingProxyType({})
    ) -> Iterator[Project]:
        """A copy of the project with all its results, removed afterwards."""
        with fresh_copy(self.folder, folder) as copy:
            yield Project(copy, around)

    def change(self, settings: Mapping[str, Any]) -> None:
        """Change settings of params.yaml, each named as `dvc exp run -S` names it."""
        with edited(self.folder / "params.yaml") as params:
            for key, value in settings.items():
                *parents, last = key.split(".")
                reduce(getitem, parents, params)[last] = value

    def set(self, key: str, value: Any) -> None:
        """Change one setting."""
        self.change({key: value})

    def trust_operators(self) -> None:
        """Replace the `verify` stage, which takes a minute, by the project's own report."""
        with edited(self.folder / "dvc.yaml") as pipeline:
            del pipeline["stages"]["verify"]
        (self.folder / "reports").mkdir(exist_ok=True)
        shutil.copy2(ROOT / "reports" / "verify.json", self.folder / "reports")

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the commands: the copy's own code, this interpreter, none of a user's."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return unset() | {
            "PATH": path,
            "PYTHONPATH": str(self.folder),
            "PYTHONUNBUFFERED": "1",
            "DVC_NO_ANALYTICS": "1",  # sent by a process that outlives the command
            "DVC_SITE_CACHE_DIR": str(self.folder / ".dvc" / "tmp" / "site"),
            "TMPDIR": str(self.temporary),
            "TORCHINDUCTOR_CACHE_DIR": str(self.folder / ".cache"),  # a cache, not left over
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CEILING_DIRECTORIES": str(self.folder.parent),
            "GIT_AUTHOR_NAME": "torture",
            "GIT_AUTHOR_EMAIL": "torture@localhost",
            "GIT_COMMITTER_NAME": "torture",
            "GIT_COMMITTER_EMAIL": "torture@localhost",
            **self.around,
        }

    def run(
        self,
        *command: str,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
        below: str = "",
        **how: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever it prints in whatever encoding.

        Args:
            environment: in place of `self.environment`.
            below: folder of the project to start in.
            how: other arguments of `subprocess.run`.

        Raises:
            RuntimeError: it failed, and `check` is set.
        """
        result = subprocess.run(
            command,
            cwd=self.folder / below,
            env=environment or self.environment,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            check=False,
            **how,
        )
        if check and result.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}:\n{result.stdout}{result.stderr}")
        return result

    def repro(self, *targets: str, check: bool = True) -> str:
        """`dvc repro` of some stages or all; what it printed."""
        result = self.run(*DVC, "repro", *targets, check=check)
        return result.stdout + result.stderr

    def start(self, *command: str, log: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a command in a session of its own; what it prints goes to `self.log` or `log`."""
        with (log or self.log).open("wb") as output:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=hear_signals,
            )

    @property
    def log(self) -> Path:
        return self.folder / ".log"

    @property
    def temporary(self) -> Path:
        """Where its processes keep their temporary files."""
        return self.folder / ".temporary"

    def commit(self, message: str = "state") -> None:
        """Commit everything to git, as experiments need it."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)

    def json(self, path: str) -> Any:
        return json.loads((self.folder / path).read_text(encoding="utf-8"))

    def committed(self, stage: str) -> dict[str, Any] | None:
        """The entry of a stage in dvc.lock, or None if dvc.lock is cut off."""
        path = self.folder / "dvc.lock"
        try:
            lock = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
            entry: dict[str, Any] | None = lock["stages"].get(stage)
        except (FileNotFoundError, YAMLError, TypeError, KeyError, AttributeError):
            return None
        return entry

    def stages(self) -> list[str]:
        """All stages in the order of dvc.yaml, where each stands after those that it needs."""
        entries, models = self._yaml("dvc.yaml")["stages"], self._yaml("params.yaml")["models"]
        return [
            stage
            for name, entry in entries.items()
            for stage in ([f"{name}@{model}" for model in models] if "foreach" in entry else [name])
        ]

    def outs(self, stage: str) -> list[Path]:
        """The files and folders that a stage makes."""
        name, _, model = stage.partition("@")
        entry = self._yaml("dvc.yaml")["stages"][name]
        listed = entry.get("do", entry)["outs"]
        names = [next(iter(out)) if isinstance(out, dict) else out for out in listed]
        return [self.folder / out.replace("${key}", model) for out in names]

    def _yaml(self, name: str) -> Any:
        return YAML(typ="safe").load((self.folder / name).read_text(encoding="utf-8"))

    def pretend(self, *stages: str) -> None:
        """Let a file with the stage's name stand for all that each stage makes."""
        for stage in stages:
            for out in self.outs(stage):
                file = out if out.suffix else out / "result"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(stage, encoding="utf-8")

    def forget(self, *stages: str) -> None:
        """Undo stages: outputs, entries in dvc.lock, and all that DVC has cached of runs."""
        for out in [out for stage in stages for out in self.outs(stage)]:
            if out.is_dir():
                shutil.rmtree(out)
            else:
                out.unlink(missing_ok=True)
        with edited(self.folder / "dvc.lock") as lock:
            for stage in stages:
                lock["stages"].pop(stage, None)
        shutil.rmtree(self.folder / ".dvc" / "cache" / "runs", ignore_errors=True)

    def processes(self) -> list[psutil.Process]:
        """All processes that work in its folder now."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if Path(process.cwd()).is_relative_to(self.folder):
                    found.append(process)
        return found

    def outlived(self, seconds: float) -> list[psutil.Process]:
        """The processes that are still there after `seconds`; they are killed."""
        deadline = time.monotonic() + seconds
        while (alive := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.02)
        for process in alive:
            with suppress(psutil.Error):
                process.kill()
        return alive

    def leftovers(self) -> list[str]:
        """Temporary files that a process left."""
        places = [*self.temporary.iterdir(), *self.folder.glob(TEMPORARY)]
        for top in ("data", "reports", ".cnnpipe"):
            places += (self.folder / top).rglob(TEMPORARY)
        return sorted(str(place.relative_to(self.folder)) for place in places)

    def snapshot(self) -> dict[str, bytes]:
        """Every file under data/ and reports/, and its content."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for top in ("data", "reports")
            for path in (self.folder / top).rglob("*")
            if path.is_file()
        }

    def results(self) -> dict[str, bytes]:
        """All that stages make, which is params.schema.json, too."""
        schema = self.folder / "params.schema.json"
        return self.snapshot() | ({schema.name: schema.read_bytes()} if schema.is_file() else {})


def unset() -> dict[str, str]:
    """This process's variables without what a user may have set for DVC and for downloads."""
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("DVC_") and key != "CNNPIPE_MIRROR"
    }


def script_of(stage: str) -> list[str]:
    """The command of a stage, without DVC."""
    name, _, model = stage.partition("@")
    return [sys.executable, "-m", f"stages.{name}", *([model] if model else [])]


def run_in(folder: Path, *command: str, **around: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the project's own code in a folder that is no copy of the project.

    Args:
        command: of the interpreter, such as "-m", "stages.validate".
        around: environment variables.

    Returns:
        What came of it; a status of -1 after two minutes.
    """
    arguments = [sys.executable, *command]
    try:
        return subprocess.run(
            arguments,
            cwd=folder,
            env=unset() | {"PYTHONPATH": str(ROOT), **around},
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return subprocess.CompletedProcess(arguments, -1, "", str(error))


def not_refused(
    folder: Path, *stage: str, status: int, checks: Callable[[str], Mapping[str, bool]]
) -> str:
    """What is wrong with how a stage ends: it must print an error only, and change no file.

    Args:
        stage: its name and arguments.
        checks: of the error.
    """
    before = contents(folder)
    result = run_in(folder, "-m", f"stages.{stage[0]}", *stage[1:])
    always = {
        "status": result.returncode == status,
        "nothing else": result.stdout == "",
        "nothing written": contents(folder) == before,
    }
    return failed({**always, **checks(result.stderr)}, result.stderr)


def hear_signals() -> None:
    """Reset the signals that `nohup` or a background start has set to be ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)

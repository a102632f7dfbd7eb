"""Run the record settings over several seeds as DVC experiments; reports/records.json.

experiments/record.yaml has the settings that differ from params.yaml. Each seed is one experiment
of DVC, record-MODEL-SEED, in a copy of the project under .dvc/tmp/exps: the workspace and
params.yaml do not change. A finished seed is not run again, so the same command continues after an
interruption or a failure. After a new commit all experiments run again; DVC's run cache then has
the trained weights of every seed whose code, data and parameters are the same.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from dvc_data.index import DataIndexDirError
from repro import clone_problem, end, handle, send
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cnnpipe.findings.wording import count, duration, percent
from cnnpipe.params.loading import load_params
from cnnpipe.params.models import MODEL_NAMES, ModelName
from cnnpipe.record.seeds import Run, summarize_runs
from cnnpipe.system.artifacts import load_csv, load_json, save_json
from cnnpipe.system.command import REPORTS, stage
from cnnpipe.system.errors import InputError
from cnnpipe.validate.schema import Params

SETTINGS = Path("experiments/record.yaml")
RECORDS = REPORTS / "records.json"
LOGS = Path(".cnnpipe/record")
RESULTS = ("reports/evaluation/{}.json", "reports/predictions/{}.csv", "reports/timings/{}.json")


@dataclass
class Seed:
    """One seed of one model, as an experiment of DVC."""

    model: ModelName
    seed: int
    overrides: Mapping[str, Any]
    head: str
    """The commit on which the experiment is based."""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return f"record-{self.model}-{self.seed}"

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"

    def commit(self) -> str | None:
        """The experiment's own commit, if it is done."""
        ref = f"refs/exps/{self.head[:2]}/{self.head[2:]}/{self.name}"
        return git("for-each-ref", "--format=%(objectname)", ref) or None

    def start(self, threads: int) -> None:
        """Start the experiment; return when DVC has created its folder.

        Raises:
            InputError: the project is no longer at the commit that the record names.
        """
        if problem := changed_files() or moved_on(self.head):
            raise InputError(problem)
        # ++ sets a key whether or not it is there; a key that no schema knows ends `validate`.
        settings = {"seed": self.seed, **self.overrides}
        command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", f"--name={self.name}"]
        command += [f"--set-param=++{key}={json.dumps(value)}" for key, value in settings.items()]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, f"evaluate@{self.model}"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
                process_group=0 if os.name == "posix" else None,
            )
        # DVC takes the first experiment that waits, so two must never wait at the same time.
        while self.running() and b"Reproducing experiment" not in self.log.read_bytes():
            time.sleep(0.2)

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def problem(self) -> str:
        """The first error message of DVC or a stage."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line for line in lines if line.casefold().startswith("error: ")]
        return " ".join(["failed:", *(said[:1] or lines[-1:]), f"(full log: {self.log})"])

    def read(self, commit: str) -> Run:
        """What the experiment left in git and in DVC's cache."""
        files = DVCFileSystem(".", rev=commit)
        with TemporaryDirectory() as folder:
            for number, path in enumerate(RESULTS):
                try:
                    content = files.read_bytes(path.format(self.model))
                except (FileNotFoundError, DvcException, DataIndexDirError):
                    raise InputError(
                        f"{self.name}: {path.format(self.model)} is not in DVC's cache; "
                        f"run `dvc exp remove {self.name}` and this command again"
                    ) from None
                Path(folder, str(number)).write_bytes(content)
            evaluation, predictions, timing = (Path(folder, str(n)) for n in range(len(RESULTS)))
            return Run(self.seed, load_json(evaluation), load_csv(predictions), load_json(timing))


@stage
@click.argument("models", nargs=-1, type=click.Choice(MODEL_NAMES))
@click.option("--seeds", default="1,2,3,4,5", show_default=True, help="Separated by commas.")
@click.option("--jobs", type=click.IntRange(1), help="Seeds at a time; default: one per core.")
def main(models: tuple[ModelName, ...], seeds: str, jobs: int | None) -> None:
    """Run the record settings of MODELS (both by default) over several seeds."""
    numbers = read_seeds(seeds)
    if problem := clone_problem() or changed_files():
        raise InputError(problem)
    settings = read_settings()
    head = git("rev-parse", "HEAD")
    waiting = [
        Seed(name, number, settings[name], head)
        for name in models or MODEL_NAMES
        for number in numbers
    ]
    failed = run_all([seed for seed in waiting if not seed.commit()], jobs or default_jobs())
    for name in models or MODEL_NAMES:
        report(name, [seed for seed in waiting if seed.model == name])
    if failed:
        names = ", ".join(seed.name for seed in failed)
        raise InputError(
            f"{names}: failed, see {failed[0].log}; the other seeds are kept, and the same command "
            f"continues; {RECORDS} was not changed for models that lack a seed"
        )


def read_seeds(text: str) -> list[int]:
    """The numbers of --seeds."""
    parts = [part.strip() for part in text.split(",")]
    seeds = [int(part) for part in parts if part.isdecimal()]
    if len({*seeds}) < len(parts):
        raise InputError(f"--seeds: got {text!r}; expected different integers such as 1,2,3")
    return seeds


def changed_files() -> str | None:
    """Why a record could not be traced to a commit, or nothing. Results may differ from it."""
    lines = git("status", "--porcelain", "--untracked-files=no").splitlines()
    names = [line.split(maxsplit=1)[1] for line in lines]
    changed = [name for name in names if not name.startswith(("reports/", "dvc.lock"))]
    if not changed:
        return None
    return f"{', '.join(changed)}: changed since the last commit; commit first: a record names one"


def moved_on(head: str) -> str | None:
    """Why later runs would not be of the commit that the first ones are of, or nothing."""
    if git("rev-parse", "HEAD") == head:
        return None
    return f"the project was at {head[:7]} when this began and is at another commit now; run again"


def read_settings() -> dict[str, dict[str, Any]]:
    """By model, the dotted keys of params.yaml that the record runs set."""
    try:
        tree = YAML(typ="safe").load(SETTINGS.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{SETTINGS}: no such file; run from the project's root") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{SETTINGS}: not YAML: {' '.join(str(error).split())}") from None
    if (
        not isinstance(tree, dict)
        or set(tree) != set(MODEL_NAMES)
        or not all(isinstance(section, dict) for section in tree.values())
    ):
        raise InputError(f"{SETTINGS}: expected a mapping of {' and '.join(MODEL_NAMES)}")
    return tree


def default_jobs() -> int:
    """As many as there are cores; on an accelerator, which a run fills by itself, one."""
    # Torch takes longer to import than all else here takes to run.
    from cnnpipe.system.hardware import choose_device

    device = choose_device(load_params(Params).runtime.device)
    return os.cpu_count() or 1 if device.type == "cpu" else 1


def run_all(seeds: Sequence[Seed], jobs: int) -> list[Seed]:
    """Run several experiments at a time; return those that failed."""
    jobs = max(1, min(jobs, len(seeds)))
    threads = max(1, (os.cpu_count() or 1) // jobs)
    waiting, active = list(seeds), list[Seed]()
    try:
        while waiting or active:
            for seed in [seed for seed in active if not seed.running()]:
                active.remove(seed)
                click.echo(f"{seed.name}: {'done' if seed.commit() else seed.problem()}")
            if waiting and len(active) < jobs:
                active.append(waiting.pop(0))
                click.echo(f"{active[-1].name}: runs on {count(threads, 'thread')}")
                active[-1].start(threads)
            else:
                time.sleep(0.5)
    except BaseException as stop:
        # `stage` turns a signal into a SystemExit. No experiment may keep running after any exit.
        number = int(stop.code or 0) - 128 if isinstance(stop, SystemExit) else signal.SIGTERM
        handle(signal.SIG_IGN)
        processes = [seed.process for seed in active if seed.process]
        for process in processes:
            send(process, number)
        for process in processes:
            end(process, number)
        click.echo("Interrupted; finished seeds are kept, and the same command continues.")
        raise
    return [seed for seed in seeds if not seed.commit()]


def report(name: ModelName, seeds: Sequence[Seed]) -> None:
    """Print a model's table; write it to reports/records.json if no seed is missing."""
    done = [(seed, commit) for seed in seeds if (commit := seed.commit())]
    if not done:
        return
    summary = summarize_runs([seed.read(commit) for seed, commit in done])
    click.echo(table(name, summary))
    if len(done) == len(seeds):
        records = load_json(RECORDS) if RECORDS.exists() else {}
        facts = {"commit": seeds[0].head, "overrides": dict(seeds[0].overrides)}
        save_json(RECORDS, {**records, name: facts | summary})


def table(name: str, summary: Mapping[str, Any]) -> str:
    """A model's runs, their mean and their vote, as text."""
    rows = [
        f"  seed {run['seed']}: {percent(run['test_accuracy'], 2)}, {run['test_errors']} errors, "
        f"trained in {duration(run['train_seconds'])}"
        for run in summary["runs"]
    ]
    spread = summary["sd_test_accuracy"]
    mean = percent(summary["mean_test_accuracy"], 3)
    return "\n".join(
        [
            f"{name} on {summary['images']} test images of {summary['dataset']}:",
            *rows,
            f"  mean of {summary['seeds']} seeds: {mean}"
            + (f" ± {percent(spread, 3)} (sd)" if spread is not None else ""),
            f"  vote of all seeds: {percent(summary['vote']['test_accuracy'], 2)}, "
            f"{summary['vote']['test_errors']} errors",
        ]
    )


def git(*arguments: str) -> str:
    """The output of a git command."""
    return subprocess.run(
        ["git", *arguments], check=True, capture_output=True, text=True, encoding="utf-8"
    ).stdout.strip()


if __name__ == "__main__":
    main()

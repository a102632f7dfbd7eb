"""Run the record settings over several seeds on DVC's queue; reports/records.json.

experiments/record.yaml has the settings that differ from params.yaml. Each seed is one experiment
of DVC, record-MODEL-SEED, in a copy of the project under .dvc/tmp/exps: the workspace and
params.yaml do not change. A finished seed is not run again, so the same command continues after an
interruption or a failure. After a new commit all experiments run again; DVC's run cache then has
the trained weights of every seed whose code, data and parameters are the same.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import dvc.api
import pandas as pd
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.experiments.queue.celery import LocalCeleryQueue
from dvc.repo.experiments.queue.exceptions import CannotKillTasksError
from dvc_data.index import DataIndexDirError
from repro import PATIENCE, clone_problem, handle, stop

from cnnpipe.findings.wording import count, duration, percent, plus_minus
from cnnpipe.networks import MODEL_NAMES
from cnnpipe.params.loading import load_params, read_yaml
from cnnpipe.record.seeds import Run, summarize_runs
from cnnpipe.system.artifacts import load_json, save_json
from cnnpipe.system.command import REPORTS, stage
from cnnpipe.system.errors import InputError
from cnnpipe.validate.schema import Params

SETTINGS = Path("experiments/record.yaml")
RECORDS = REPORTS / "records.json"
RESULTS = ("reports/evaluation/{}.json", "reports/predictions/{}.csv", "reports/timings/{}.json")


@dataclass(frozen=True)
class Seed:
    """One seed of one model, as an experiment of DVC."""

    model: str
    number: int
    overrides: Mapping[str, Any]
    head: str
    """The commit on which the experiment is based."""

    @property
    def name(self) -> str:
        return f"record-{self.model}-{self.number}"

    def commit(self) -> str | None:
        """The experiment's own commit, if it is done."""
        ref = f"refs/exps/{self.head[:2]}/{self.head[2:]}/{self.name}"
        return git("for-each-ref", "--format=%(objectname)", ref) or None

    def enqueue(self, repo: Repo) -> None:
        """Do what `dvc exp run --queue` does."""
        # ++ sets a key whether or not it is there; a key that no schema knows ends `validate`.
        settings = {"seed": self.number, **self.overrides}
        params = [f"++{key}={json.dumps(value)}" for key, value in settings.items()]
        repo.experiments.run(
            targets=[f"evaluate@{self.model}"], params=params, queue=True, name=self.name
        )

    def read(self, commit: str) -> Run:
        """What the experiment left in git and in DVC's cache."""
        try:
            evaluation, predictions, timing = (
                dvc.api.read(path.format(self.model), rev=commit) for path in RESULTS
            )
        except (DvcException, DataIndexDirError) as error:
            raise InputError(
                f"{self.name}: not in DVC's cache ({' '.join(str(error).split())}); "
                f"run `dvc exp remove {self.name}` and this command again"
            ) from None
        table = pd.read_csv(io.StringIO(predictions))
        return Run(self.number, json.loads(evaluation), table, json.loads(timing))


@stage
@click.argument("models", nargs=-1, type=click.Choice(MODEL_NAMES))
@click.option("--seeds", default="1,2,3,4,5", show_default=True, help="Separated by commas.")
@click.option("--jobs", type=click.IntRange(1), help="Seeds at a time; default: one per core.")
def main(models: tuple[str, ...], seeds: str, jobs: int | None) -> None:
    """Run the record settings of MODELS (by default, all that have some) over several seeds."""
    numbers = read_seeds(seeds)
    if problem := clone_problem() or changed_files():
        raise InputError(problem)
    settings = read_settings()
    head = git("rev-parse", "HEAD")
    planned = [
        Seed(name, number, settings.get(name, {}), head)
        for name in models or settings
        for number in numbers
    ]
    if missing := [seed for seed in planned if not seed.commit()]:
        try:
            with Repo() as repo:
                run_all(repo, missing, jobs or default_jobs())
        except DvcException as error:
            raise InputError(" ".join(str(error).split())) from error
    for name in models or settings:
        report(name, [seed for seed in planned if seed.model == name])
    if failed := [seed.name for seed in missing if not seed.commit()]:
        raise InputError(
            f"{', '.join(failed)}: failed; `dvc queue logs {failed[0]}` shows why; the other seeds "
            f"are kept, and the same command continues; {RECORDS} was not changed for models that "
            "lack a seed"
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
    changed = git("diff", "--name-only", "HEAD", "--", ".", ":!reports", ":!dvc.lock").split("\n")
    if changed == [""]:
        return None
    return f"{', '.join(changed)}: changed since the last commit; commit first: a record names one"


def read_settings() -> dict[str, dict[str, Any]]:
    """By model, the dotted keys of params.yaml that the record runs set."""
    allowed = f"a mapping of {', '.join(MODEL_NAMES)}"
    tree = read_yaml(SETTINGS, allowed)
    known = set(tree) <= set(MODEL_NAMES)
    if not known or not all(isinstance(part, dict) for part in tree.values()):
        raise InputError(f"{SETTINGS}: expected {allowed}")
    return tree


def default_jobs() -> int:
    """As many as there are cores; on an accelerator, which a run fills by itself, one."""
    # Torch takes longer to import than all else here takes to run.
    from cnnpipe.system.hardware import choose_device

    device = choose_device(load_params(Params).runtime.device)
    return os.cpu_count() or 1 if device.type == "cpu" else 1


def run_all(repo: Repo, seeds: Sequence[Seed], jobs: int) -> None:
    """Run experiments on DVC's queue and wait for them; what ends the wait ends them, too."""
    queue = repo.experiments.celery_queue
    clean_up(queue, seeds)
    names = {seed.name for seed in seeds}
    kept = unfinished(queue, names)
    finished = {task["name"] for task in queue.status()} - kept
    queue.remove(names & finished)  # `dvc queue logs NAME` is to show the new task
    stopped: list[int] = []
    handle(lambda number, _: stopped.append(number))  # DVC's files would not survive a signal
    try:
        for seed in seeds:
            if seed.name not in kept and not stopped:
                seed.enqueue(repo)
        handle(stop)
        if stopped:
            stop(stopped[0])
        start_workers(min(jobs, len(seeds)))
        while unfinished(queue, names):
            time.sleep(1)
    except BaseException:  # `stage` turns a signal into a SystemExit
        handle(signal.SIG_IGN)
        end_all(queue, names)
        click.echo("Interrupted; finished seeds are kept, and the same command continues.")
        raise


def clean_up(queue: LocalCeleryQueue, seeds: Sequence[Seed]) -> None:
    """Keep of an interrupted record only the tasks that wait or that a worker runs.

    Raises:
        InputError: the queue has tasks that are not of this record.
    """
    mine = {(seed.name, seed.head) for seed in seeds}
    entries = [*queue.iter_queued(), *queue.iter_active()]
    if others := [f"{e.name}" for e in entries if (e.name, e.baseline_rev) not in mine]:
        raise InputError(
            f"{', '.join(others)}: on DVC's queue, which the record needs for itself; run them "
            "with `dvc queue start`, or remove them with `dvc queue remove`"
        )
    # A crash of the machine leaves tasks that count as running. `dvc queue kill` would send a
    # signal to their process ids, which other processes may have by now.
    with suppress(CannotKillTasksError):
        queue._mark_inactive_tasks_failure({entry: f"{entry.name}" for entry in entries})
    while (workers := queue.worker_status()) and not any(workers.values()):
        queue.shutdown()  # an idle worker would keep the number of threads it was started with


def unfinished(queue: LocalCeleryQueue, names: set[str]) -> set[str]:
    """Which of these tasks wait or run."""
    entries = [*queue.iter_queued(), *queue.iter_active()]
    return names.intersection(entry.name for entry in entries)


def start_workers(jobs: int) -> None:
    """Start DVC's workers in this interpreter's environment; they share the cores."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    click.echo(
        f"{count(jobs, 'seed')} at a time, each on {count(threads, 'thread')}; "
        "`dvc queue status` lists them"
    )
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(
        [sys.executable, "-m", "dvc", "queue", "start", f"--jobs={jobs}"],
        check=True,
        stdout=subprocess.DEVNULL,  # a worker would hold a pipe open for as long as it lives
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": str(threads)},
    )


def end_all(queue: LocalCeleryQueue, names: set[str]) -> None:
    """Remove tasks that wait, interrupt those that run, and wait until these have ended."""
    killed: set[str] = set()
    deadline = time.monotonic() + PATIENCE
    while unfinished(queue, names) and time.monotonic() < deadline:
        with suppress(DvcException):  # a task has just begun or ended: look again
            queue.remove(names.intersection(entry.name for entry in queue.iter_queued()))
            for name in names.intersection(entry.name for entry in queue.iter_active()) - killed:
                queue.kill([name])
                killed.add(name)
        time.sleep(0.5)


def report(name: str, seeds: Sequence[Seed]) -> None:
    """Print a model's results; write them to reports/records.json if no seed is missing."""
    done = [(seed, commit) for seed in seeds if (commit := seed.commit())]
    if not done:
        return
    summary = summarize_runs([seed.read(commit) for seed, commit in done])
    click.echo(f"{name} on {summary['images']} test images of {summary['dataset']}:")
    for run in summary["runs"]:
        click.echo(
            f"  seed {run['seed']}: {percent(run['test_accuracy'], 2)}, {run['test_errors']} "
            f"errors, trained in {duration(run['train_seconds'])}"
        )
    mean, sd, vote = (summary[key] for key in ("mean_test_accuracy", "sd_test_accuracy", "vote"))
    accuracy = plus_minus(mean, sd, lambda value: percent(value, 3))
    click.echo(f"  mean of {count(len(done), 'seed')} ± sd: {accuracy}")
    click.echo(f"  vote: {percent(vote['test_accuracy'], 2)}, {vote['test_errors']} errors")
    if len(done) == len(seeds):
        records = load_json(RECORDS) if RECORDS.exists() else {}
        facts = {"commit": seeds[0].head, "overrides": dict(seeds[0].overrides)}
        save_json(RECORDS, {**records, name: facts | summary})


def git(*arguments: str) -> str:
    """The output of a git command."""
    return subprocess.run(
        ["git", *arguments], check=True, capture_output=True, text=True, encoding="utf-8"
    ).stdout.strip()


if __name__ == "__main__":
    main()

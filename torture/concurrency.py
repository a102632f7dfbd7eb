"""Several processes at once: DVC runs, experiments, training runs, readers and writers."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from hashlib import md5
from itertools import cycle, islice
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ruamel.yaml import YAML

from cnnpipe.system.artifacts import (
    TEMPORARY,
    load_csv,
    load_json,
    load_weights,
    remove_leftovers,
    save_csv,
    save_json,
    save_weights,
)
from cnnpipe.system.errors import InputError
from torture.campaign import Trial, promise
from torture.kills import difference, results
from torture.project import DVC, SMALL, Project, script_of

STAGES = ("train@lenet5", "download", "evaluate@lenet5", "visualize@lenet5", "explain@lenet5")
BUSY = ("Unable to acquire lock", "is busy, it is being blocked by")
"""How DVC says that another one is at work."""
HELD = "Error: lenet5: another process trains with the same parameters, data and code"
WEIGHTS = "data/models/lenet5.safetensors"
OFFSET = 4.0
"""Seconds between the starts of two, at most."""


@promise(
    "two `dvc repro` of one stage at once: each ends well or says that the other holds DVC's lock, "
    "one at least ends well, and the outputs have the bytes of a single run",
    full=12,
    few=0,
)
def repros(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    single = trained_project(folder / "single", *STAGES)
    for stage in islice(cycle(STAGES), count):
        command = [*DVC, "repro", "--single-item", stage]
        yield two_at_once(
            single, stage, command, randomness, lambda log: any(busy in log for busy in BUSY)
        )


@promise(
    "two training runs in one folder at once: the second one is refused in one line, or finds the "
    "first one done; the weights have the bits of a single run",
    full=10,
    few=0,
)
def trainings(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    single = trained_project(folder / "single", "train@lenet5")
    command = script_of("train@lenet5")
    for _ in range(count):
        yield two_at_once(
            single,
            "train@lenet5",
            command,
            randomness,
            lambda log: log.startswith(HELD) and log.count("\n") <= 1,
        )


@promise(
    "two experiments on one model at once, by `dvc exp run --temp` and by two workers of DVC's "
    "queue: each gets the weights and curves of its own undisturbed run",
    full=8,
    few=0,
)
def experiments(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    start = trained_project(folder / "start", "train@lenet5")
    start.commit()
    for turn in range(0, count, 2):
        seeds = randomness.sample(range(2, 10**6), 2)
        expected = {seed: alone(start, seed, folder) for seed in seeds}
        queued = turn % 4 > 0
        how = "in the queue" if queued else "with --temp"
        with start.copied(folder / "two") as project:
            (queue if queued else run_in_copies)(project, seeds)
            for seed in seeds[: count - turn]:
                found = committed_by(project, f"of-{seed}")
                wrong = "" if found == expected[seed] else f"{found} instead of {expected[seed]}"
                yield Trial(f"seed {seed} beside {seeds} {how}", wrong)


@promise(
    "JSON, CSV and weights read while two processes replace them again and again and a third one "
    "clears leftovers: what is read is always a whole old or a whole new file",
    full=3000,
    few=60,
)
def readers(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    paths = [folder / name for name in ("x.json", "x.csv", "x.safetensors")]
    for path in paths:
        write(path, 0)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # three processes import torch once
    begin, stop = context.Barrier(4), context.Event()
    others = [context.Process(target=rewrite, args=(paths, begin, stop, n)) for n in (1, 2)]
    others.append(context.Process(target=clear, args=(folder, begin, stop)))
    for process in others:
        process.start()
    begin.wait()
    try:
        for path in islice(cycle(paths), count):
            try:
                values, said = read(path), ""
            except InputError as error:
                values, said = [], str(error)
            whole = len(values) == LENGTH and len(set(values)) == 1
            yield Trial(f"read {path.name}", "" if whole else said or f"{sorted(set(values))}")
    finally:
        stop.set()
        for process in others:
            process.join()
    failed = [process.exitcode for process in others if process.exitcode]
    yield Trial("write without an error", f"exit status {failed}" if failed else "")
    yield Trial("leave no temporary file", ", ".join(map(str, folder.glob(TEMPORARY))))


def trained_project(folder: Path, *stages: str) -> Project:
    """A copy of the project in which these stages have run."""
    project = Project.create(folder, SMALL | {"models.lenet5.epochs": 3})
    project.trust_operators()
    project.repro(*stages)
    return project


def two_at_once(
    single: Project,
    stage: str,
    command: list[str],
    randomness: random.Random,
    is_refusal: Callable[[str], bool],
) -> Trial:
    """Forget a stage and run a command for it twice at once."""
    expected = results(single)
    offset = randomness.uniform(0, OFFSET)
    with single.copied(single.folder.with_name("two")) as project:
        project.forget(stage)
        logs = [project.folder / f".log.{number}.tmp" for number in (1, 2)]
        with project.start(*command, log=logs[0]) as first:
            time.sleep(offset)
            with project.start(*command, log=logs[1]) as second:
                statuses = [first.wait(), second.wait()]
        refused = [
            log.read_text(encoding="utf-8")
            for log, status in zip(logs, statuses, strict=True)
            if status
        ]
        wrong = "\n".join(log or "an empty log" for log in refused if not is_refusal(log))
        if len(refused) == 2:
            wrong = wrong or "none of them ended well"
        wrong = wrong or difference(results(project), expected)
    return Trial(f"{stage}, the second {offset:.2f} s later", wrong)


def alone(start: Project, seed: int, folder: Path) -> dict[str, str]:
    """The MD5 of what a run with a seed gives, by the files' names."""
    with start.copied(folder / "alone") as project:
        project.set("seed", seed)
        project.run(*script_of("train@lenet5"))
        made = [str(out.relative_to(project.folder)) for out in project.outs("train@lenet5")]
        files = project.snapshot()
    return {name: md5(files[name]).hexdigest() for name in made if "timings" not in name}


def experiment(seed: int, *options: str) -> list[str]:
    name = ["--name", f"of-{seed}", "--set-param", f"seed={seed}"]
    return [*DVC, "exp", "run", *options, *name, "train@lenet5"]


def run_in_copies(project: Project, seeds: list[int]) -> None:
    processes = []
    for seed in seeds:
        log = project.temporary / f"{seed}.log"
        processes.append(project.start(*experiment(seed, "--temp"), log=log))
    for process in processes:
        process.wait()


def queue(project: Project, seeds: list[int]) -> None:
    for seed in seeds:
        project.run(*experiment(seed, "--queue"))
    project.run(*DVC, "queue", "start", "--jobs", "2")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        states = project.run(*DVC, "queue", "status").stdout
        if "Queued" not in states and "Running" not in states:
            break
        time.sleep(1)
    project.run(*DVC, "queue", "stop", "--kill", check=False)
    project.outlived(20)  # the workers, which wait for more


def committed_by(project: Project, experiment: str) -> dict[str, str]:
    """The MD5s that an experiment's dvc.lock holds; none if it failed."""
    made = project.run(*DVC, "exp", "branch", experiment, experiment, check=False)
    if made.returncode:
        return {}
    text = project.run("git", "show", f"{experiment}:dvc.lock").stdout
    outs: list[dict[str, Any]] = YAML(typ="safe").load(text)["stages"]["train@lenet5"]["outs"]
    return {out["path"]: out["md5"] for out in outs if "timings" not in out["path"]}


LENGTH = 5000
"""Values in a file: enough that it is written in several pieces."""


def write(path: Path, value: int) -> None:
    if path.suffix == ".json":
        save_json(path, [value] * LENGTH)
    elif path.suffix == ".csv":
        save_csv(path, pd.DataFrame({"value": [value] * LENGTH}))
    else:
        save_weights(path, {"value": torch.full((LENGTH,), value)}, {"value": str(value)})


def read(path: Path) -> list[int]:
    if path.suffix == ".json":
        return list(load_json(path))
    if path.suffix == ".csv":
        return list(load_csv(path)["value"])
    tensors, metadata = load_weights(path)
    return [int(metadata["value"]), *tensors["value"][1:].tolist()]


def rewrite(paths: list[Path], begin: Barrier, stop: Event, value: int) -> None:
    begin.wait()
    while not stop.is_set():
        for path in paths:
            write(path, value)
        value += 2


def clear(folder: Path, begin: Barrier, stop: Event) -> None:
    begin.wait()
    while not stop.is_set():
        remove_leftovers(folder.glob(TEMPORARY))
        time.sleep(0.01)

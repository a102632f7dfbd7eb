"""Kill or stop stages and training at random moments; the next run gives the same bytes."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count as counting
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import psutil

from cnnpipe.system.artifacts import TEMPORARY
from torture.campaign import Trial, promise
from torture.project import DVC, SMALL, Project, script_of

STAGES = (
    "validate", "download", "verify", "train@lenet5", "evaluate@lenet5", "visualize@lenet5",
    "explain@lenet5", "summarize", "principles", "handcrafted", "benchmark", "report",
)  # fmt: skip
TIMES = (
    "reports/timings/lenet5.json",
    "reports/handcrafted_timings.json",
)
"""Outputs that hold wall-clock times. Compared is what they hold besides numbers."""
BENCHMARK = ("reports/benchmark.json", "reports/figures/benchmark/")
"""These hold little else: they must be there, whatever they say."""
PROMPT = 10.0
"""Seconds in which a stopped run ends, with all its processes."""
DONE = "exit status 0"


@dataclass(frozen=True)
class Run:
    """How a stage is run, and which process gets which signal."""

    command: str
    """hand: the stage's script alone; dvc: `dvc repro`; make: what `make repro` runs."""
    target: str
    """Who gets the signal: all processes, the command, or the stage that it runs."""
    signals: tuple[signal.Signals, ...]

    def of(self, stage: str) -> list[str]:
        if self.command == "dvc":
            return [*DVC, "repro", "--single-item", stage]
        if self.command == "make":
            return [sys.executable, "scripts/repro.py", "--single-item", stage]
        return script_of(stage)


CUT_OFF = re.compile(r"dvc\.lock' (is invalid|validation failed|is corrupted)|RWLock-file")
"""What DVC says of its own files when a kill cut them off."""
KILLS = tuple(Run("dvc", target, (signal.SIGKILL,)) for target in ("all", "command", "stage"))
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STOPS = (
    Run("hand", "command", SIGNALS),
    Run("dvc", "all", SIGNALS),
    Run("dvc", "command", (signal.SIGTERM, signal.SIGHUP)),  # DVC alone ignores SIGINT
    Run("make", "command", SIGNALS),
    Run("make", "all", SIGNALS),
)


@promise(
    "SIGKILL at random moments of every stage under `dvc repro`, to all processes, to DVC or to "
    "the stage alone: given again (as `make repro` where DVC's own files were cut off), it ends "
    "with the bytes of an undisturbed run, wall-clock times aside, and no temporary file; no "
    "process lives on for 10 s",
    full=120,
    few=0,
)
def stages(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    yield from islice(disturbed_stages(randomness, folder, KILLS, in_a_row=10), count)


@promise(
    "SIGTERM, SIGINT or SIGHUP at random moments of every stage, to its script, `dvc repro` or "
    "`make repro`: unless it has just finished, it ends within 10 s with an error and leaves no "
    "process, no temporary file and no half-done stage in dvc.lock; the next run ends with the "
    "bytes of an undisturbed one",
    full=36,
    few=0,
)
def signals(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    yield from islice(disturbed_stages(randomness, folder, STOPS, in_a_row=3), count)


def disturbed_stages(
    randomness: random.Random, folder: Path, ways: Sequence[Run], in_a_row: int
) -> Iterator[Trial]:
    """One stage after the other, `in_a_row` signals each."""
    undisturbed = Project.create(folder / "undisturbed")
    durations: dict[str, float] = {}
    for stage in undisturbed.stages():
        begun = time.monotonic()
        if problem := finish(undisturbed, stage):
            raise RuntimeError(f"{stage}, undisturbed: {problem}")
        durations[stage] = time.monotonic() - begun
    undisturbed.commit()
    for stage in cycle(STAGES):
        yield from disturbed(undisturbed, stage, durations[stage], ways, in_a_row, randomness)


def disturbed(
    undisturbed: Project,
    stage: str,
    duration: float,
    ways: Sequence[Run],
    count: int,
    randomness: random.Random,
) -> list[Trial]:
    """A stage that gets `count` signals before it is run to its end."""
    expected = results(undisturbed)
    seen: list[Trial] = []
    with undisturbed.copied(undisturbed.folder.with_name("disturbed")) as project:
        project.forget(stage)
        while len(seen) < count:
            way = randomness.choice(ways)
            pause = randomness.uniform(0, duration)
            trial = disturb(project, stage, way, randomness.choice(way.signals), pause)
            if not trial or (trial.wrong == DONE and not difference(results(project), expected)):
                # It had ended before: well, or because a kill before it cut off dvc.lock.
                project.run("git", "checkout", "dvc.lock")
                project.forget(stage)
            else:
                problem = committed_in_part(project, stage, expected)
                seen.append(replace(trial, wrong=problem or trial.wrong))
        problem = finish(project, stage) or difference(results(project), expected)
        problem = problem or left_over(project)
    return [replace(trial, wrong=trial.wrong or problem) for trial in seen]


def disturb(
    project: Project, stage: str, way: Run, number: signal.Signals, pause: float
) -> Trial | None:
    """Run a stage, send a signal, and wait until all processes are gone.

    Returns:
        None if the run ended before the signal.
    """
    with project.start(*way.of(stage)) as process:
        with suppress(subprocess.TimeoutExpired):
            process.wait(pause)
            return None
        target = send(process, way.target, number)
        sent = time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PROMPT)
        alive = project.outlived(sent + PROMPT - time.monotonic())
    name = f"{stage} by {way.command}: {number.name} to {target} after {pause:.2f} s"
    log = project.log.read_text(encoding="utf-8", errors="replace")
    wrong = ""
    if alive:
        wrong = f"{len(alive)} processes lived on"
    elif process.returncode == 0:
        wrong = DONE
    elif number != signal.SIGKILL:
        wrong = left_over(project)
        if way.command == "hand" and "Traceback" in log:
            wrong = log
    return Trial(name, wrong)


def send(process: subprocess.Popen[bytes], target: str, number: int) -> str:
    """Send a signal and return who got it. A stage that does not run yet gets it with all."""
    stage = stage_of(process) if target == "stage" else None
    if stage:
        stage.send_signal(number)
        return "stage"
    if target == "command":
        process.send_signal(number)
        return "command"
    os.killpg(process.pid, number)
    return "all"


def stage_of(process: subprocess.Popen[bytes]) -> psutil.Process | None:
    """The stage's own process among those below DVC."""
    with suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if any(part.startswith("stages.") for part in child.cmdline()[2:3]):
                    return child
    return None


def finish(project: Project, stage: str, command: Sequence[str] = ()) -> str:
    """Run a command again (`dvc repro` by default) and return what went wrong.

    DVC writes its own files in place. Cut off by a kill, they stop all but `make repro`.
    """
    status, log = end(project, command or KILLS[0].of(stage))
    if status and CUT_OFF.search(log):
        status, log = end(project, Run("make", "", ()).of(stage))
    return f"the next run ended with status {status}: {log[-2000:]}" if status else ""


def end(project: Project, command: Sequence[str]) -> tuple[int, str]:
    """Run a command to its end and return its exit status and output."""
    with project.start(*command) as process:
        status = process.wait()
    return status, project.log.read_text(encoding="utf-8", errors="replace")


def results(project: Project) -> dict[str, Any]:
    """All outputs, without wall-clock times."""
    files: dict[str, Any] = project.results()
    for name in files:
        if name in TIMES:
            files[name] = without_times(json.loads(files[name]))
        elif name.startswith(BENCHMARK):
            files[name] = "there"
    return files


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return None if isinstance(value, int | float) else value


def difference(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """The files that are not as they should be."""
    names = sorted(found.keys() | expected.keys())
    other = [name for name in names if found.get(name, "") != expected.get(name, "")]
    return f"not as undisturbed: {', '.join(other)}" if other else ""


def committed_in_part(project: Project, stage: str, expected: dict[str, Any]) -> str:
    """What is wrong if dvc.lock records an interrupted stage whose results are not complete."""
    problem = difference(results(project), expected) if project.committed(stage) else ""
    return f"dvc.lock has it for done; {problem}" if problem else ""


def left_over(project: Project) -> str:
    return f"left over: {left}" if (left := project.leftovers()) else ""


MODELS = ("lenet5", "vgg")
LONG = SMALL | {
    "runtime.checkpoint": 0,  # one at every reading of the losses
    "train.batch_size": 16,
}
START, STRETCH = 3.0, 0.6
"""Seconds until a kill, at most: of a run that starts, and of training."""
RUN = 10
"""Kills of one training run."""


@dataclass
class Kill:
    newest: str
    """The checkpoint that was there."""
    seconds: float
    """Since the command was given."""
    unfinished: bool
    """Whether it left a half-written checkpoint."""
    next: str = ""
    """What the next run said."""

    def __str__(self) -> str:
        inside = ", inside a save" if self.unfinished else ""
        return f"after {self.seconds:.1f} s, {self.newest}{inside}; {self.next}"


@promise(
    "SIGKILL of all processes at random moments of training, every third run under `dvc repro`: it "
    "goes on from its checkpoint to the bits of an undisturbed run, weights and curves",
    full=100,
    few=2,
)
def training(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    yield from islice(killed_runs(randomness, folder, min(RUN, count), in_saves=False), count)


@promise(
    "SIGKILL inside the save of a checkpoint, which leaves it half-written: the same",
    full=25,
    few=0,
)
def saves(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    yield from islice(killed_runs(randomness, folder, RUN, in_saves=True), count)


def killed_runs(
    randomness: random.Random, folder: Path, kills: int, *, in_saves: bool
) -> Iterator[Trial]:
    """One training run after the other, each killed `kills` times; a trial for each kill.

    Args:
        in_saves: kill inside a save; the few kills that come too late for it are no trials.
    """
    epochs = dict.fromkeys(("models.lenet5.epochs", "models.vgg.epochs"), kills + 2)
    start = Project.create(folder / "start", LONG | epochs)
    start.trust_operators()
    for stage in ("validate", "download"):
        start.run(*script_of(stage))
    expected: dict[str, dict[str, bytes]] = {}
    for turn in counting():
        model = MODELS[turn % len(MODELS)]
        command = Run("dvc" if turn % 3 == 0 else "hand", "all", ()).of(f"train@{model}")
        if model not in expected:
            with start.copied(folder / model) as project:
                status, log = end(project, script_of(f"train@{model}"))
                if status:
                    raise RuntimeError(log)
                expected[model] = trained(project)
        with start.copied(folder / "disturbed") as project:
            done = killed(project, command, kills, randomness, in_saves=in_saves)
            if not done:
                raise RuntimeError(f"{model}: training ended before the first kill")
            problem = finish(project, f"train@{model}", command)
            done[-1].next = said(project)
            problem = problem or difference(trained(project), expected[model]) or left_over(project)
        for number, kill in enumerate(done, start=1):
            if kill.unfinished or not in_saves:
                yield Trial(f"{model}, run {turn + 1}, kill {number}: {kill}", problem)


def killed(
    project: Project, command: list[str], kills: int, randomness: random.Random, *, in_saves: bool
) -> list[Kill]:
    """Run a command and kill it `kills` times, or fewer if it ends before."""
    done: list[Kill] = []
    for number in range(1, kills + 1):
        before = newest(project)
        begun = time.monotonic()
        with project.start(*command) as process:
            in_start = number % 5 == 0 and not in_saves
            if not in_start:
                wait_for_training(project, process, before)
            pause = time.monotonic() + randomness.uniform(0, START if in_start else STRETCH)
            while process.poll() is None and time.monotonic() < pause:
                time.sleep(0.005)
            while process.poll() is None and in_saves and not unfinished(project):
                pass  # a save takes milliseconds
            if process.poll() is not None:
                return done
            os.killpg(process.pid, signal.SIGKILL)
        if done:
            done[-1].next = said(project)
        seconds = time.monotonic() - begun
        done.append(Kill(newest(project), seconds, unfinished(project)))
    return done


def wait_for_training(project: Project, process: subprocess.Popen[bytes], before: str) -> None:
    """Wait until the stage trains: it prints that it goes on, or has saved a checkpoint."""
    while process.poll() is None and newest(project) == before and not said(project):
        time.sleep(0.01)


def newest(project: Project) -> str:
    files = sorted(project.folder.glob(".cnnpipe/checkpoints/*/step-*.safetensors"))
    return f"step {int(files[-1].stem.removeprefix('step-')):,}" if files else "no checkpoint"


def unfinished(project: Project) -> bool:
    return any(project.folder.glob(f".cnnpipe/checkpoints/*/{TEMPORARY}"))


def said(project: Project) -> str:
    """The line about the checkpoint that the stage goes on from."""
    log = project.log.read_text(encoding="utf-8", errors="replace")
    match = re.search(r"goes on after step [\d,]+ of [\d,]+ \(epoch \d+\)", log)
    return match.group() if match else ""


def trained(project: Project) -> dict[str, bytes]:
    """Weights and curves."""
    folders = ("data/models/", "reports/curves/")
    return {name: data for name, data in project.snapshot().items() if name.startswith(folders)}

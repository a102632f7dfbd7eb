"""Time to accuracy: seconds from the first batch until a network classifies enough of the test set.

The clock runs while batches are made, augmented, passed forward and backward, while the optimiser
steps and weights are averaged. It stands still while data are read, the network is built, the first
calls warm up, and the test set is classified. Test accuracy is measured after each epoch and
chooses nothing, except that the tutorial stops when it has reached its target, as a reader would.

A run is a dictionary as reports/race.json holds it:

    {"seed": 1, "warmup_seconds": 0.21,
     "looks": [{"epoch": 1, "seconds": 9.3, "accuracy": 0.9871}, …]}

and an entry is a contestant's runs towards one target, with all the settings they were made with.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import nn

from cnnpipe.data.dataset import Split
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.findings.intervals import mean_and_sd
from cnnpipe.findings.wording import plus_minus, points, tenths
from cnnpipe.models import build_model, predict
from cnnpipe.networks.vgg import VGG
from cnnpipe.params.race import RaceParams, RecipeParams
from cnnpipe.params.train import Backend
from cnnpipe.race import tutorial
from cnnpipe.race.tutorial import build_network, train_tutorial
from cnnpipe.train.loop import train

Contestant = Literal["own", "torch", "tutorial"]
CONTESTANTS: tuple[Contestant, ...] = get_args(Contestant)
BACKENDS: dict[Contestant, Backend] = {"own": "scratch", "torch": "torch"}
WARMUP_BATCHES = 4


class Clock:
    """Counts seconds between `start` and `stop`, over any number of such spans."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = 0.0
        self._since = 0.0

    def start(self) -> None:
        self._wait()
        self._since = time.perf_counter()

    def stop(self) -> float:
        """The seconds of all spans up to now."""
        self._wait()
        self.seconds += time.perf_counter() - self._since
        return self.seconds

    def _wait(self) -> None:
        """A GPU returns before it is done."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)


class Watch:
    """Measures test accuracy after an epoch, while its clock is stopped."""

    def __init__(self, test: Split, normalization: Normalization) -> None:
        self.test = test
        self.normalization = normalization
        self.clock = Clock(test.images.device)
        self.looks: list[dict[str, Any]] = []

    def look(self, network: nn.Module, epoch: int) -> None:
        seconds = self.clock.stop()
        predictions = predict(network, self.test.images, self.normalization).argmax(dim=1)
        correct = int((predictions == self.test.labels).sum())
        accuracy = correct / len(self.test)
        self.looks.append({"epoch": epoch, "seconds": round(seconds, 3), "accuracy": accuracy})
        self.clock.start()


def run_recipe(
    recipe: RecipeParams[VGG], backend: Backend, training: Split, test: Split, *, seed: int
) -> dict[str, Any]:
    """Train by a recipe to its end, and measure test accuracy after each epoch.

    `train` is given one image to validate on: its few milliseconds count.

    Args:
        training, test: on the device to train on.
        seed: of the weights, the order of the images, random maps and dropout.
    """
    device = training.images.device
    normalization = Normalization.of(training.images)
    torch.manual_seed(seed)
    settings = recipe.vgg.model_copy(update={"backend": backend})
    network = build_model(
        "vgg", backend=backend, algorithm=settings.algorithm, **settings.architecture()
    ).to(device)
    one = training[torch.arange(1)]

    few = training[torch.arange(min(len(training), WARMUP_BATCHES * settings.batch_size))]
    short = settings.model_copy(update={"epochs": 1})
    warmup = Clock(device)
    warmup.start()
    train(copy.deepcopy(network), few, one, short, normalization, seed=seed, progress=False)
    warmup.stop()

    watch = Watch(test, normalization)
    watch.clock.start()
    train(
        network,
        training,
        one,
        settings,
        normalization,
        seed=seed,
        progress=False,
        observe=watch.look,
    )
    return {"seed": seed, "warmup_seconds": round(warmup.seconds, 3), "looks": watch.looks}


def run_tutorial(
    target: float, training: Split, test: Split, *, seed: int, epochs: int = tutorial.EPOCHS
) -> dict[str, Any]:
    """Train as the tutorial does until test accuracy reaches `target`, for `epochs` at most.

    Args:
        training: on the CPU, from where the DataLoader copies each batch.
        test: on the device to train on.
    """
    device = test.images.device
    torch.manual_seed(seed)
    network = build_network().to(device)

    few = training[torch.arange(min(len(training), WARMUP_BATCHES * tutorial.BATCH_SIZE))]
    warmup = Clock(device)
    warmup.start()
    list(train_tutorial(copy.deepcopy(network), few, seed=seed, epochs=1))
    warmup.stop()

    watch = Watch(test, tutorial.NORMALIZATION)
    watch.clock.start()
    for epoch in train_tutorial(network, training, seed=seed, epochs=epochs):
        watch.look(network, epoch)
        if watch.looks[-1]["accuracy"] >= target:
            break
    return {"seed": seed, "warmup_seconds": round(warmup.seconds, 3), "looks": watch.looks}


def seconds_to(target: float, run: Mapping[str, Any]) -> float | None:
    """Seconds until the first measurement of at least `target`, or None."""
    return next((look["seconds"] for look in run["looks"] if look["accuracy"] >= target), None)


def summarize(target: float, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over runs; of the seconds, over runs that reached `target`."""
    times = [seconds for run in runs if (seconds := seconds_to(target, run)) is not None]
    accuracies = [run["looks"][-1]["accuracy"] for run in runs]
    return {
        "runs": len(runs),
        "reached": len(times),
        "seconds": _rounded(times),
        "final_accuracy": _rounded(accuracies),
        "warmup_seconds": _rounded([run["warmup_seconds"] for run in runs]),
    }


def _rounded(values: Sequence[float]) -> dict[str, float | None]:
    mean, sd = (value if value is None else round(value, 6) for value in mean_and_sd(values))
    return {"mean": mean, "sd": sd}


def entries(params: RaceParams[VGG]) -> list[dict[str, Any]]:
    """Each contestant with its target, without runs; the tutorial has the first recipe's target."""
    planned: list[dict[str, Any]] = [
        {
            "contestant": contestant,
            "target": recipe.target,
            "settings": recipe_settings(recipe, contestant),
        }
        for recipe in params.recipes
        for contestant in BACKENDS
    ]
    target = params.recipes[0].target
    planned.append({"contestant": "tutorial", "target": target, "settings": tutorial.SETTINGS})
    return [entry | {"runs": []} for entry in planned]


def recipe_settings(recipe: RecipeParams[VGG], contestant: Contestant) -> dict[str, Any]:
    """What a run's time depends on; the race uses one process and takes no checkpoints."""
    return recipe.vgg.model_dump() | {"backend": BACKENDS[contestant]}


def with_runs(
    planned: Sequence[Mapping[str, Any]], earlier: Sequence[Mapping[str, Any]], seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """The planned entries, with the earlier runs of the same settings and of these seeds."""
    result = []
    for entry in planned:
        key = _key(entry)
        runs = [run for old in earlier if _key(old) == key for run in old["runs"]]
        result.append({**entry, "runs": [run for run in runs if run["seed"] in seeds]})
    return result


def _key(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return entry["contestant"], entry["target"], entry["settings"]


def table(raced: Sequence[Mapping[str, Any]]) -> str:
    """The results in Markdown, one row for each entry that has runs."""
    summaries = [(entry, summarize(entry["target"], entry["runs"])) for entry in raced]
    tutorial_seconds = {
        entry["target"]: summary["seconds"]["mean"]
        for entry, summary in summaries
        if entry["contestant"] == "tutorial"
    }
    rows = [
        "| target | contestant | seconds, mean ± sd | reached | accuracy at the end, % | times "
        "sooner than the tutorial | warm-up, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry, summary in summaries:
        if not summary["runs"]:
            continue
        seconds, accuracy, warmup = (
            summary[key] for key in ("seconds", "final_accuracy", "warmup_seconds")
        )
        mean = seconds["mean"]
        slow = tutorial_seconds.get(entry["target"])
        cells = [
            f"{100 * entry['target']:.4g} %",
            entry["contestant"],
            plus_minus(mean, seconds["sd"], tenths) if mean else "not reached",
            f"{summary['reached']} of {summary['runs']}",
            plus_minus(accuracy["mean"], accuracy["sd"], points),
            f"{slow / mean:.1f}" if slow and mean else "–",
            plus_minus(warmup["mean"], warmup["sd"], tenths),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)

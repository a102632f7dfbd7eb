"""The same seed gives the same bytes: again, in other surroundings, and in parallel."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from itertools import count as counting
from itertools import cycle, islice
from pathlib import Path

from torch import Tensor

from cnnpipe.data.dataset import load_dataset
from cnnpipe.models import load_model, predict
from torture.campaign import Trial, promise
from torture.kills import MODELS, STAGES, difference, end, results, trained
from torture.project import SMALL, Project, script_of

TOLERANCE = 0.25
"""Largest difference of a logit between numbers of processes; the page states it."""
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "CNNPIPE_CPU": "haswell"}


@promise(
    "every stage again, in a folder with another path, with another PYTHONHASHSEED, time zone, "
    "locale, home folder and number of joblib's workers: the same bytes of weights, metrics, "
    "tables, figures and page (wall-clock times aside)",
    full=12,
    few=0,
)
def surroundings(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    undisturbed = Project.create(folder / "here")
    undisturbed.repro()
    expected = results(undisturbed)
    for turn, stage in enumerate(islice(cycle(STAGES), count)):
        (home := folder / f"home {turn}").mkdir()
        around = {
            "PYTHONHASHSEED": str(randomness.randrange(2**32)),
            "TZ": randomness.choice(("UTC", "Asia/Kathmandu", "America/St_Johns")),
            "LC_ALL": randomness.choice(("C", "POSIX", "C.UTF-8")),
            "HOME": str(home),
            "LOKY_MAX_CPU_COUNT": str(randomness.randint(1, 3)),
        }
        with undisturbed.copied(folder / f"there, {turn} ümläute & spaces", around) as project:
            project.forget(stage)
            status, log = end(project, script_of(stage))
            wrong = f"status {status}: {log}" if status else difference(results(project), expected)
        yield Trial(f"{stage} with {around}", wrong)


@promise(
    "training again with 1 and 2 threads, with vectors of AVX2 and with the processor's own, and "
    "in 2 processes: the same bits of weights and curves; between 1 process and 2 no logit of a "
    f"test image differs by more than {TOLERANCE} after two epochs on the digits",
    full=10,
    few=0,
)
def training(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    yield from islice(_training(randomness, folder), count)


def _training(randomness: random.Random, folder: Path) -> Iterator[Trial]:
    # Dropout silences other neurons on each process: docs/training.md.
    settings = SMALL | {"models.vgg.epochs": 2, "models.vgg.dropout": 0.0}
    start = Project.create(folder / "start", settings)
    start.trust_operators()
    start.repro("download")
    for turn in counting():
        model, seed = MODELS[turn % len(MODELS)], randomness.randrange(10**6)
        run = partial(trained_with, start, model, seed)
        expected, serial = run({"OMP_NUM_THREADS": "1"})
        for threads, narrow in (("1", {}), ("2", {}), ("2", AVX2)):
            files, _ = run({"OMP_NUM_THREADS": threads, **narrow})
            how = f"{model}, seed {seed}, {threads} threads, {narrow}"
            yield Trial(how, difference(files, expected))
        files, logits = run({"OMP_NUM_THREADS": "1"}, processes=2)
        apart = (logits - serial).abs().max().item()
        close = 0 < apart <= TOLERANCE  # 0 would say that nothing ran in parallel
        wrong = "" if close else "too far, or not in parallel"
        yield Trial(f"{model}, seed {seed}, 2 processes beside 1: {apart:.1e}", wrong)
        again, _ = run({"OMP_NUM_THREADS": "1"}, processes=2)
        yield Trial(f"{model}, seed {seed}, 2 processes again", difference(again, files))


def trained_with(
    start: Project, model: str, seed: int, around: dict[str, str], processes: int = 1
) -> tuple[dict[str, bytes], Tensor]:
    """Weights and curves of a training run, and the network's logits of the test images."""
    with start.copied(start.folder.with_name("run"), around) as project:
        project.set("seed", seed)
        project.set("runtime.processes", processes)
        status, log = end(project, script_of(f"train@{model}"))
        if status:
            raise RuntimeError(log)
        weights = project.folder / "data" / "models" / f"{model}.safetensors"
        network, normalization = load_model(weights)
        images = load_dataset(project.folder / "data" / "raw").test.images
        return trained(project), predict(network, images, normalization)

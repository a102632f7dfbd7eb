"""Verify and time everything on this machine's GPU, in at most 400 seconds: reports/gpu.json.

    python scripts/gpu.py              needs the library and data/raw; no DVC, no network
    python scripts/gpu.py --rehearse   the same, small, on the CPU and on digits of scikit-learn

A section that the time left does not cover is skipped, and says so. Results are written after each
section, so that an end at any moment loses one section at most. docs/gpu.md explains the numbers.
"""

from __future__ import annotations

import copy
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import click
import joblib
import torch
from torch import nn

from cnnpipe.benchmark import turns
from cnnpipe.data.dataset import Dataset, Split, load_dataset, split_validation
from cnnpipe.data.digits import digits_files
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.data.raw import write_raw
from cnnpipe.models import build_model, predict
from cnnpipe.params.loading import load_params
from cnnpipe.params.models import ModelParams
from cnnpipe.params.train import Algorithm, Backend
from cnnpipe.race.contestants import BACKENDS, run_recipe, seconds_to
from cnnpipe.system.artifacts import save_json
from cnnpipe.system.command import RAW, REPORTS, stage
from cnnpipe.system.errors import InputError
from cnnpipe.system.hardware import choose_device, describe, multiply_in
from cnnpipe.train import graph
from cnnpipe.train.checkpoint import Checkpoints
from cnnpipe.train.loop import forward_and_backward, train
from cnnpipe.train.state import TrainingState
from cnnpipe.validate.schema import Params
from cnnpipe.verify.cases import argument_grid
from cnnpipe.verify.verification import Comparison, summarize, summary_table, verify

Precision = Literal["bfloat16", "float32", "tf32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""The first is measured first, if not all can be."""


@dataclass(frozen=True)
class Size:
    """How much is done."""

    seconds: float
    """For everything."""
    turns: float
    """For each comparison of times, seconds."""
    batches: tuple[int, ...]
    layers: int
    """Of those that the benchmark has."""
    calls: int
    """Of a layer in one turn: to wait for a GPU takes longer than a layer computes."""
    every: int
    """Every how many-th of the cases of verification is computed."""
    epochs: int | None
    """Of training; None: those of params.yaml."""
    images: int | None
    """To train on; None: all."""


FULL = Size(400, 0.1, (128, 512, 1024), 12, 10, 1, None, None)
REHEARSAL = Size(180, 0.001, (16,), 1, 1, 97, 1, 64)


@dataclass
class Bench:
    """The machine, the data and the results of one run of this script."""

    device: torch.device
    params: Params
    dataset: Dataset
    size: Size
    output: Path
    started: float = field(default_factory=time.perf_counter)
    results: dict[str, Any] = field(default_factory=dict)
    trained: dict[str, nn.Module] = field(default_factory=dict)

    def __post_init__(self) -> None:
        training, validation = split_validation(
            self.dataset.train, self.params.data.validation, self.params.seed
        )
        self.normalization = Normalization.of(training.images)
        self.training = _first(training, self.size.images).to(self.device)
        self.validation = _first(validation, self.size.images).to(self.device)
        self.test = _first(self.dataset.test, self.size.images).to(self.device)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.size.seconds - (time.perf_counter() - self.started)

    def settings(self, model: str, **changes: Any) -> ModelParams:
        """Those of params.yaml, with as many epochs as this run has time for."""
        small = {"epochs": self.size.epochs, "batch_size": 16} if self.size.epochs else {}
        settings: ModelParams = self.params.models[model].model_copy(update=small | changes)
        return settings

    @property
    def ways(self) -> list[str]:
        """How a step's kernels reach the device."""
        return ["eager", "graph"] if self.device.type == "cuda" else ["eager"]

    def networks(self, model: str, precision: Precision) -> Iterator[tuple[str, nn.Module]]:
        """The contestants, by name. Triton compiles long for each precision: one must do."""
        yield "scratch", self.network(model, "scratch")
        if self.device.type == "cuda" and precision == "bfloat16":
            yield "implicit_gemm", self.network(model, "scratch", "implicit_gemm")
        yield "torch", self.network(model, "torch")

    def network(self, model: str, backend: Backend, algorithm: Algorithm = "auto") -> nn.Module:
        torch.manual_seed(self.params.seed)
        architecture = self.params.models[model].architecture()
        return build_model(model, backend=backend, algorithm=algorithm, **architecture).to(
            self.device
        )

    def train(
        self,
        model: str,
        training: Split,
        backend: Backend,
        epochs: int | None = None,
        **how: Any,
    ) -> nn.Module:
        """The trained network; `how` goes to `train`."""
        changes = {"epochs": epochs} if epochs else {}
        settings = self.settings(model, backend=backend, **changes)
        data = (training, self.validation, settings, self.normalization)
        network = self.network(model, backend)
        return train(network, *data, seed=self.params.seed, progress=False, **how)[0]

    def run(self, section: Callable[[Bench], Any]) -> None:
        """Run a section, write its results, and say what came of it."""
        name, begin = section.__name__, time.perf_counter()
        if self.left < 0.05 * self.size.seconds:
            self.results[name] = "skipped: no time was left"
        else:
            try:
                self.results[name] = section(self)
            except Exception as error:  # the others may work
                reason = (str(error) or type(error).__name__).splitlines()[0]
                self.results[name] = f"failed: {reason}"
        seconds = time.perf_counter() - begin
        self.results.setdefault("seconds", {})[name] = round(seconds, 1)
        save_json(self.output, self.results)
        found = self.results[name]
        click.echo(f"{name}: {found if isinstance(found, str) else f'{seconds:.1f} s'}")


def _backend(contestant: str) -> Backend:
    return "torch" if contestant == "torch" else "scratch"


def _first(split: Split, images: int | None) -> Split:
    return Split(split.images[:images], split.labels[:images])


@contextmanager
def arithmetic(precision: Precision) -> Iterator[torch.dtype]:
    """The same for everybody within; the dtype of operands, or of autocast."""
    multiply_in("tf32" if precision == "tf32" else "float32")
    try:
        yield torch.bfloat16 if precision == "bfloat16" else torch.float32
    finally:
        multiply_in("float32")


# The sections, in the order of their worth.


def machine(bench: Bench) -> dict[str, Any]:
    """What all numbers must be read with."""
    found: dict[str, Any] = {**describe(bench.device), "date": time.strftime("%Y-%m-%d")}
    if bench.device.type == "cuda":
        capability = torch.cuda.get_device_capability(bench.device)
        found |= {
            "capability": "{}.{}".format(*capability),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "memory": torch.cuda.get_device_properties(bench.device).total_memory,
        }
    return found


def verification(bench: Bench) -> dict[str, Any]:
    """Every operator in every dtype, as the verify stage does it, in several processes."""
    cases = len(argument_grid())
    shards = math.ceil(cases / bench.size.every / 8)
    jobs = (
        joblib.delayed(_verified)(
            bench.params, str(bench.device), number, bench.size.every * shards
        )
        for number in range(shards)
    )
    processes = 1 if bench.size is REHEARSAL else os.cpu_count()
    found: list[Comparison] = []
    lost = None
    limit = bench.left / 3 if processes != 1 else None
    parallel = joblib.Parallel(processes, return_as="generator_unordered", timeout=limit)
    try:
        for comparisons in parallel(jobs):
            found += comparisons
    except multiprocessing.TimeoutError:  # joblib's, which is not Python's own
        if not found:
            raise
        lost = "not all cases: no time was left"
    report = summarize(found, bench.params.seed)
    click.echo(summary_table(report))
    wanted = ("verdict", "worst", "cases", "comparisons")
    return {key: report[key] for key in wanted} | {"lost": lost, "table": summary_table(report)}


def _verified(params: Params, device: str, number: int, step: int) -> list[Comparison]:
    torch.set_num_threads(1)
    cases = argument_grid()[number::step]
    devices = [choose_device(device)]
    return list(verify(params.verify, params.seed, cases=cases, devices=devices))


def steps(bench: Bench) -> list[dict[str, Any]]:
    """Forward and backward pass of both models: launched kernel by kernel, and as a graph."""
    rows = []
    plan = product(PRECISIONS, bench.params.models, bench.size.batches)
    for precision, model, batch in plan:
        if bench.left < 0.6 * bench.size.seconds:
            break
        images = torch.randn(batch, 1, 28, 28, device=bench.device)
        labels = torch.randint(10, (batch,), device=bench.device)
        runs: dict[str, turns.Run] = {}
        with arithmetic(precision) as dtype:
            of = {"precision": str(dtype).removeprefix("torch.")}
            for (name, network), how in product(bench.networks(model, precision), bench.ways):
                settings = bench.settings(model, backend=_backend(name), **of)
                state = TrainingState.create(copy.deepcopy(network), settings, 1, seed=1)
                measure = partial(forward_and_backward, state, settings)
                call = graph.Graphed(measure, bench.device, record=how == "graph")
                for _ in range(graph.EAGER_CALLS + 1):  # in the last it is recorded
                    call(images, labels)
                runs[f"{name}, {how}"] = partial(call, images, labels)
            times = turns.in_turns(runs, bench.size.turns, bench.device)["milliseconds"]
        rows.append({"model": model, "batch": batch, "precision": precision, "ms": times})
    return rows


def layers(bench: Bench) -> list[dict[str, Any]]:
    """Each convolution of the models, and wider ones, by every algorithm and by cuDNN."""
    rows = []
    shapes = [*turns.model_shapes(), *turns.WIDE[:3]][: bench.size.layers]
    batch = bench.size.batches[0]
    for precision, shape, phase in product(PRECISIONS, shapes, turns.PHASES):
        if bench.left < 0.45 * bench.size.seconds:
            break
        with arithmetic(precision) as dtype:
            size = (batch, shape.channels, shape.size, shape.size)
            x = torch.randn(size, device=bench.device, dtype=dtype)
            runs = {
                name: _repeated(run, bench.size.calls, bench.device)
                for name, run in turns.layer_runs(shape, x, phase)
            }
            times = turns.in_turns(runs, bench.size.turns, bench.device)["milliseconds"]
        each = {name: time["median"] / bench.size.calls * 1e3 for name, time in times.items()}
        of = {"layer": shape.name, "phase": phase, "precision": precision}
        rows.append(of | {"us": {name: round(us, 2) for name, us in each.items()}})
    return rows


def _repeated(run: turns.Run, times: int, device: torch.device) -> turns.Run:
    """Several calls as one, on CUDA as a graph: then Python's time does not count."""

    def calls() -> None:
        for _ in range(times):
            run()

    if device.type != "cuda":
        return calls
    run()
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        calls()
    return recorded.replay


def training(bench: Bench) -> dict[str, Any]:
    """Both models as the pipeline trains them, and with torch's layers."""
    found = {}
    for model, backend in product(bench.params.models, get_args(Backend)):
        begin = time.perf_counter()
        network = bench.train(model, bench.training, backend)
        answers = predict(network, bench.test.images, bench.normalization).argmax(dim=1)
        found[f"{model}, {backend}"] = {
            "seconds": round(time.perf_counter() - begin, 2),
            "test_errors": int((answers != bench.test.labels).sum()),
            "images": len(bench.test),
        }
        bench.trained[f"{model}, {backend}"] = network
    return found


def agreement(bench: Bench) -> dict[str, Any]:
    """The logits of the trained models on the CPU and on the GPU."""
    found = {}
    for name, network in bench.trained.items():
        here = predict(network, bench.test.images, bench.normalization).cpu()
        on_cpu = copy.deepcopy(network).cpu()
        there = predict(on_cpu, bench.test.images.cpu(), bench.normalization)
        found[name] = {
            "largest_difference": (here - there).abs().max().item(),
            "other_answers": int((here.argmax(dim=1) != there.argmax(dim=1)).sum()),
        }
    return found


def same_bits(bench: Bench) -> dict[str, Any]:
    """Whether a run repeated, without a graph, or interrupted ends with the same weights."""
    few = _first(bench.training, 6400)
    found = {}
    for model in bench.params.models:
        train = partial(bench.train, model, few, "scratch", epochs=2)
        expected = train()
        repeated = train()
        before, graph.EAGER_CALLS = graph.EAGER_CALLS, few.labels.numel()
        try:
            launched = train()
        finally:
            graph.EAGER_CALLS = before
        saved = Checkpoints(f"gpu-{model}", "rehearsal", interval=math.inf)
        with saved.locked():
            saved.remove()  # what a run left that was killed here
            with suppress(Interrupted):
                train(checkpoints=saved, observe=_interrupt)
            resumed = train(checkpoints=saved)
            saved.remove()
        ways = {"repeated": repeated, "without a graph": launched, "interrupted": resumed}
        found[model] = {way: _equal(expected, network) for way, network in ways.items()}
    return found


class Interrupted(Exception):  # noqa: N818 (it is no error)
    """Ends a run before its second epoch is saved."""


def _interrupt(_: nn.Module, epoch: int) -> None:
    if epoch == 2:
        raise Interrupted


def _equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def races(bench: Bench) -> list[dict[str, Any]]:
    """Seconds to each accuracy of docs/race.md."""
    rows = []
    training = _first(bench.dataset.train, bench.size.images).to(bench.device)
    for recipe, (contestant, backend) in product(bench.params.race.recipes, BACKENDS.items()):
        if bench.left < 0.1 * bench.size.seconds:
            break
        if bench.size.epochs:
            vgg = recipe.vgg.model_copy(update={"epochs": bench.size.epochs, "batch_size": 16})
            recipe = recipe.model_copy(update={"vgg": vgg})
        run = run_recipe(recipe, backend, training, bench.test, seed=1)
        row = {"target": recipe.target, "contestant": contestant}
        rows.append(row | {"seconds": seconds_to(recipe.target, run), **run})
    return rows


def memory(bench: Bench) -> list[dict[str, Any]]:
    """Peak of a training step."""
    settings = bench.params.benchmark.model_copy(update={"batch_size": bench.size.batches[0]})
    architectures = {name: model.architecture() for name, model in bench.params.models.items()}
    return list(turns.compare_memory(settings, architectures, bench.device))


SECTIONS = (machine, verification, training, steps, agreement, same_bits, races, layers, memory)


@stage
@click.option("--rehearse", is_flag=True, help="Small, on the CPU; by default nothing is kept.")
@click.option("--output", type=click.Path(path_type=Path), help="Default: reports/gpu.json.")
def main(rehearse: bool, output: Path | None) -> None:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the memory profiler's messages about GPUs
    device = choose_device("cpu" if rehearse else "auto")
    if device.type == "cpu" and not rehearse:
        raise InputError("torch finds no GPU here; --rehearse runs everything, small, on the CPU")
    with tempfile.TemporaryDirectory() as folder:
        raw = RAW
        if rehearse:
            raw, output = Path(folder, "digits"), output or Path(folder, "gpu.json")
            write_raw(raw, "digits", digits_files().items())
        size = REHEARSAL if rehearse else FULL
        file = output or REPORTS / "gpu.json"
        bench = Bench(device, load_params(Params), load_dataset(raw), size, file)
        for section in SECTIONS:
            bench.run(section)
        if lost := [name for name, found in bench.results.items() if isinstance(found, str)]:
            raise InputError(f"{file}: without {', '.join(lost)}; its lines say why")


if __name__ == "__main__":
    main()

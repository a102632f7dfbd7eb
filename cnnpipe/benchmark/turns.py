"""This project's layers compared with torch's: how long they take, and how much memory.

Times on a shared machine drift. So contestants take turns, round by round, in one process: what
slows one round slows all of its contestants, and the ratio within a round stays the same. Medians
over the rounds are reported, with quartiles.

Every contestant computes the same: a forward pass, or a step that also computes the gradients (and,
for a whole model, updates the weights), in the precision that `train.precision: auto` takes on the
device. torch's layers run twice, with images in torch's default memory order (channels first) and
with channels last, in which its convolutions are faster.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.profiler import profile

from cnnpipe import layers
from cnnpipe.data.idx import IMAGE_SIDE
from cnnpipe.functional import CONV2D_ALGORITHMS, UnsupportedError, conv2d_algorithm
from cnnpipe.functional.loops import peak, unsupported
from cnnpipe.geometry import conv2d_macs
from cnnpipe.inspection.structure import layers_of
from cnnpipe.models import build_model, loss_function
from cnnpipe.params.benchmark import BenchmarkParams
from cnnpipe.system.hardware import choose_dtype, describe
from cnnpipe.system.optimizer import AdamW
from cnnpipe.system.threads import without_garbage_collection

Phase = Literal["forward", "training"]
PHASES: tuple[Phase, ...] = ("forward", "training")
Run = Callable[[], object]
T = TypeVar("T")

Architectures = Mapping[str, Mapping[str, Any]]
"""The keyword arguments of `build_model`, by the model's name."""

CONTESTANTS = SCRATCH, TORCH, CHANNELS_LAST = "scratch", "torch", "torch, channels last"
REGISTERS = {f"registers, {lanes} lanes": lanes for lanes in peak.LANES}
"""Loops that show what the cores can do at most."""
LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Shape:
    """A convolution with as much padding as given, stride 1."""

    name: str
    channels: int
    size: int
    out_channels: int
    kernel_size: int
    padding: int
    is_first: bool = False
    """The first layer of a network, whose input needs no gradient."""

    def flops(self, images: int, phase: Phase) -> int:
        """Operations of the formula, two for each multiply-add; each gradient has as many."""
        size = self.size + 2 * self.padding - self.kernel_size + 1
        kernel_size, output_size = (self.kernel_size,) * 2, (size,) * 2
        macs = conv2d_macs(self.channels, self.out_channels, kernel_size, output_size)
        times = 1 if phase == "forward" else 2 if self.is_first else 3
        return 2 * times * images * macs


WIDE = (
    Shape("3×3, 64 channels", 64, 14, 64, 3, 1),
    Shape("3×3, 128 channels", 128, 7, 128, 3, 1),
    Shape("3×3, 256 channels", 256, 7, 256, 3, 1),
    Shape("7×7, 16 channels", 16, 28, 16, 7, 3),
    Shape("11×11, 16 channels", 16, 28, 16, 11, 5),
)
"""Beyond the models' own layers: more channels, and larger kernels."""


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    named = {"median": median, "low": low, "high": high}
    return {name: float(f"{value:.4g}") for name, value in named.items()}


def in_turns(
    contestants: Mapping[str, Run], seconds: float, device: torch.device
) -> dict[str, Any]:
    """Run contestants in turns: milliseconds of each, and ratios of this project's to torch's.

    Args:
        seconds: time to spend after one round of warm-up; at least `LEAST_ROUNDS` rounds.
        device: a GPU's queue has to be empty before a clock is read. A training loop does not wait
            for it, so a turn has several calls there.
    """
    calls = 1 if device.type == "cpu" else 10
    for run in contestants.values():
        run()
    _wait(device)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    start = time.perf_counter()
    rounds = 0
    while rounds < LEAST_ROUNDS or time.perf_counter() - start < seconds:
        for name, run in contestants.items():
            begin = time.perf_counter()
            for _ in range(calls):
                run()
            _wait(device)
            times[name].append((time.perf_counter() - begin) / calls * 1e3)
        rounds += 1
    ratios = {
        f"{name} / {reference}": spread(
            [a / b for a, b in zip(times[name], times[reference], strict=True)]
        )
        for reference in (TORCH, CHANNELS_LAST)
        for name in contestants
        if reference in contestants and name not in (TORCH, CHANNELS_LAST, *REGISTERS)
    }
    return {
        "rounds": rounds,
        "milliseconds": {name: spread(values) for name, values in times.items()},
        "ratios": ratios,
    }


def time_models(
    params: BenchmarkParams, architectures: Architectures, device: torch.device
) -> Iterator[dict[str, Any]]:
    """Whole models, forward and training step, for every batch size."""
    for name, batch_size, phase in product(architectures, params.batch_sizes, PHASES):
        contestants = {
            contestant: model_run(name, architectures[name], contestant, batch_size, phase, device)
            for contestant in CONTESTANTS
        }
        result = in_turns(contestants, params.seconds, device)
        yield {"model": name, "phase": phase, "batch_size": batch_size, **result}


def model_run(
    name: str,
    architecture: Mapping[str, Any],
    contestant: str,
    batch_size: int,
    phase: Phase,
    device: torch.device,
) -> Run:
    """One forward pass, or one whole step of AdamW, on random images."""
    torch.manual_seed(0)
    backend: Literal["scratch", "torch"] = "scratch" if contestant == SCRATCH else "torch"
    model = build_model(name, backend=backend, **architecture).to(device)
    images = torch.randn(batch_size, 1, IMAGE_SIDE, IMAGE_SIDE, device=device)
    labels = torch.randint(10, (batch_size,), device=device)
    if contestant == CHANNELS_LAST or (contestant == SCRATCH and device.type == "cuda"):
        model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    if phase == "forward":
        return _in_precision(_forward(model.eval(), images), device)
    optimizer = AdamW(model.parameters(), lr=1e-4, fused=True)
    cross_entropy = loss_function(backend)
    loss = _in_precision(lambda: cross_entropy(model(images), labels), device)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def _in_precision(run: Callable[[], T], device: torch.device) -> Callable[[], T]:
    """The same with the arithmetic in which a network trains on the device."""
    dtype = choose_dtype("auto", device)
    if dtype == torch.float32:
        return run
    in_precision: Callable[[], T] = torch.autocast(device.type, dtype)(run)
    return in_precision


def time_layers(params: BenchmarkParams, device: torch.device) -> Iterator[dict[str, Any]]:
    """Each convolution of the default models, and wider ones, by every algorithm that can.

    `flops` are those of the formula, `peak` is what the cores do in registers at the same time, in
    GFLOP/s.
    """
    for shape in (*model_shapes(), *WIDE):
        x = _images(params.batch_size, shape.channels, shape.size, device)
        arguments = (shape.channels, shape.out_channels, shape.kernel_size)
        auto = conv2d_algorithm(x, layers.Conv2d(*arguments).weight, padding=shape.padding)
        for phase in PHASES:
            contestants = {**dict(layer_runs(shape, x, phase)), **_register_runs(device)}
            result = in_turns(contestants, params.seconds, device)
            fastest = _take_peak(result["milliseconds"])
            own = {
                algorithm: result["milliseconds"][algorithm]["median"]
                for algorithm in CONV2D_ALGORITHMS
                if algorithm in contestants
            }
            best = min(own, key=own.__getitem__)
            yield {
                "layer": shape.name,
                "shape": f"{shape.channels}×{shape.size}×{shape.size} → {shape.out_channels}, "
                f"{shape.kernel_size}×{shape.kernel_size}",
                "phase": phase,
                "auto": auto,
                "best": best,
                "flops": shape.flops(params.batch_size, phase),
                "peak": fastest,
                **result,
            }


def model_shapes() -> Iterator[Shape]:
    """The convolutions of both default models, as an image meets them."""
    for name in ("lenet5", "vgg"):
        for layer in layers_of(build_model(name)):
            if layer.is_convolution and layer.window:
                channels, size, _ = layer.input_shape
                yield Shape(
                    f"{name} {layer.name}",
                    channels,
                    size,
                    layer.output_shape[0],
                    layer.window.kernel_size,
                    layer.window.padding,
                    is_first=channels == 1,
                )


def layer_runs(shape: Shape, x: Tensor, phase: Phase) -> Iterator[tuple[str, Run]]:
    """A convolution of x by torch's layers, and by each algorithm that can compute it."""
    arguments = (shape.channels, shape.out_channels, shape.kernel_size)
    channels_last = x.contiguous(memory_format=torch.channels_last)
    for name, images in {TORCH: x, CHANNELS_LAST: channels_last}.items():
        layer = nn.Conv2d(*arguments, padding=shape.padding).to(x.device, x.dtype)
        if name == CHANNELS_LAST:
            layer.to(memory_format=torch.channels_last)
        yield name, _layer_run(layer, images, phase, shape.is_first)
    for algorithm in CONV2D_ALGORITHMS:
        if algorithm == "direct" and shape in WIDE:  # it would take longer than all else together
            continue
        own = layers.Conv2d(*arguments, padding=shape.padding, algorithm=algorithm)
        own.to(x.device, x.dtype)
        try:
            own(x[:1])
        except UnsupportedError:
            continue
        yield algorithm, _layer_run(own, channels_last, phase, shape.is_first)


def _register_runs(device: torch.device) -> dict[str, Run]:
    if unsupported(torch.empty(0, device=device)):
        return {}
    return {name: partial(peak.run, lanes) for name, lanes in REGISTERS.items()}


def _take_peak(milliseconds: dict[str, Any]) -> float | None:
    """Take the loops in registers out of the times: GFLOP/s of the fastest; None without them.

    Its quicker quartile: other processes slow it down, and a peak is what nothing slows down.
    """
    speeds = [
        peak.flops(lanes) / milliseconds.pop(name)["low"] / 1e6
        for name, lanes in REGISTERS.items()
        if name in milliseconds
    ]
    return float(f"{max(speeds):.4g}") if speeds else None


def time_operators(params: BenchmarkParams, device: torch.device) -> Iterator[dict[str, Any]]:
    """Pooling and activation, on the maps that the default models put into them."""
    for map_name, (channels, size) in {"LeNet-5": (6, 28), "VGG": (16, 28)}.items():
        x = _images(params.batch_size, channels, size, device)
        channels_last = x.contiguous(memory_format=torch.channels_last)
        for operator, arguments in {
            "MaxPool2d": (2,), "AvgPool2d": (2,), "ReLU": (), "Tanh": (), "Sigmoid": ()
        }.items():  # fmt: skip
            own = getattr(layers, operator)(*arguments)
            reference = getattr(nn, operator)(*arguments)
            for phase in PHASES:
                contestants = {
                    SCRATCH: _layer_run(own, channels_last, phase),
                    TORCH: _layer_run(reference, x, phase),
                    CHANNELS_LAST: _layer_run(reference, channels_last, phase),
                }
                result = in_turns(contestants, params.seconds / 2, device)
                yield {
                    "operator": operator,
                    "shape": f"{channels}×{size}×{size} ({map_name})",
                    "phase": phase,
                    **result,
                }


def _images(count: int, channels: int, size: int, device: torch.device) -> Tensor:
    shape, dtype = (count, channels, size, size), choose_dtype("auto", device)
    return torch.randn(shape, device=device, dtype=dtype)


def _layer_run(layer: nn.Module, x: Tensor, phase: Phase, is_first: bool = False) -> Run:
    """The forward pass; for "training" with the gradients of the weights and of the input."""
    if phase == "forward":
        return _forward(layer, x)
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_(not is_first)
    leaves = [leaf for leaf in (x, *layer.parameters()) if leaf.requires_grad]
    grad = torch.ones_like(layer(x).detach())

    def step() -> None:
        torch.autograd.grad(layer(x), leaves, grad)

    return step


def _forward(module: nn.Module, x: Tensor) -> Run:
    def forward() -> None:
        with torch.no_grad():
            module(x)

    return forward


def peak_memory(run: Run, device: torch.device) -> int:
    """Bytes that a run allocates at most beyond what was there before, after one to warm up."""
    run()
    _wait(device)
    with without_garbage_collection():  # which would free what others allocated
        return _peak_memory(run, device)


def _peak_memory(run: Run, device: torch.device) -> int:
    if device.type != "cpu":
        memory = torch.accelerator
        memory.reset_peak_memory_stats(device)
        before = memory.memory_allocated(device)
        run()
        return memory.max_memory_allocated(device) - before
    # torch.profiler's own begins by importing torch's compiler.
    with profile(use_kineto=True, profile_memory=True) as profiler:
        run()
    results: Any = profiler.kineto_results
    events = [event for event in results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    held = peak = 0
    for event in events:
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def compare_memory(
    params: BenchmarkParams, architectures: Architectures, device: torch.device
) -> Iterator[dict[str, Any]]:
    """Peak of each model's training step, with this project's layers and with torch's.

    None on Apple's GPUs: torch does not tell their peak.
    """
    if device.type == "mps":
        return
    for name, architecture in architectures.items():
        peaks = {}
        for contestant in CONTESTANTS:
            run = model_run(name, architecture, contestant, params.batch_size, "training", device)
            peaks[contestant] = peak_memory(run, device)
        yield {
            "model": name,
            "batch_size": params.batch_size,
            "bytes": peaks,
            "ratio": round(peaks[SCRATCH] / peaks[TORCH], 3),
        }


def machine(device: torch.device) -> dict[str, Any]:
    """What the times depend on: hardware, versions, precision, how threads wait for each other."""
    waiting = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    precision = str(choose_dtype("auto", device)).removeprefix("torch.")
    found = describe(device) | {"precision": precision}
    return found | {name.lower(): os.environ.get(name) for name in waiting}


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)

"""Fair turns, correct statistics, and contestants that compute the same."""

import json
import shutil
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from cnnpipe import layers
from cnnpipe.benchmark import turns as benchmark
from cnnpipe.benchmark.turns import CHANNELS_LAST, PHASES, SCRATCH, TORCH, WIDE, Shape
from cnnpipe.findings import ladder
from cnnpipe.functional import CONV2D_ALGORITHMS, conv2d_algorithm
from cnnpipe.functional.loops import peak
from cnnpipe.models import build_model
from cnnpipe.params.benchmark import BenchmarkParams
from stages.benchmark import main
from tests.helpers.project import ROOT
from torture.project import SMALL, Project

CPU = torch.device("cpu")
SHAPES = [*benchmark.model_shapes(), *WIDE]


class Clock:
    """A clock that only contestants move, each by the next of its times in seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.ran: list[str] = []
        monkeypatch.setattr(benchmark, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def contestant(self, name: str, *seconds: float) -> benchmark.Run:
        remaining = list(seconds)

        def run() -> None:
            self.ran.append(name)
            self.now += remaining.pop(0) if len(remaining) > 1 else remaining[0]

        return run


class TestTurns:
    def test_contestants_take_turns(self, monkeypatch):
        clock = Clock(monkeypatch)
        runs = {name: clock.contestant(name, 1.0) for name in "abc"}
        assert benchmark.in_turns(runs, 1e-3, CPU)["rounds"] == benchmark.LEAST_ROUNDS == 3
        assert clock.ran == list("abc") * (1 + 3)  # a round to warm up

    def test_statistics_worked_by_hand(self, monkeypatch):
        monkeypatch.setattr(benchmark, "LEAST_ROUNDS", 5)
        clock = Clock(monkeypatch)
        warm_up = 9.0
        runs = {
            SCRATCH: clock.contestant(SCRATCH, warm_up, 5.0, 2.0, 3.0, 1.0, 4.0),
            TORCH: clock.contestant(TORCH, warm_up, 1.0, 4.0, 2.0, 2.0, 1.0),
        }
        result = benchmark.in_turns(runs, 1e-3, CPU)
        assert result["milliseconds"] == {
            SCRATCH: {"median": 3000, "low": 2000, "high": 4000},
            TORCH: {"median": 2000, "low": 1000, "high": 2000},
        }
        # Round by round 5/1, 2/4, 3/2, 1/2, 4/1; sorted 0.5, 0.5, 1.5, 4, 5.
        assert result["ratios"] == {"scratch / torch": {"median": 1.5, "low": 0.5, "high": 4}}

    def test_what_slows_a_round_for_all_leaves_the_ratio(self, monkeypatch):
        clock = Clock(monkeypatch)
        slow = 1, 1, 8, 64, 2, 16
        runs = {
            TORCH: clock.contestant(TORCH, *slow),
            CHANNELS_LAST: clock.contestant(CHANNELS_LAST, *(time / 2 for time in slow)),
            "compiled": clock.contestant("compiled", *(time * 3 for time in slow)),
        }
        ratios = benchmark.in_turns(runs, 1e-3, CPU)["ratios"]
        assert ratios == {
            "compiled / torch": {"median": 3, "low": 3, "high": 3},
            "compiled / torch, channels last": {"median": 6, "low": 6, "high": 6},
        }

    def test_rounds_fill_the_time_given(self, monkeypatch):
        clock = Clock(monkeypatch)
        runs = {name: clock.contestant(name, 1 / 128) for name in "ab"}
        assert benchmark.in_turns(runs, 0.25, CPU)["rounds"] == 16  # each of 2/128 s


def test_shapes_are_those_that_an_image_meets_in_the_models():
    met = []
    for name in ("lenet5", "vgg"):
        model = build_model(name)
        for layer_name, layer in model.named_modules():
            if isinstance(layer, layers.Conv2d):

                def record(layer, inputs, output, layer_name=f"{name} {layer_name}"):
                    met.append((layer_name, inputs[0].shape[1:], output.shape[1:], layer))

                layer.register_forward_hook(record)
        model.eval()(torch.zeros(1, 1, 28, 28))
    shapes = list(benchmark.model_shapes())
    assert len(shapes) == len(met) == 3 + 6
    for shape, (name, entered, left, layer) in zip(shapes, met, strict=True):
        assert shape.name == name
        assert entered == (shape.channels, shape.size, shape.size)
        size = shape.size + 2 * shape.padding - shape.kernel_size + 1
        assert left == (shape.out_channels, size, size)
        assert layer.kernel_size == (shape.kernel_size, shape.kernel_size)
        assert shape.is_first == (entered[0] == 1)


def contestants(shape: Shape, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Layer and input of each contestant, instead of a run of them."""
    monkeypatch.setattr(benchmark, "_layer_run", lambda layer, x, phase, is_first: (layer, x))
    x = torch.randn(2, shape.channels, shape.size, shape.size)
    return dict(benchmark.layer_runs(shape, x, "training"))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_contestants_of_a_layer_compute_what_torchs_does(shape, monkeypatch):
    torch.manual_seed(0)
    runs = contestants(shape, monkeypatch)
    reference, x = runs[TORCH]
    algorithms = runs.keys() - {TORCH, CHANNELS_LAST}
    assert conv2d_algorithm(x, reference.weight, padding=shape.padding) in algorithms
    assert algorithms <= set(CONV2D_ALGORITHMS)
    assert ("direct" in algorithms) == (shape not in WIDE)
    assert all(runs[name][0].algorithm == name for name in algorithms)
    reference.double()
    computed = {}
    for name, (layer, own_x) in runs.items():
        torch.testing.assert_close(own_x, x, rtol=0, atol=0)
        assert name == TORCH or own_x.is_contiguous(memory_format=torch.channels_last)
        layer.double().load_state_dict(reference.state_dict())
        leaf = own_x.double().requires_grad_()
        y = layer(leaf)
        gradients = torch.autograd.grad(y.square().sum(), [leaf, *layer.parameters()])
        computed[name] = [y.detach(), *gradients]
    for own in computed.values():
        for value, expected in zip(own, computed[TORCH], strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_flops_are_those_that_torch_counts(shape, phase):
    layer = torch.nn.Conv2d(
        shape.channels, shape.out_channels, shape.kernel_size, padding=shape.padding, device="meta"
    )
    x = torch.empty(3, shape.channels, shape.size, shape.size, device="meta")
    x.requires_grad_(not shape.is_first)
    with FlopCounterMode(display=False) as counter:
        y = layer(x)
        if phase == "training":
            y.sum().backward()
    assert shape.flops(3, phase) == counter.get_total_flops()


def test_the_ladders_rungs_are_contestants_of_a_layer_that_is_measured(monkeypatch):
    [shape] = [shape for shape in SHAPES if shape.name == ladder.LAYER]
    assert (shape.channels, shape.size, shape.out_channels, shape.kernel_size) == (32, 14, 32, 3)
    assert {rung.contestant for rung in ladder.RUNGS} <= set(contestants(shape, monkeypatch))


def test_the_peak_is_the_speed_of_the_fastest_loop_and_leaves_the_times():
    own = {"median": 1.0}
    times = {
        name: {"median": 9.0, "low": 2.0 * place}
        for place, name in enumerate(benchmark.REGISTERS, 1)
    }
    milliseconds = {"im2col": own, **times}
    flops = [peak.flops(lanes) for lanes in benchmark.REGISTERS.values()]
    fastest = max(flops[0] / 2e6, flops[1] / 4e6)
    assert benchmark._take_peak(milliseconds) == pytest.approx(fastest, rel=1e-3)
    assert milliseconds == {"im2col": own}
    assert benchmark._take_peak(milliseconds) is None


def test_a_device_without_compiled_loops_has_no_peak():
    assert benchmark._register_runs(torch.device("meta")) == {}
    assert set(benchmark._register_runs(CPU)) == set(benchmark.REGISTERS)


@pytest.mark.parametrize("is_first", [False, True])
def test_training_asks_for_the_inputs_gradient_but_of_a_first_layer(is_first, monkeypatch):
    asked = []

    def grad(outputs, leaves, gradient):
        asked.append([tuple(leaf.shape) for leaf in leaves])

    monkeypatch.setattr(torch.autograd, "grad", grad)
    layer = layers.Conv2d(2, 3, 3)
    benchmark._layer_run(layer, torch.zeros(4, 2, 5, 5), "training", is_first)()
    parameters = [(3, 2, 3, 3), (3,)]
    assert asked == [parameters if is_first else [(4, 2, 5, 5), *parameters]]


@pytest.mark.parametrize(
    ("name", "architecture"), [("lenet5", {}), ("vgg", {"blocks": [[4], [8]], "dropout": 0.0})]
)
def test_contestants_of_a_model_take_the_same_step(name, architecture, monkeypatch):
    built = []

    def remembered(*args, **kwargs):
        built.append(build_model(*args, **kwargs))
        return built[-1]

    monkeypatch.setattr(benchmark, "build_model", remembered)
    for contestant in (SCRATCH, TORCH, CHANNELS_LAST):
        benchmark.model_run(name, architecture, contestant, 4, "training", CPU)()
    own, *torchs = ([p.grad for p in model.parameters()] for model in built)
    for other in torchs:
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-5)


def test_peak_memory_of_known_allocations():
    megabyte = 1 << 20

    def run():
        first = torch.empty(3 * megabyte, dtype=torch.uint8)
        second = torch.empty(4 * megabyte, dtype=torch.uint8)  # 7 held
        del first
        third = torch.empty(2 * megabyte, dtype=torch.uint8)  # 6 held
        return second, third

    assert benchmark.peak_memory(run, CPU) == pytest.approx(7 * megabyte, abs=1024)


def test_memory_is_compared_with_torchs():
    params = BenchmarkParams(batch_size=2, batch_sizes=[1], seconds=1e-3)
    [compared] = benchmark.compare_memory(params, {"lenet5": {}}, CPU)
    assert set(compared["bytes"]) == {SCRATCH, TORCH, CHANNELS_LAST}
    images, logits = 2 * 28 * 28 * 6 * 4, 2 * 10 * 4  # what c1 makes, and the output
    assert all(peak > images + logits for peak in compared["bytes"].values())
    ratio = compared["bytes"][SCRATCH] / compared["bytes"][TORCH]
    assert compared["ratio"] == pytest.approx(ratio, abs=1e-3)


def test_stage_writes_results_and_figures(tmp_path, monkeypatch):
    shutil.copy2(ROOT / "params.yaml", tmp_path)
    Project(tmp_path).change(SMALL | {"benchmark.batch_sizes": [1, 2]})
    first = Shape(ladder.LAYER, 1, 6, 4, 3, 1, is_first=True)
    wide = Shape("wide", 8, 6, 4, 3, 1)
    monkeypatch.setattr(benchmark, "WIDE", (wide,))
    monkeypatch.setattr(benchmark, "model_shapes", lambda: iter([first]))
    monkeypatch.chdir(tmp_path)

    outcome = CliRunner().invoke(main, [], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    lines = outcome.output.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"{name}, {phase}" for name in ("lenet5", "vgg") for phase in PHASES
    ]

    report = json.loads((tmp_path / "reports/benchmark.json").read_text(encoding="utf-8"))
    assert report["batch_size"] == 2
    assert [(m["model"], m["batch_size"], m["phase"]) for m in report["models"]] == [
        *product(("lenet5", "vgg"), (1, 2), PHASES)
    ]
    assert [(layer["layer"], layer["phase"]) for layer in report["layers"]] == [
        *product((ladder.LAYER, "wide"), PHASES)
    ]
    for layer in report["layers"]:
        own = {name: time["median"] for name, time in layer["milliseconds"].items()}
        assert own[layer["best"]] == min(own[name] for name in own if name in CONV2D_ALGORITHMS)
        assert layer["peak"] > 0
        assert not set(own) & set(benchmark.REGISTERS)
    flops = 2 * (2 * 4 * 9 * 36)  # two for each multiply-add: images, channels, kernel, pixels
    assert [layer["flops"] for layer in report["layers"]] == [
        *(flops, 2 * flops, 8 * flops, 3 * 8 * flops)
    ]
    assert "direct" not in report["layers"][-1]["milliseconds"]
    assert len(report["operators"]) == 2 * 5 * len(PHASES)
    assert [memory["model"] for memory in report["memory"]] == ["lenet5", "vgg"]
    assert report["machine"]["device"] == "cpu"
    for result in report["models"] + report["layers"] + report["operators"]:
        assert result["rounds"] >= benchmark.LEAST_ROUNDS
        for spread in (*result["milliseconds"].values(), *result["ratios"].values()):
            assert 0 < spread["low"] <= spread["median"] <= spread["high"]
    for name in ("batch_size.png", "ladder.png", "layers.png"):
        with Image.open(tmp_path / "reports/figures/benchmark" / name) as image:
            assert image.size[0] == 1245

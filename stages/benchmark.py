"""Race the project's own layers against torch's: reports/benchmark.json, with two figures."""

import os
from typing import Any

import click

from cnnpipe.benchmark.figures import layer_ratios, time_against_batch_size
from cnnpipe.benchmark.turns import compare_memory, race_layers, race_models, race_operators
from cnnpipe.drawing.layout import save_png
from cnnpipe.findings.wording import count
from cnnpipe.params.benchmark import BenchmarkParams
from cnnpipe.params.loading import load_params
from cnnpipe.params.models import MODEL_NAMES, ArchitecturesParams
from cnnpipe.params.runtime import RuntimeParams
from cnnpipe.params.section import Selection
from cnnpipe.system.artifacts import save_json
from cnnpipe.system.command import REPORTS, stage
from cnnpipe.system.hardware import choose_device, describe


class Settings(Selection):
    benchmark: BenchmarkParams
    models: ArchitecturesParams
    runtime: RuntimeParams


@stage
def main() -> None:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the memory profiler's talk of GPUs
    params = load_params(Settings)
    device = choose_device(params.runtime.device)
    architectures = {name: params.models.of(name).architecture() for name in MODEL_NAMES}
    budget = params.benchmark

    models = []
    for name in MODEL_NAMES:
        for result in race_models(budget, name, architectures[name], device):
            models.append(result)
            if result["batch_size"] == budget.batch_size:
                _tell(f"{name}, {result['phase']}", result)
    layers = list(race_layers(budget, device))
    report = {
        "machine": describe(device)
        | {name.lower(): os.environ.get(name) for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")},
        "batch_size": budget.batch_size,
        "models": models,
        "layers": layers,
        "operators": list(race_operators(budget, device)),
        "memory": [
            compare_memory(budget, name, architectures[name], device) for name in MODEL_NAMES
        ],
    }
    figures = {
        "layers": layer_ratios(
            layers,
            "training",
            f"Own convolutions against torch’s, {count(budget.batch_size, 'image')} at a time",
        ),
        "batch_size": time_against_batch_size(models, "Own layers against torch’s in whole models"),
    }
    for file, figure in figures.items():
        save_png(REPORTS / "figures" / "benchmark" / f"{file}.png", figure)
    save_json(REPORTS / "benchmark.json", report)


def _tell(what: str, result: dict[str, Any]) -> None:
    ratios = result["ratios"]
    click.echo(
        f"{what}: {ratios['scratch / torch']['median']:.2f} of torch's time, "
        f"{ratios['scratch / torch, channels last']['median']:.2f} of channels-last torch's"
    )


if __name__ == "__main__":
    main()

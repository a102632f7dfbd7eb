"""Time this project's layers and torch's: reports/benchmark.json, with three figures."""

import os

import click

from cnnpipe.benchmark import turns
from cnnpipe.benchmark.figures import layer_ratios, speeds, time_against_batch_size
from cnnpipe.drawing.layout import save_png
from cnnpipe.findings.wording import count
from cnnpipe.networks import ModelsParams
from cnnpipe.params.benchmark import BenchmarkParams
from cnnpipe.params.loading import load_params
from cnnpipe.params.runtime import RuntimeParams
from cnnpipe.params.section import Selection
from cnnpipe.system.artifacts import save_json
from cnnpipe.system.command import REPORTS, stage
from cnnpipe.system.hardware import choose_device


class Settings(Selection):
    benchmark: BenchmarkParams
    models: ModelsParams
    runtime: RuntimeParams


@stage
def main() -> None:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the memory profiler's messages about GPUs
    params = load_params(Settings)
    budget, device = params.benchmark, choose_device(params.runtime.device)
    architectures = {name: model.architecture() for name, model in params.models.items()}

    models = []
    for result in turns.time_models(budget, architectures, device):
        models.append(result)
        if result["batch_size"] == budget.batch_size:
            ratios = {name: ratio["median"] for name, ratio in result["ratios"].items()}
            click.echo(
                f"{result['model']}, {result['phase']}: {ratios['scratch / torch']:.2f} of "
                f"torch's time, {ratios['scratch / torch, channels last']:.2f} of channels-last "
                "torch's"
            )
    layers = list(turns.time_layers(budget, device))
    report = {
        "machine": turns.machine(device),
        "batch_size": budget.batch_size,
        "models": models,
        "layers": layers,
        "operators": list(turns.time_operators(budget, device)),
        "memory": list(turns.compare_memory(budget, architectures, device)),
    }
    images = count(budget.batch_size, "image")
    figures = {
        "ladder": speeds(layers, f"From the formula to the processor’s peak, {images} at a time"),
        "layers": layer_ratios(
            layers, "training", f"Own convolutions against torch’s, {images} at a time"
        ),
        "batch_size": time_against_batch_size(models, "Own layers against torch’s in whole models"),
    }
    for file, figure in figures.items():
        save_png(REPORTS / "figures" / "benchmark" / f"{file}.png", figure)
    save_json(REPORTS / "benchmark.json", report)


if __name__ == "__main__":
    main()

"""Race hand-crafted features against networks: reports/handcrafted.json, tables, figures, times."""

import click
import torch

from cnnpipe.data.dataset import load_dataset
from cnnpipe.drawing.layout import save_png
from cnnpipe.findings.wording import title_of
from cnnpipe.handcrafted import figures
from cnnpipe.handcrafted.corruptions import CORRUPTIONS
from cnnpipe.handcrafted.experiment import experiment
from cnnpipe.handcrafted.robustness import time_methods
from cnnpipe.handcrafted.verdict import TITLES, captions, methods_metrics
from cnnpipe.handcrafted.views import strips, views
from cnnpipe.models import load_model
from cnnpipe.params.data import SplitParams
from cnnpipe.params.handcrafted import HandcraftedParams
from cnnpipe.params.loading import load_params
from cnnpipe.params.models import MODEL_NAMES, LeNet5Selection
from cnnpipe.params.section import Seed, Selection
from cnnpipe.system.artifacts import save_csv, save_json
from cnnpipe.system.command import MODELS, RAW, REPORTS, stage
from cnnpipe.system.hardware import describe


class Settings(Selection):
    seed: Seed
    data: SplitParams
    handcrafted: HandcraftedParams
    models: LeNet5Selection


@stage
def main() -> None:
    params = load_params(Settings)
    dataset = load_dataset(RAW)
    models = {name: load_model(MODELS / f"{name}.safetensors") for name in MODEL_NAMES}
    outcome = experiment(
        dataset,
        models,
        params.handcrafted,
        params.models.lenet5,
        RAW.parent,
        validation=params.data.validation,
        seed=params.seed,
    )
    finding, digit = outcome.finding, outcome.test.images[0].numpy()

    for name, table in finding.tables.items():
        save_csv(REPORTS / "handcrafted" / f"{name}.csv", table)
    units = {corruption.name: corruption.unit for corruption in CORRUPTIONS}
    title, one = TITLES["lenet5"], f"a test image of {title_of(dataset.name)}"
    drawn = {
        "robustness": figures.robustness.draw(finding.tables["robustness"], TITLES, units),
        "corruptions": figures.corruptions.draw(digit, strips(digit, params.seed), one),
        "views": figures.views.draw(views(digit, *models["lenet5"], params.seed), title, one),
    }
    described = []
    for name, caption in captions(finding).items():
        file = f"handcrafted/{name}.png"
        save_png(REPORTS / "figures" / file, drawn[name])
        described.append({"name": name, "file": file, "caption": caption})
    results = finding.summary() | {
        "figure": f"figures/{described[0]['file']}",
        "tables": [f"handcrafted/{name}.csv" for name in finding.tables],
        "methods": methods_metrics(finding),
        "figures": described,
    }
    save_json(REPORTS / "handcrafted.json", results)
    save_json(REPORTS / "handcrafted" / "metrics.json", results["methods"])
    times = time_methods(outcome.methods, outcome.test.images.numpy())
    hardware = describe(torch.device("cpu"))
    save_json(REPORTS / "handcrafted_timings.json", {"methods": times} | hardware)
    click.echo(f"{finding.verdict}: {finding.statement}")


if __name__ == "__main__":
    main()

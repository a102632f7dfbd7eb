"""Compare hand-crafted features with networks: reports/handcrafted.json, tables, figures, times."""

import click
import torch

from cnnpipe.data.dataset import load_dataset
from cnnpipe.drawing.layout import save_png
from cnnpipe.findings.wording import title_of
from cnnpipe.handcrafted import figures
from cnnpipe.handcrafted.experiment import experiment
from cnnpipe.handcrafted.results import figure_file, summary
from cnnpipe.handcrafted.robustness import time_methods
from cnnpipe.handcrafted.verdict import NETWORK, TITLES
from cnnpipe.handcrafted.views import strips, views
from cnnpipe.models import TrainedNetwork
from cnnpipe.networks import ModelsParams
from cnnpipe.params.data import SplitParams
from cnnpipe.params.handcrafted import HandcraftedParams
from cnnpipe.params.loading import load_params
from cnnpipe.params.section import Seed, Selection
from cnnpipe.system.artifacts import save_csv, save_json
from cnnpipe.system.command import MODELS, RAW, REPORTS, stage
from cnnpipe.system.hardware import describe


class Settings(Selection):
    seed: Seed
    data: SplitParams
    handcrafted: HandcraftedParams
    models: ModelsParams


@stage
def main() -> None:
    params, dataset = load_params(Settings), load_dataset(RAW)
    sizes, lenet5, validation = params.handcrafted, params.models[NETWORK], params.data.validation
    networks = {name: TrainedNetwork.load(MODELS / f"{name}.safetensors") for name in params.models}
    trained = list(networks.values())
    finding, shown = experiment(
        dataset, trained, sizes, lenet5, RAW.parent, validation=validation, seed=params.seed
    )
    digit = shown.test.images[0].numpy()

    for name, table in finding.tables.items():
        save_csv(REPORTS / "handcrafted" / f"{name}.csv", table)
    lenet, caption = networks[NETWORK], f"a test image of {title_of(dataset.name)}"
    drawn = {
        "robustness": figures.robustness.draw(finding.tables["robustness"]),
        "corruptions": figures.corruptions.draw(digit, strips(digit, params.seed), caption),
        "views": figures.views.draw(views(digit, lenet, params.seed), TITLES[lenet.name], caption),
    }
    for name, figure in drawn.items():
        save_png(REPORTS / "figures" / figure_file(name), figure)
    save_json(REPORTS / "handcrafted.json", summary(finding))
    times = time_methods(shown.methods, shown.test.images.numpy())
    hardware = describe(torch.device("cpu"))
    save_json(REPORTS / "handcrafted_timings.json", {"methods": times} | hardware)
    click.echo(f"{finding.verdict}: {finding.statement}")


if __name__ == "__main__":
    main()

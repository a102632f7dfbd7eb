"""Draw one model: reports/figures/<model>/*.png, and in figures/<model>.json what they show."""

from itertools import chain

import click

from cnnpipe.data.dataset import load_dataset
from cnnpipe.drawing.illustration import save_illustrations
from cnnpipe.findings.mistakes import images_to_draw
from cnnpipe.findings.wording import title_of
from cnnpipe.models import TrainedNetwork
from cnnpipe.networks import MODEL_NAMES
from cnnpipe.params.loading import load_params
from cnnpipe.params.section import Selection
from cnnpipe.params.visualize import VisualizeParams
from cnnpipe.system.artifacts import load_csv, load_json, save_json
from cnnpipe.system.command import MODELS, RAW, REPORTS, stage
from cnnpipe.visualize.figures import result_figures, sample_figures


class Settings(Selection):
    visualize: VisualizeParams


@stage
@click.argument("name", type=click.Choice(MODEL_NAMES))
def main(name: str) -> None:
    params = load_params(Settings).visualize
    dataset = load_dataset(RAW)
    network = TrainedNetwork.load(MODELS / f"{name}.safetensors")
    curves = load_csv(REPORTS / "curves" / f"{name}.csv")
    evaluation = load_json(REPORTS / "evaluation" / f"{name}.json")
    predictions = load_csv(REPORTS / "predictions" / f"{name}.csv")

    drawn = images_to_draw(params, predictions, len(dataset.test), dataset.name)
    title, figures = title_of(name), REPORTS / "figures"
    illustrations = chain(
        sample_figures(network, dataset, drawn),
        result_figures(title, curves, evaluation, predictions, dataset, params.mistakes),
    )
    described = save_illustrations(illustrations, figures, name)
    save_json(figures / f"{name}.json", {"model": name, "title": title, "figures": described})
    click.echo(f"{name}: {len(described)} figures in {figures / name}")


if __name__ == "__main__":
    main()

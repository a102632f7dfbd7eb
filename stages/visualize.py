"""Draw one model: reports/figures/<model>/*.png, and in figures/<model>.json what they show."""

from itertools import chain

import click

from cnnpipe.data.dataset import load_dataset
from cnnpipe.drawing.layout import save_png
from cnnpipe.findings.wording import title_of
from cnnpipe.models import load_model
from cnnpipe.params.loading import load_params
from cnnpipe.params.models import MODEL_NAMES, ModelName
from cnnpipe.params.section import Selection
from cnnpipe.params.visualize import VisualizeParams
from cnnpipe.system.artifacts import load_csv, load_json, save_json
from cnnpipe.system.command import MODELS, RAW, REPORTS, stage
from cnnpipe.visualize.figures import images_to_draw, result_figures, sample_figures


class Settings(Selection):
    visualize: VisualizeParams


@stage
@click.argument("name", type=click.Choice(MODEL_NAMES))
def main(name: ModelName) -> None:
    params = load_params(Settings).visualize
    dataset = load_dataset(RAW)
    model, normalization = load_model(MODELS / f"{name}.safetensors")
    curves = load_csv(REPORTS / "curves" / f"{name}.csv")
    evaluation = load_json(REPORTS / "evaluation" / f"{name}.json")
    predictions = load_csv(REPORTS / "predictions" / f"{name}.csv")

    drawn = images_to_draw(params, predictions, dataset)
    title, described = title_of(name), []
    for illustration in chain(
        sample_figures(title, model, normalization, dataset, drawn),
        result_figures(title, curves, evaluation, predictions, dataset, params.mistakes),
    ):
        file = f"{name}/{illustration.name}.png"
        save_png(REPORTS / "figures" / file, illustration.figure)
        described.append({"file": file, "kind": illustration.kind} | illustration.facts)
    save_json(
        REPORTS / "figures" / f"{name}.json", {"model": name, "title": title, "figures": described}
    )
    click.echo(f"{name}: {len(described)} figures in {REPORTS / 'figures' / name}")


if __name__ == "__main__":
    main()

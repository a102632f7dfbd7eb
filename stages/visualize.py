"""Draw one model: reports/figures/<model>/*.png, and in figures/<model>.json what they show."""

from itertools import chain

import click

from cnnpipe.artifacts import load_csv, load_json, save_json
from cnnpipe.data import load_dataset
from cnnpipe.figures import images_to_draw, result_figures, sample_figures
from cnnpipe.formatting import title_of
from cnnpipe.models import load_model
from cnnpipe.params import MODEL_NAMES, ModelName, load_params
from cnnpipe.plots import save_png
from stages.command import MODELS, RAW, REPORTS, stage


@stage
@click.argument("name", type=click.Choice(MODEL_NAMES))
def main(name: ModelName) -> None:
    params = load_params().visualize
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

"""Explain one model: what each filter does, and which pixels the answers rest on."""

from itertools import chain

import click

from cnnpipe.data.dataset import load_dataset
from cnnpipe.drawing.layout import save_png
from cnnpipe.explain.attribution import attribute, finding
from cnnpipe.explain.figures import attribution_figure, filter_figures
from cnnpipe.explain.filters import describe_filters, exciting_patches
from cnnpipe.findings.wording import title_of
from cnnpipe.inspection.responses import strongest
from cnnpipe.models import load_model, predict
from cnnpipe.params.explain import ExplainParams
from cnnpipe.params.loading import load_params
from cnnpipe.params.models import MODEL_NAMES, ModelName
from cnnpipe.params.section import Seed, Selection
from cnnpipe.params.visualize import DrawnParams
from cnnpipe.system.artifacts import load_csv, save_csv, save_json
from cnnpipe.system.command import MODELS, RAW, REPORTS, stage
from cnnpipe.visualize.figures import images_to_draw


class Settings(Selection):
    seed: Seed
    explain: ExplainParams
    visualize: DrawnParams


@stage
@click.argument("name", type=click.Choice(MODEL_NAMES))
def main(name: ModelName) -> None:
    params, title = load_params(Settings), title_of(name)
    dataset = load_dataset(RAW)
    model, normalization = load_model(MODELS / f"{name}.safetensors")
    predictions = load_csv(REPORTS / "predictions" / f"{name}.csv")
    drawn = images_to_draw(params.visualize, predictions, dataset)

    test = dataset.test
    responses = strongest(model, normalization(test.images))
    filters = describe_filters(model, responses, test, normalization, params.explain.removal_images)
    patches = exciting_patches(model, responses, params.explain.patches)
    attributions = attribute(
        model, dataset, normalization, drawn, params.explain.attribution, params.seed
    )
    answers = predict(model, test.images[drawn], normalization).argmax(dim=1)

    tables = {
        "methods": attributions.table(params.seed),
        "correlations": attributions.correlations,
        "filters": filters,
        "patches": patches,
    }
    for table, rows in tables.items():
        save_csv(REPORTS / "explanation" / name / f"{table}.csv", rows)
    described = []
    for illustration in chain(
        filter_figures(title, model, filters, patches, test.images),
        [attribution_figure(title, attributions, dataset, drawn, answers)],
    ):
        file = f"explanation/{name}/{illustration.name}.png"
        save_png(REPORTS / "figures" / file, illustration.figure)
        described.append({"file": file, "kind": illustration.kind} | illustration.facts)
    outcome = finding(attributions, title, dataset, params.seed) | {"figures": described}
    save_json(REPORTS / "explanation" / f"{name}.json", outcome)
    dead = int((filters["silent"] == 1).sum())
    click.echo(f"{name}: {len(filters)} filters, {dead} dead; {outcome['statement']}")


if __name__ == "__main__":
    main()

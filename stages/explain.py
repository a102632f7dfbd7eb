"""Explain one model: what each filter does, and which pixels the answers rest on."""

from itertools import chain

import click

from cnnpipe.data.dataset import load_dataset, split_validation
from cnnpipe.drawing.illustration import save_illustrations
from cnnpipe.explain.embedding import embed
from cnnpipe.explain.explanation import explain
from cnnpipe.explain.figures import attribution_figure, filter_figures
from cnnpipe.findings.mistakes import images_to_draw
from cnnpipe.findings.wording import title_of
from cnnpipe.models import TrainedNetwork
from cnnpipe.networks import MODEL_NAMES
from cnnpipe.params.data import SplitParams
from cnnpipe.params.explain import ExplainParams
from cnnpipe.params.loading import load_params
from cnnpipe.params.runtime import RuntimeParams
from cnnpipe.params.section import Seed, Selection
from cnnpipe.params.visualize import DrawnParams
from cnnpipe.system.artifacts import load_csv, save_csv, save_json, save_weights
from cnnpipe.system.command import EMBEDDINGS, MODELS, RAW, REPORTS, stage
from cnnpipe.system.hardware import choose_device


class Settings(Selection):
    seed: Seed
    data: SplitParams
    explain: ExplainParams
    visualize: DrawnParams
    runtime: RuntimeParams


@stage
@click.argument("name", type=click.Choice(MODEL_NAMES))
def main(name: str) -> None:
    params, title = load_params(Settings), title_of(name)
    dataset, device = load_dataset(RAW), choose_device(params.runtime.device)
    network = TrainedNetwork.load(MODELS / f"{name}.safetensors")
    predictions = load_csv(REPORTS / "predictions" / f"{name}.csv")
    drawn = images_to_draw(params.visualize, predictions, len(dataset.test), dataset.name)
    splits = split_validation(dataset.train, params.data.validation, params.seed)
    embedded = embed(network, dataset, splits, predictions)
    save_weights(EMBEDDINGS / f"{name}.safetensors", embedded, {})

    network, data = network.to(device), dataset.to(device)
    explanation = explain(network, data, drawn, params.explain, params.seed)
    for table, rows in explanation.tables.items():
        save_csv(REPORTS / "explanation" / name / f"{table}.csv", rows)
    filters, patches = explanation.tables["filters"], explanation.tables["patches"]
    answers = attribution_figure(
        title, explanation.attributions, dataset, drawn, explanation.answers
    )
    illustrations = chain(
        filter_figures(title, network.model, filters, patches, dataset.test.images), [answers]
    )
    described = save_illustrations(illustrations, REPORTS / "figures", f"explanation/{name}")
    outcome = explanation.finding | {"figures": described}
    save_json(REPORTS / "explanation" / f"{name}.json", outcome)
    dead = int((filters["silent"] == 1).sum())
    click.echo(f"{name}: {len(filters)} filters, {dead} dead; {outcome['statement']}")


if __name__ == "__main__":
    main()

"""Measure the theory's claims: reports/principles.json, with a CSV per table and a figure each."""

import click

from cnnpipe.artifacts import save_csv, save_json
from cnnpipe.data import load_dataset
from cnnpipe.models import load_model
from cnnpipe.params import MODEL_NAMES, load_params
from cnnpipe.plots import save_png
from cnnpipe.plots.principles import FIGURES
from cnnpipe.principles import CLAIMS
from cnnpipe.principles.side_by_side import measure_all
from cnnpipe.principles.study import Study
from stages.command import MODELS, RAW, REPORTS, stage


@stage
def main() -> None:
    params = load_params()
    models, normalizations = {}, {}
    for name in MODEL_NAMES:
        models[name], normalizations[name] = load_model(MODELS / f"{name}.safetensors")
    # Both models trained on the same images, so their normalisations are one.
    study = Study(
        load_dataset(RAW), normalizations["lenet5"], models, params.principles, params.seed
    )
    summaries, metrics = {}, {}
    for finding in measure_all(study):
        for table, frame in finding.tables.items():
            save_csv(REPORTS / finding.table_path(table), frame)
        figure = FIGURES[finding.name](finding.tables, finding.details)
        save_png(REPORTS / finding.figure_path, figure)
        summaries[finding.name], metrics[finding.name] = finding.summary(), finding.metrics()
        click.echo(f"{finding.name}: {finding.verdict}. {finding.statement}")
    names = [claim.NAME for claim in CLAIMS]
    save_json(REPORTS / "principles.json", {name: summaries[name] for name in names})
    save_json(REPORTS / "principles" / "metrics.json", {name: metrics[name] for name in names})


if __name__ == "__main__":
    main()

"""Measure the theory's claims: reports/principles.json, with a CSV per table and a figure each."""

import warnings

import click
from joblib import Parallel, cpu_count, delayed, parallel_config

from cnnpipe.artifacts import save_csv, save_json
from cnnpipe.data import load_dataset
from cnnpipe.models import load_model
from cnnpipe.params import MODEL_NAMES, load_params
from cnnpipe.plots import save_png
from cnnpipe.plots.principles import FIGURES
from cnnpipe.principles import CLAIMS
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
    # A claim to a core, each with one thread: sooner done than one after the other with all of
    # them, whose tensors are too small for that, and the same bits on any number of cores.
    warnings.filterwarnings("ignore", "A worker stopped")  # joblib renews those that grew
    with parallel_config("loky", inner_max_num_threads=1):
        workers = Parallel(n_jobs=min(cpu_count(), len(CLAIMS)), return_as="generator")
        findings = workers(delayed(claim.measure)(study) for claim in CLAIMS)
    summaries, metrics = {}, {}
    for finding in findings:
        for table, frame in finding.tables.items():
            save_csv(REPORTS / finding.table_path(table), frame)
        figure = FIGURES[finding.name](finding.tables, finding.details)
        save_png(REPORTS / finding.figure_path, figure)
        summaries[finding.name], metrics[finding.name] = finding.summary(), finding.metrics()
        click.echo(f"{finding.name}: {finding.verdict}. {finding.statement}")
    save_json(REPORTS / "principles.json", summaries)
    save_json(REPORTS / "principles" / "metrics.json", metrics)


if __name__ == "__main__":
    main()

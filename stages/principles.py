"""Measure the theory's claims: reports/principles.json, with a CSV per table and a figure each."""

from typing import Any

import click

from cnnpipe.data.dataset import load_dataset
from cnnpipe.drawing.layout import save_png
from cnnpipe.findings.finding import adjusted
from cnnpipe.models import TrainedNetwork
from cnnpipe.params.loading import load_params
from cnnpipe.params.principles import PrinciplesParams
from cnnpipe.params.section import Seed, Selection
from cnnpipe.principles.claims import EXPERIMENTS
from cnnpipe.principles.parallel import measure_all
from cnnpipe.principles.study import Study
from cnnpipe.system.artifacts import save_csv, save_json
from cnnpipe.system.command import MODELS, RAW, REPORTS, stage


class Settings(Selection):
    seed: Seed
    principles: PrinciplesParams
    models: dict[str, Any]


@stage
def main() -> None:
    params = load_params(Settings)
    networks = [TrainedNetwork.load(MODELS / f"{name}.safetensors") for name in params.models]
    study = Study.of(load_dataset(RAW), networks, params.principles, params.seed)
    claims = {experiment.CLAIM.name: experiment.CLAIM for experiment in EXPERIMENTS}
    findings = {}
    for finding in measure_all(study):
        for table, frame in finding.tables.items():
            save_csv(REPORTS / finding.table_path(table), frame)
        figure = claims[finding.name].draw(finding.tables, finding.details)
        save_png(REPORTS / finding.figure_path, figure)
        findings[finding.name] = finding
        click.echo(f"{finding.name}: {finding.statement}")
    findings = adjusted(findings)
    for name in claims:
        click.echo(f"{name}: {findings[name].verdict}")
    summaries = {name: findings[name].summary() for name in claims}
    metrics = {name: findings[name].metrics() for name in claims}
    save_json(REPORTS / "principles.json", summaries)
    save_json(REPORTS / "principles" / "metrics.json", metrics)


if __name__ == "__main__":
    main()

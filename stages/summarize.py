"""Gather what the models scored: reports/metrics.json, and their times in reports/timings.json."""

from typing import Any

import click

from cnnpipe.params.loading import load_params
from cnnpipe.params.section import Selection
from cnnpipe.summarize.metrics import compared
from cnnpipe.system.artifacts import load_json, save_json
from cnnpipe.system.command import REPORTS, stage


class Settings(Selection):
    models: dict[str, Any]


@stage
def main() -> None:
    metrics, timings = {}, {}
    for name in load_params(Settings).models:
        evaluation = load_json(REPORTS / "evaluation" / f"{name}.json")
        metrics[name] = compared(evaluation)
        timings[name] = load_json(REPORTS / "timings" / f"{name}.json")
    save_json(REPORTS / "metrics.json", metrics)
    save_json(REPORTS / "timings.json", timings)
    for name, scores in metrics.items():
        click.echo(f"{name}: {scores['test_accuracy']:.2%}, {scores['test_errors']} errors")


if __name__ == "__main__":
    main()

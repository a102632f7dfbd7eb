"""Gather what both models scored: reports/metrics.json, and their times in reports/timings.json."""

import click

from cnnpipe.params.models import MODEL_NAMES
from cnnpipe.summarize.metrics import compared
from cnnpipe.system.artifacts import load_json, save_json
from cnnpipe.system.command import REPORTS, stage


@stage
def main() -> None:
    metrics, timings = {}, {}
    for name in MODEL_NAMES:
        evaluation = load_json(REPORTS / "evaluation" / f"{name}.json")
        metrics[name] = compared(evaluation)
        timings[name] = load_json(REPORTS / "timings" / f"{name}.json")
    save_json(REPORTS / "metrics.json", metrics)
    save_json(REPORTS / "timings.json", timings)
    for name, scores in metrics.items():
        click.echo(f"{name}: {scores['test_accuracy']:.2%}, {scores['test_errors']} errors")


if __name__ == "__main__":
    main()

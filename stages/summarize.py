"""Gather what both models scored: reports/metrics.json, and their times in reports/timings.json."""

import click

from cnnpipe.artifacts import load_json, save_json
from cnnpipe.params import MODEL_NAMES
from stages.command import REPORTS, stage

COMPARED = ("test_accuracy", "test_errors", "test_loss", "ece", "parameters", "macs")
"""What `dvc exp show` and `dvc metrics diff` list; the rest stands in reports/evaluation."""


@stage
def main() -> None:
    metrics, timings = {}, {}
    for name in MODEL_NAMES:
        evaluation = load_json(REPORTS / "evaluation" / f"{name}.json")
        low, high = evaluation["test_accuracy_interval"]
        metrics[name] = {key: evaluation[key] for key in COMPARED}
        metrics[name] |= {"test_accuracy_low": low, "test_accuracy_high": high}
        timings[name] = load_json(REPORTS / "timings" / f"{name}.json")
    save_json(REPORTS / "metrics.json", metrics)
    save_json(REPORTS / "timings.json", timings)
    for name, scores in metrics.items():
        click.echo(f"{name}: {scores['test_accuracy']:.2%}, {scores['test_errors']} errors")


if __name__ == "__main__":
    main()

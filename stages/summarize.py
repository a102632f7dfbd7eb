"""Gather what the models scored and how long they took, and write a card for each.

Files: reports/metrics.json, reports/timings.json, reports/cards/<model>.md.
"""

import click

from cnnpipe.summarize import COMPARED
from cnnpipe.summarize.card import model_card
from cnnpipe.system.artifacts import atomic_write, load_json, save_json
from cnnpipe.system.command import REPORTS, stage


@stage
def main() -> None:
    metrics, timings = {}, {}
    for name, architecture in load_json(REPORTS / "validate" / "architectures.json").items():
        evaluation = load_json(REPORTS / "evaluation" / f"{name}.json")
        metrics[name] = {key: evaluation[key] for key in COMPARED}
        timings[name] = load_json(REPORTS / "timings" / f"{name}.json")
        with atomic_write(REPORTS / "cards" / f"{name}.md") as file:
            file.write(model_card(evaluation, architecture, timings[name]["epochs"]))
    save_json(REPORTS / "metrics.json", metrics)
    save_json(REPORTS / "timings.json", timings)
    for name, scores in metrics.items():
        click.echo(f"{name}: {scores['test_accuracy']:.2%}, {scores['test_errors']} errors")


if __name__ == "__main__":
    main()

"""Judge one trained model on the test set: its metrics, predictions and confusion."""

import click

from cnnpipe.data.dataset import load_dataset
from cnnpipe.evaluate.evaluation import evaluate, summary
from cnnpipe.models import TrainedNetwork
from cnnpipe.networks import MODEL_NAMES
from cnnpipe.params.evaluate import EvaluateParams
from cnnpipe.params.loading import load_params
from cnnpipe.params.runtime import RuntimeParams
from cnnpipe.params.section import Selection
from cnnpipe.system.artifacts import save_csv, save_json
from cnnpipe.system.command import MODELS, RAW, REPORTS, stage
from cnnpipe.system.hardware import choose_device


class Settings(Selection):
    evaluate: EvaluateParams
    runtime: RuntimeParams


@stage
@click.argument("name", type=click.Choice(MODEL_NAMES))
def main(name: str) -> None:
    params = load_params(Settings)
    shift, device = params.evaluate.shift, choose_device(params.runtime.device)
    dataset = load_dataset(RAW).to(device)
    network = TrainedNetwork.load(MODELS / f"{name}.safetensors").to(device)
    evaluation = evaluate(network, dataset.test, dataset.classes, shift)
    metrics = summary(network, dataset.name, evaluation)

    save_json(REPORTS / "evaluation" / f"{name}.json", metrics)
    save_csv(REPORTS / "predictions" / f"{name}.csv", evaluation.prediction_table())
    save_csv(REPORTS / "confusion" / f"{name}.csv", evaluation.confusion_table())
    low, high = metrics["test_accuracy_interval"]
    click.echo(
        f"{name}: {metrics['test_accuracy']:.2%} of {metrics['images']} test images "
        f"({metrics['test_errors']} errors; 95 % interval {low:.2%} to {high:.2%})"
        + (f", averaged over {evaluation.copies} shifted copies" if shift else "")
    )


if __name__ == "__main__":
    main()

"""Train one model: data/models/<model>.safetensors, its learning curves, and how long it took."""

import time
from dataclasses import asdict

import click
import pandas as pd
import torch

from cnnpipe.artifacts import load_json, save_csv, save_json
from cnnpipe.data import load_dataset, split_validation
from cnnpipe.errors import InputError
from cnnpipe.hardware import choose_device, describe
from cnnpipe.models import build_model, save_model
from cnnpipe.params import MODEL_NAMES, ModelName, load_params
from cnnpipe.preprocessing import Normalization
from cnnpipe.training import train
from stages.command import MODELS, RAW, REPORTS, stage


@stage
@click.argument("name", type=click.Choice(MODEL_NAMES))
def main(name: ModelName) -> None:
    if load_json(REPORTS / "verify.json")["verdict"] != "pass":
        raise InputError("reports/verify.json: the operators are wrong; training does not start")
    params = load_params()
    run = params.models.of(name)
    device = choose_device(run.device)
    dataset = load_dataset(RAW)
    training, validation = split_validation(dataset.train, params.data.validation, params.seed)
    normalization = Normalization.of(training.images)
    architecture = run.architecture() | {"classes": len(dataset.classes)}

    torch.manual_seed(params.seed)
    model = build_model(name, backend=run.backend, algorithm=run.algorithm, **architecture)
    start = time.perf_counter()
    trained, curves = train(
        model.to(device),
        training.to(device),
        validation.to(device),
        run,
        normalization,
        seed=params.seed,
    )
    seconds = time.perf_counter() - start

    save_model(MODELS / f"{name}.safetensors", trained, name, architecture, normalization)
    save_csv(REPORTS / "curves" / f"{name}.csv", pd.DataFrame(map(asdict, curves)))
    timing = {"train_seconds": round(seconds, 1), "epochs": run.epochs} | describe(device)
    save_json(REPORTS / "timings" / f"{name}.json", timing)
    click.echo(
        f"{name}: {curves[-1].validation_accuracy:.2%} of {len(validation)} validation images "
        f"after {run.epochs} epochs in {seconds:.0f} s on {device}"
    )


if __name__ == "__main__":
    main()

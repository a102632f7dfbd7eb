"""Train one model: data/models/<model>.safetensors, its learning curves, and how long it took.

`train.processes` starts so many of this script; `torchrun -m stages.train <model>` does it by hand,
on one machine or several (docs/training.md). An interrupted run goes on where it was.
"""

import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import click
import pandas as pd
import torch

from cnnpipe import distributed
from cnnpipe.artifacts import load_json, save_csv, save_json
from cnnpipe.checkpoint import Checkpoints, run_key
from cnnpipe.data import Dataset, load_dataset, split_validation
from cnnpipe.errors import InputError
from cnnpipe.hardware import choose_device, describe
from cnnpipe.models import build_model, save_model
from cnnpipe.params import MODEL_NAMES, ModelName, Params, load_params
from cnnpipe.preprocessing import Normalization
from cnnpipe.training import DivergedError, train
from stages.command import MODELS, RAW, REPORTS, stage


@stage
@click.argument("name", type=click.Choice(MODEL_NAMES))
def main(name: ModelName) -> None:
    if load_json(REPORTS / "verify.json")["verdict"] != "pass":
        raise InputError("reports/verify.json: the operators are wrong; training does not start")
    params = load_params()
    run = params.models.of(name)
    dataset = load_dataset(RAW)
    device = choose_device(run.device)
    if run.processes > 1 and not distributed.is_worker():
        distributed.check_device(device, run.processes)
        distributed.check_batch(run.batch_size, run.processes)
        distributed.launch(run.processes, "-m", "stages.train", name)
        return
    with distributed.process_group(device) as own_device:
        try:
            _train(name, params, dataset, own_device)
        except DivergedError:
            if distributed.rank() > 0:  # all of them know, one tells
                sys.exit(distributed.LOST)
            raise


def _train(name: ModelName, params: Params, dataset: Dataset, device: torch.device) -> None:
    run = params.models.of(name)
    training, validation = split_validation(dataset.train, params.data.validation, params.seed)
    normalization = Normalization.of(training.images)
    architecture = run.architecture() | {"classes": len(dataset.classes)}
    torch.manual_seed(params.seed)
    model = build_model(name, backend=run.backend, algorithm=run.algorithm, **architecture)
    key = run_key(
        run.model_dump(exclude={"device", "processes", "checkpoint"}),
        [dataset.train.images, dataset.train.labels],
        script=Path(__file__),
        seed=params.seed,
        validation=params.data.validation,
        classes=len(dataset.classes),
        device=device.type,
        threads=torch.get_num_threads(),
        processes=distributed.processes(),
    )
    checkpoints = Checkpoints(name, key, interval=run.checkpoint)
    first = distributed.rank() == 0
    with checkpoints.locked() if first else nullcontext():
        trained, curves = train(
            model.to(device),
            training.to(device),
            validation.to(device),
            run,
            normalization,
            seed=params.seed,
            progress=first,
            checkpoints=checkpoints,
        )
        if not first:
            return
        save_model(MODELS / f"{name}.safetensors", trained, name, architecture, normalization)
        save_csv(REPORTS / "curves" / f"{name}.csv", pd.DataFrame(map(asdict, curves)))
        seconds = checkpoints.seconds
        timing = {
            "train_seconds": round(seconds, 1),
            "epochs": run.epochs,
            "processes": distributed.processes(),
            **describe(device),
        }
        save_json(REPORTS / "timings" / f"{name}.json", timing)
        checkpoints.remove()
    click.echo(
        f"{name}: {curves[-1].validation_accuracy:.2%} of {len(validation)} validation images "
        f"after {run.epochs} epochs in {seconds:.0f} s on {device}"
    )


if __name__ == "__main__":
    main()

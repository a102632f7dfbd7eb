"""Train one model: data/models/<model>.safetensors, its learning curves, and how long it took.

An interrupted run goes on where it was; several processes may share the work: docs/training.md.
"""

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import click
import pandas as pd
import torch

from cnnpipe.data.dataset import load_dataset, split_validation
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.models import build_model, save_model
from cnnpipe.params.data import SplitParams
from cnnpipe.params.loading import load_params
from cnnpipe.params.models import MODEL_NAMES, ModelName, ModelsParams
from cnnpipe.params.runtime import RuntimeParams
from cnnpipe.params.section import Seed, Selection
from cnnpipe.system.artifacts import load_json, save_csv, save_json
from cnnpipe.system.command import MODELS, RAW, REPORTS, stage
from cnnpipe.system.errors import InputError
from cnnpipe.system.hardware import choose_device, describe
from cnnpipe.train import distributed
from cnnpipe.train.checkpoint import Checkpoints, run_key
from cnnpipe.train.loop import train


class Settings(Selection):
    seed: Seed
    data: SplitParams
    models: ModelsParams
    runtime: RuntimeParams


@stage
@click.argument("name", type=click.Choice(MODEL_NAMES))
def main(name: ModelName) -> None:
    if load_json(REPORTS / "verify.json")["verdict"] != "pass":
        raise InputError("reports/verify.json: the operators are wrong; training does not start")
    params = load_params(Settings)
    run, runtime = params.models.of(name), params.runtime
    dataset = load_dataset(RAW)
    device = choose_device(runtime.device)
    if distributed.launch(runtime.processes, device, run.batch_size, "-m", "stages.train", name):
        return
    training, validation = split_validation(dataset.train, params.data.validation, params.seed)
    data = [training.images, training.labels, validation.images, validation.labels]
    normalization = Normalization.of(training.images)
    architecture = run.architecture() | {"classes": len(dataset.classes)}
    torch.manual_seed(params.seed)
    model = build_model(name, backend=run.backend, algorithm=run.algorithm, **architecture)

    with distributed.process_group(device) as device:
        key = run_key(run, params.seed, data, Path(__file__), device.type, distributed.processes())
        saved = Checkpoints(name, key, interval=runtime.checkpoint)
        first = distributed.rank() == 0
        with saved.locked() if first else nullcontext():
            arguments = model.to(device), training.to(device), validation.to(device), run
            trained, curves = train(
                *arguments, normalization, seed=params.seed, progress=first, checkpoints=saved
            )
            if not first:
                return
            save_model(MODELS / f"{name}.safetensors", trained, name, architecture, normalization)
            save_csv(REPORTS / "curves" / f"{name}.csv", pd.DataFrame(map(asdict, curves)))
            timing = {"train_seconds": round(saved.seconds, 1), "epochs": run.epochs}
            hardware = describe(device) | {"processes": distributed.processes()}
            save_json(REPORTS / "timings" / f"{name}.json", timing | hardware)
            saved.remove()
    click.echo(
        f"{name}: {curves[-1].validation_accuracy:.2%} of {len(validation)} validation images "
        f"after {run.epochs} epochs in {timing['train_seconds']:.0f} s on {device}"
    )


if __name__ == "__main__":
    main()

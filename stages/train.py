"""Train one model: its weights, learning curves, snapshots, time. docs/training.md says how."""

from pathlib import Path

import click
import torch

from cnnpipe.data.dataset import load_dataset, split_validation
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.models import build_model, save_model
from cnnpipe.networks import MODEL_NAMES, ModelsParams, section_of
from cnnpipe.params.data import SplitParams
from cnnpipe.params.loading import load_params
from cnnpipe.params.runtime import RuntimeParams
from cnnpipe.params.section import Seed, Selection
from cnnpipe.system.artifacts import load_json, save_json
from cnnpipe.system.command import MODELS, RAW, REPORTS, SNAPSHOTS, stage
from cnnpipe.system.errors import InputError
from cnnpipe.train import distributed
from cnnpipe.train.checkpoint import resumable
from cnnpipe.train.loop import train
from cnnpipe.train.session import announce


class Settings(Selection):
    seed: Seed
    data: SplitParams
    models: ModelsParams
    runtime: RuntimeParams


@stage
@click.argument("name", type=click.Choice(MODEL_NAMES))
def main(name: str) -> None:
    if load_json(REPORTS / "verify.json")["verdict"] != "pass":
        raise InputError("reports/verify.json: the operators are wrong; training does not start")
    params = load_params(Settings)
    run, seed, runtime = section_of(name, params.models), params.seed, params.runtime
    dataset = load_dataset(RAW)
    if distributed.launch(runtime, run.batch_size, "-m", "stages.train", name):
        return
    splits = split_validation(dataset.train, params.data.validation, seed)
    normalization = Normalization.of(splits[0].images)
    architecture = run.architecture() | {"classes": len(dataset.classes)}
    torch.manual_seed(seed)
    model = build_model(name, backend=run.backend, algorithm=run.algorithm, **architecture)

    with resumable(name, run, runtime, seed, splits, Path(__file__)) as (device, saved):
        machine = announce(name, run, device)
        training, validation = (split.to(device) for split in splits)
        data = (training, validation, run, normalization)
        curves, looks = REPORTS / "curves" / f"{name}.csv", SNAPSHOTS / f"{name}.safetensors"
        trained, history = train(
            model.to(device), *data, seed=seed, checkpoints=saved, curves=curves, snapshots=looks
        )
        if distributed.rank() > 0:
            return
        file = MODELS / f"{name}.safetensors"
        save_model(file, trained, name, architecture, normalization, dataset.classes)
        timing = {"train_seconds": round(saved.seconds, 1), "epochs": run.epochs}
        save_json(REPORTS / "timings" / f"{name}.json", timing | machine)
        saved.remove()
    click.echo(
        f"{name}: {history[-1].validation_accuracy:.2%} of {len(validation)} validation images "
        f"after {run.epochs} epochs in {timing['train_seconds']:.0f} s"
    )


if __name__ == "__main__":
    main()

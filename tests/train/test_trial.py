"""What training would refuse is refused before it: DVC removes old weights when a stage begins."""

from typing import Any

import pytest
import torch

from cnnpipe.networks import MODEL_NAMES
from cnnpipe.params.loading import load_params
from cnnpipe.system.errors import InputError
from cnnpipe.train.trial import check_training
from cnnpipe.validate.schema import Params
from tests.helpers.project import ROOT

MODELS = load_params(Params, ROOT / "params.yaml").models
CPU = torch.device("cpu")


@pytest.mark.parametrize("name", MODEL_NAMES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_can_be_trained_is_not_refused(name: str, precision: str) -> None:
    run = MODELS[name].model_copy(update={"precision": precision})
    check_training(name, run, CPU, processes=2)


@pytest.mark.parametrize(
    ("changes", "device", "processes", "said"),
    [
        ({}, "cpu", 3, "batch_size: got 128; expected a multiple of 3"),
        ({}, "mps", 2, "device: got mps; expected cpu or cuda with 2 processes"),
        (
            {"algorithm": "implicit_gemm"},
            "cpu",
            1,
            "models.vgg: cannot be trained on cpu: algorithm: 'implicit_gemm' expects a CUDA",
        ),
        ({"blocks": [[4]] * 5}, "cpu", 1, "models.vgg: cannot be trained on cpu: blocks: got [[4]"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    changes: dict[str, Any], device: str, processes: int, said: str
) -> None:
    run = MODELS["vgg"].model_copy(update=changes)
    with pytest.raises(InputError) as refused:
        check_training("vgg", run, torch.device(device), processes)
    assert str(refused.value).startswith(said)

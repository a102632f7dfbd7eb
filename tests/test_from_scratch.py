"""«From scratch»: torch gives tensors, an engine and an optimiser, but no operator of this project.

The allow-list, with its reasons, is in `tests/helpers/from_scratch.py`.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cnnpipe.models import build_model, loss_function
from tests.helpers.from_scratch import ALLOWED_IN, violations
from tests.helpers.operators import operators
from tests.helpers.project import ROOT

MODULES = [
    path.relative_to(ROOT)
    for top in ("cnnpipe", "stages", "scripts")
    for path in sorted((ROOT / top).rglob("*.py"))
]
KERNELS = (
    *("conv", "pool", "relu", "sigmoid", "tanh", "im2col", "col2im", "unfold", "threshold"),
    *("batch_norm", "linear", "dropout", "bernoulli", "softmax", "nll_loss", "cross_entropy"),
)


def test_modules_use_only_the_names_of_torch_that_are_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    found = {str(module): violations(module) for module in MODULES}
    assert not {module: names for module, names in found.items() if names}
    assert {Path(module) for module in ALLOWED_IN} <= set(MODULES)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import torch\ntorch.conv2d(x, w)", "torch.conv2d"),
        ("import torch as t\ny = t.nn.Conv2d(1, 2, 3)", "torch.nn.Conv2d"),
        ("from torch import nn\nclass C(nn.Conv2d): pass", "torch.nn.Conv2d"),
        ("import torch.nn.functional as F\nF.celu(x)", "torch.nn.functional.celu"),
        ("from torch.nn.functional import relu", "torch.nn.functional.relu"),
        ("from torch.nn import *", "torch.nn.*"),
        ("def f():\n    import torch\n    torch.ops.aten.relu(x)", "torch.ops.aten.relu"),
        ("import torch\ntorch.special.expit(x)", "torch.special.expit"),
        ("import torch\ntorch.relu(x).sum()", "torch.relu"),
        ("from torch import nn\ngetattr(nn, 'Conv2d')", "torch.nn"),
        ("from torch import nn\nlayers = nn", "torch.nn"),
        ("from torch import nn\nnn.__dict__['Conv2d']", "torch.nn.__dict__"),
        ("from torch import Tensor\nTensor.relu(x)", "torch.Tensor.relu"),
        ("(x + 1).tanh()", "Tensor.tanh"),
        ("x.grad.sigmoid_()", "Tensor.sigmoid_"),
        ("from torchvision import ops\nops.nms(x)", "torchvision.ops.nms"),
        ("from torchvision.ops import Conv2dNormActivation", "torchvision.ops.Conv2dNormActi"),
    ],
)
def test_a_borrowed_operator_is_noticed(code: str, name: str) -> None:
    [found] = violations(Path("cnnpipe/train/loop.py"), code)
    assert name in found


class Watch(TorchDispatchMode):
    """Notes each kernel that torch runs, whoever calls it and under whatever name."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.kernels.add(func.name())
        namespace, name = func.name().split("::")
        if namespace == "cnnpipe":  # look inside
            with self:
                return operators()[name].compute(*args)
        return func(*args, **(kwargs or {}))


def borrowed_kernels(name: str, **overrides: Any) -> set[str]:
    """The kernels of the layers and the loss in a forward and a backward pass."""
    model = build_model(name, **overrides)
    cross_entropy = loss_function(overrides.get("backend", "scratch"))
    with Watch() as watch:
        cross_entropy(model(torch.randn(2, 1, 28, 28)), torch.tensor([0, 1])).backward()
    assert watch.kernels & {"cnnpipe::linear", "aten::addmm"}  # it is awake
    theirs = {kernel for kernel in watch.kernels if not kernel.startswith("cnnpipe::")}
    return {kernel for kernel in theirs if any(word in kernel for word in KERNELS)}


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("lenet5", {}),
        ("lenet5", {"activation": "tanh", "pooling": "avg"}),
        ("lenet5", {"activation": "sigmoid"}),
        ("vgg", {}),
    ],
)
def test_networks_run_none_of_torchs_kernels(name: str, overrides: dict[str, str]) -> None:
    assert not borrowed_kernels(name, **overrides)
    theirs = borrowed_kernels(name, backend="torch", **overrides)
    assert {"aten::convolution", "aten::convolution_backward"} < theirs
    assert {"aten::_log_softmax", "aten::nll_loss_forward"} < theirs

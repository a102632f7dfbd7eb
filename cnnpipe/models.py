"""The networks of `cnnpipe.networks`, built of layers: trained, saved, loaded, asked.

Axes: N batch, C channels, H height, W width.

The same plan is built of this project's layers (backend "scratch") or of torch's ("torch"): the
classes carry the same names, take the same arguments and draw the same random numbers, so from the
same seed both start from the same weights.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import torch
from pydantic import ValidationError
from torch import Tensor, nn

import cnnpipe.functional
import cnnpipe.layers
from cnnpipe.data.idx import IMAGE_SIDE
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.data.sources import DIGITS
from cnnpipe.functional import loops
from cnnpipe.networks import NETWORKS
from cnnpipe.params.messages import worst_problem
from cnnpipe.params.models import ModelParams
from cnnpipe.params.train import Algorithm, Backend
from cnnpipe.system.artifacts import load_weights, save_weights
from cnnpipe.system.errors import InputError

PREDICTION_BATCH = 500
"""Small enough for a block's activations to stay near the processor."""
LAYERS = (
    "AvgPool2d",
    "BatchNorm2d",
    "Conv2d",
    "Dropout",
    "Linear",
    "MaxPool2d",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
)
"""What networks are planned with, besides `Flatten`: both backends have them."""


def build_model(
    name: str,
    *,
    backend: Backend = "scratch",
    algorithm: Algorithm = "auto",
    classes: int = 10,
    **settings: Any,
) -> nn.Sequential:
    """Build a network by name.

    Shape: the network takes normalised images (N, 1, 28, 28) and returns logits (N, classes).

    Args:
        name: of `cnnpipe.networks`, such as "lenet5" or "vgg".
        backend: whose layers.
        algorithm: how the convolutions of the scratch backend are computed.
        classes: number of logits.
        settings: what the network is built with; each has a default.

    Raises:
        ValueError: unknown name, backend or algorithm, or a setting that is out of its limits.
        TypeError: a setting that the network does not have.

    >>> network = build_model("lenet5", activation="tanh", pooling="avg")
    >>> network(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    >>> sum(parameter.numel() for parameter in network.parameters())
    61706
    >>> network = build_model("vgg", blocks=[[8], [16, 16]])
    >>> [name for name, _ in network.named_children() if "conv" in name]
    ['block1_conv1', 'block2_conv1', 'block2_conv2']
    >>> def first_weights(backend):
    ...     torch.manual_seed(0)
    ...     return build_model("lenet5", backend=backend).c1.weight
    >>> torch.equal(first_weights("scratch"), first_weights("torch"))
    True
    """
    network: type[ModelParams] = _choose("model", name, NETWORKS)
    layers = _layers(backend, algorithm)
    if unknown := settings.keys() - set(network.architecture_keys()):
        allowed = ", ".join(network.architecture_keys())
        raise TypeError(f"{name} has no {', '.join(sorted(unknown))}; it has {allowed}")
    try:
        plan = network(**settings).plan(layers, classes)
    except ValidationError as error:
        raise ValueError(worst_problem(error, network.model_json_schema())) from None
    model: nn.Sequential = layers.Sequential(OrderedDict(plan))
    return model


def loss_function(backend: Backend = "scratch") -> Callable[..., Tensor]:
    """The cross-entropy of logits: this project's, or torch's for a network of torch's layers.

    >>> targets = torch.tensor([0])
    >>> loss_function("scratch")(torch.zeros(1, 2), targets, label_smoothing=0.1)  # log 2
    tensor(0.6931)
    """
    functions = {"scratch": cnnpipe.functional, "torch": nn.functional}
    function: Callable[..., Tensor] = _choose("backend", backend, functions).cross_entropy
    return function


def layers_on(
    device: torch.device, backend: Backend = "scratch", algorithm: Algorithm = "auto"
) -> str:
    """Whose layers compute on a device, and how.

    >>> layers_on(torch.device("cpu"), "torch")
    "torch's layers"
    """
    if backend == "torch":
        return "torch's layers"
    missing = loops.unsupported(torch.empty(0, device=device))
    layers = f"tensor code (the compiler of loops {missing})" if missing else "compiled loops"
    return layers if algorithm in ("auto", "compiled") else f"{layers}, convolutions by {algorithm}"


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, normalization: Normalization) -> Tensor:
    """Logits of stored images, on the device where they and the model are.

    Shape: uint8 (N, 28, 28), white on black → float32 (N, classes).

    Raises:
        TypeError: `images` is no tensor of bytes.
        ValueError: another shape.

    >>> images = torch.zeros(3, 28, 28, dtype=torch.uint8)
    >>> predict(build_model("lenet5"), images, Normalization(mean=0.13, std=0.31)).shape
    torch.Size([3, 10])
    """
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        got = getattr(images, "dtype", type(images).__name__)
        raise TypeError(f"images: got {got}; expected a tensor of torch.uint8, 0 to 255")
    if images.ndim != 3 or images.shape[1:] != (IMAGE_SIDE, IMAGE_SIDE):
        expected = f"(N, {IMAGE_SIDE}, {IMAGE_SIDE})"
        raise ValueError(f"images: got shape {tuple(images.shape)}; expected {expected}")
    with evaluation_mode(model):
        dtype = next((weight.dtype for weight in model.parameters()), torch.float32)
        batches = (normalization(batch).to(dtype) for batch in images.split(PREDICTION_BATCH))
        logits = [model(batch).float() for batch in batches]
    return torch.cat(logits)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluate within; afterwards each module has the mode that it had.

    >>> network = build_model("vgg").train()
    >>> _ = network.block1_norm1.eval()  # frozen
    >>> with evaluation_mode(network):
    ...     network.training
    False
    >>> network.training, network.block1_norm1.training
    (True, False)
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network with the normalisation of the images that it was trained on."""

    name: str
    model: nn.Sequential
    """In evaluation mode."""
    normalization: Normalization
    classes: tuple[str, ...] = DIGITS
    """Their names, in the order of the logits."""

    @classmethod
    def load(cls, path: str | Path, *, backend: Backend = "scratch") -> Self:
        """Build the network that `save_model` described, with its weights.

        Args:
            path: of a file that `save_model` wrote.
            backend: whose layers.

        Raises:
            InputError: the file is missing, damaged, or no model of this project.
        """
        state, metadata = load_weights(Path(path))
        try:
            description = json.loads(metadata["cnnpipe"])
            name = description["name"]
            model = build_model(name, backend=backend, **description["architecture"])
            model.to(state["output.weight"].dtype).load_state_dict(state)
            normalization = Normalization(**description["normalization"])
            outputs = len(state["output.weight"])
            classes = tuple(description.get("classes", _numbers(outputs)))
            if len(classes) != outputs:
                raise ValueError(f"{len(classes)} names for {outputs} classes")
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: not a model of this version: {reason}") from error
        return cls(name, model.eval(), normalization, classes)

    def to(self, device: torch.device) -> Self:
        """The same network, moved to a device."""
        self.model.to(device)
        return self

    def predict(self, images: Tensor) -> Tensor:
        """Logits of stored images.

        Shape: uint8 (N, 28, 28) → float32 (N, classes).
        """
        return predict(self.model, images, self.normalization)


def save_model(
    path: Path,
    model: nn.Module,
    name: str,
    architecture: Mapping[str, Any],
    normalization: Normalization,
    classes: Sequence[str] = DIGITS,
) -> None:
    """Write the weights with all that is needed to build the network again.

    Of a model within `torch.compile` or `DataParallel`, those are the inner network's.

    Args:
        classes: their names, in the order of the logits; "0", "1", "2", … need not be written.
    """
    description: dict[str, Any] = {
        "name": name,
        "architecture": dict(architecture),
        "normalization": {"mean": normalization.mean, "std": normalization.std},
    }
    if tuple(classes) != _numbers(len(classes)):
        description["classes"] = list(classes)
    save_weights(path, _unwrapped(model).state_dict(), {"cnnpipe": json.dumps(description)})


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _unwrapped(model: nn.Module) -> nn.Module:
    for name in ("_orig_mod", "module"):
        if isinstance(inner := getattr(model, name, None), nn.Module):
            return _unwrapped(inner)
    return model


def load_model(
    path: str | Path, *, backend: Backend = "scratch"
) -> tuple[nn.Sequential, Normalization]:
    """The network and the normalisation that `TrainedNetwork.load` reads.

    >>> model, normalization = build_model("lenet5"), Normalization(0.13, 0.31)
    >>> save_model(folder / "lenet5.safetensors", model, "lenet5", {}, normalization)
    >>> model, normalization = load_model(folder / "lenet5.safetensors")
    >>> normalization
    Normalization(mean=0.13, std=0.31)
    """
    network = TrainedNetwork.load(path, backend=backend)
    return network.model, network.normalization


def _layers(backend: str, algorithm: str) -> SimpleNamespace:
    """The classes of layers that a plan may use: this project's or torch's."""
    source: Any = _choose("backend", backend, {"scratch": cnnpipe.layers, "torch": nn})
    layers = SimpleNamespace(Flatten=nn.Flatten, **{name: getattr(source, name) for name in LAYERS})
    if backend == "scratch":
        layers.Conv2d = partial(layers.Conv2d, algorithm=algorithm)
    return layers


def _choose(what: str, name: str, choices: Mapping[str, Any]) -> Any:
    if name not in choices:
        raise ValueError(f"{what}: got {name!r}; expected {' or '.join(map(repr, choices))}")
    return choices[name]

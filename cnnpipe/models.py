"""LeNet-5 and a VGG-style network, each a list of layers that reads like the paper's table.

Axes: N batch, C channels, H height, W width. Both take normalised images (N, 1, 28, 28) and return
logits (N, classes).

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
from typing import Any, Self

import torch
from torch import Tensor, nn

import cnnpipe.functional
import cnnpipe.layers
from cnnpipe import loops
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.data.sources import DIGITS
from cnnpipe.params.models import Activation, ModelName, Pooling
from cnnpipe.params.train import Algorithm, Backend
from cnnpipe.system.artifacts import load_weights, save_weights
from cnnpipe.system.errors import InputError

IMAGE_SIZE = 28
PREDICTION_BATCH = 500
"""Small enough for a block's activations to stay near the processor."""


class _Network(cnnpipe.layers.Sequential):
    """Named layers, one after the other; some of them are an `nn.Sequential`."""

    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, slice):
            return nn.Sequential(OrderedDict(list(self.named_children())[which]))
        return super().__getitem__(which)


class LeNet5(_Network):
    """LeNet-5: 61,706 parameters; the layers carry the paper's names.

    The paper's C3 joins each map to some of S2's maps only, its S2 and S4 scale and shift, and its
    output measures distances to drawn digits. This is the form in use since: C3 joins all maps,
    pooling has no parameters, the output is linear. `activation="tanh", pooling="avg"` comes
    nearest to 1998.

    Shape: (N, 1, 28, 28) → (N, classes).

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
    recognition", Proceedings of the IEEE 86(11), 1998, section II.B.

    >>> network = LeNet5()
    >>> network(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    >>> sum(parameter.numel() for parameter in network.parameters())
    61706
    """

    def __init__(
        self,
        *,
        activation: Activation = "relu",
        pooling: Pooling = "max",
        classes: int = 10,
        backend: Backend = "scratch",
        algorithm: Algorithm = "auto",
    ) -> None:
        conv, _, act, pool, linear, _ = _layers(backend, algorithm, activation, pooling)
        super().__init__(
            OrderedDict(
                c1=conv(1, 6, 5, padding=2),  # (N, 6, 28, 28): the paper's 32×32 input is padded
                c1_act=act(),
                s2=pool(2),  # (N, 6, 14, 14)
                c3=conv(6, 16, 5),  # (N, 16, 10, 10)
                c3_act=act(),
                s4=pool(2),  # (N, 16, 5, 5)
                c5=conv(16, 120, 5),  # (N, 120, 1, 1)
                c5_act=act(),
                flatten=nn.Flatten(),  # (N, 120)
                f6=linear(120, 84),
                f6_act=act(),
                output=linear(84, classes),
            )
        )


class VGG(_Network):
    """Blocks of 3×3 convolutions, each with batch normalisation and ReLU, each block pooled 2×2.

    The paper's idea at the size of a digit: two stacked 3×3 convolutions see 5×5 pixels with 18
    weights instead of 25, and one more ReLU. Batch normalisation is later than the paper; its shift
    makes the convolutions' bias needless.

    Shape: (N, 1, 28, 28) → (N, classes).

    Args:
        blocks: output channels of each convolution, block by block.
        hidden: neurons of the fully connected layer before the logits.
        dropout: probability with which a hidden neuron is silenced in training.

    Source: Simonyan, Zisserman, "Very deep convolutional networks for large-scale image
    recognition", ICLR 2015; Ioffe, Szegedy, "Batch normalization", ICML 2015.

    >>> network = VGG(blocks=[[8], [16, 16]])
    >>> [name for name, _ in network.named_children() if "conv" in name]
    ['block1_conv1', 'block2_conv1', 'block2_conv2']
    """

    def __init__(
        self,
        *,
        blocks: Sequence[Sequence[int]] = ((16, 16), (32, 32), (64, 64)),
        hidden: int = 128,
        dropout: float = 0.3,
        classes: int = 10,
        backend: Backend = "scratch",
        algorithm: Algorithm = "auto",
    ) -> None:
        conv, norm, relu, pool, linear, silence = _layers(backend, algorithm, "relu", "max")
        if not blocks or IMAGE_SIZE >> len(blocks) == 0:
            raise ValueError(
                f"blocks: got {len(blocks)}; expected 1 to 4, as each halves {IMAGE_SIZE} pixels"
            )
        plan: OrderedDict[str, nn.Module] = OrderedDict()
        channels = 1
        for b, block in enumerate(blocks, start=1):
            for c, out_channels in enumerate(block, start=1):
                plan[f"block{b}_conv{c}"] = conv(channels, out_channels, 3, padding=1, bias=False)
                plan[f"block{b}_norm{c}"] = norm(out_channels)
                plan[f"block{b}_relu{c}"] = relu()
                channels = out_channels
            plan[f"block{b}_pool"] = pool(2)  # (N, channels, H // 2, W // 2)
        plan["flatten"] = nn.Flatten()
        plan["hidden"] = linear(channels * (IMAGE_SIZE >> len(blocks)) ** 2, hidden)
        plan["hidden_relu"] = relu()
        plan["dropout"] = silence(dropout)
        plan["output"] = linear(hidden, classes)
        super().__init__(plan)


def build_model(name: str, *, backend: Backend = "scratch", **overrides: Any) -> nn.Sequential:
    """Build a network by name, with the defaults of its class.

    Args:
        name: "lenet5" or "vgg".
        backend: whose layers.
        overrides: keyword arguments of `LeNet5` or `VGG`.

    Raises:
        ValueError: unknown name, backend, algorithm, activation or pooling.
        TypeError: an override that the network does not have.

    >>> def first_weights(backend):
    ...     torch.manual_seed(0)
    ...     return build_model("lenet5", backend=backend).c1.weight
    >>> torch.equal(first_weights("scratch"), first_weights("torch"))
    True
    """
    network: Callable[..., nn.Sequential] = _choose("model", name, {"lenet5": LeNet5, "vgg": VGG})
    return network(backend=backend, **overrides)


def loss_function(backend: Backend = "scratch") -> Callable[..., Tensor]:
    """The cross-entropy of logits: this project's, or torch's for a network of torch's layers.

    >>> targets = torch.tensor([0])
    >>> loss_function("scratch")(torch.zeros(1, 2), targets, label_smoothing=0.1)  # log 2
    tensor(0.6931)
    """
    functions = {"scratch": cnnpipe.functional, "torch": nn.functional}
    function: Callable[..., Tensor] = _choose("backend", backend, functions).cross_entropy
    return function


def layers_on(device: torch.device, backend: Backend = "scratch") -> str:
    """Whose layers compute on a device, and how.

    >>> layers_on(torch.device("cpu"), "torch")
    "torch's layers"
    """
    if backend == "torch":
        return "torch's layers"
    missing = loops.unsupported(torch.empty(0, device=device))
    return f"tensor code (the compiler of loops {missing})" if missing else "compiled loops"


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, normalization: Normalization) -> Tensor:
    """Logits of stored images, on the device where they and the model are.

    Shape: uint8 (N, 28, 28), white on black → float32 (N, classes).

    Raises:
        TypeError: `images` is no tensor of bytes.
        ValueError: another shape.

    >>> images = torch.zeros(3, 28, 28, dtype=torch.uint8)
    >>> predict(LeNet5(), images, Normalization(mean=0.13, std=0.31)).shape
    torch.Size([3, 10])
    """
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        got = getattr(images, "dtype", type(images).__name__)
        raise TypeError(f"images: got {got}; expected a tensor of torch.uint8, 0 to 255")
    if images.ndim != 3 or images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        expected = f"(N, {IMAGE_SIZE}, {IMAGE_SIZE})"
        raise ValueError(f"images: got shape {tuple(images.shape)}; expected {expected}")
    with evaluation_mode(model):
        dtype = next((weight.dtype for weight in model.parameters()), torch.float32)
        batches = (normalization(batch).to(dtype) for batch in images.split(PREDICTION_BATCH))
        logits = [model(batch).float() for batch in batches]
    return torch.cat(logits)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluate within; afterwards each module has the mode that it had.

    >>> network = VGG().train()
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

    name: ModelName
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

    def predict(self, images: Tensor) -> Tensor:
        """Logits of stored images.

        Shape: uint8 (N, 28, 28) → float32 (N, classes).
        """
        return predict(self.model, images, self.normalization)


def save_model(
    path: Path,
    model: nn.Module,
    name: ModelName,
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

    >>> save_model(folder / "lenet5.safetensors", LeNet5(), "lenet5", {}, Normalization(0.13, 0.31))
    >>> model, normalization = load_model(folder / "lenet5.safetensors")
    >>> normalization
    Normalization(mean=0.13, std=0.31)
    """
    network = TrainedNetwork.load(path, backend=backend)
    return network.model, network.normalization


def _layers(backend: str, algorithm: str, activation: str, pooling: str) -> tuple[Any, ...]:
    """The classes of convolution, normalisation, activation, pooling, linear layer, dropout."""
    layers: Any = _choose("backend", backend, {"scratch": cnnpipe.layers, "torch": nn})
    conv = layers.Conv2d
    if backend == "scratch":
        conv = partial(conv, algorithm=algorithm)
    activations = {"relu": "ReLU", "tanh": "Tanh", "sigmoid": "Sigmoid"}
    poolings = {"max": "MaxPool2d", "avg": "AvgPool2d"}
    return (
        conv,
        layers.BatchNorm2d,
        getattr(layers, _choose("activation", activation, activations)),
        getattr(layers, _choose("pooling", pooling, poolings)),
        layers.Linear,
        layers.Dropout,
    )


def _choose(what: str, name: str, choices: Mapping[str, Any]) -> Any:
    if name not in choices:
        raise ValueError(f"{what}: got {name!r}; expected {' or '.join(map(repr, choices))}")
    return choices[name]

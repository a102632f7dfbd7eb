"""The outputs and the kernels of a network's layers, and how much they contribute to later ones.

Axes: N batch, C channels, H height, W width, O output channels, kH kW kernel. Figures and tables
are made from what these functions return, so that the code that draws knows no network.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from os.path import commonprefix

import torch
from torch import Tensor, nn


@contextmanager
def capture_activations(
    model: nn.Module, layers: Collection[str] | None = None
) -> Iterator[dict[str, Tensor]]:
    """Keep the outputs of layers while the network runs.

    >>> with capture_activations(model) as activations:
    ...     logits = model(images)
    >>> activations["c1"].shape
    torch.Size([8, 6, 28, 28])

    A second run inside the same `with` replaces the first one's values. The hooks are gone
    afterwards, also when the run fails.

    The network runs as it is, so call `eval()` first where that matters.

    Args:
        layers: names as in `model.named_modules()`; None means all that contain no others.

    Yields:
        Layer name → detached copy of its output, filled in the order in which the layers run.

    Raises:
        ValueError: the network has no layer of a given name.
    """
    with _recorded(model, layers, lambda output: output.detach().clone()) as activations:
        yield activations


def convolution_filters(model: nn.Module) -> dict[str, Tensor]:
    """The kernels of every convolution, layer by layer.

    A convolution is a layer whose weight has four axes, this project's or torch's.

    Returns:
        Layer name → detached weight (O, C / groups, kH, kW), in the network's order.
    """
    return {
        name.removesuffix(".weight"): parameter.detach()
        for name, parameter in model.named_parameters()
        if parameter.ndim == 4
    }


def distinct_layers(activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out layers that pass on their inputs unchanged: flattening, dropout when evaluating."""
    distinct: dict[str, Tensor] = {}
    previous: Tensor | None = None
    for name, output in activations.items():
        if previous is None or not torch.equal(output.flatten(1), previous.flatten(1)):
            distinct[name] = output
        previous = output
    return distinct


def milestones(activations: Mapping[str, Tensor]) -> dict[str, str]:
    """The last layer of each run of layers that keep the shape, such as convolution, norm, ReLU.

    >>> shapes = {"c1": (6, 28, 28), "c1_act": (6, 28, 28), "s2": (6, 14, 14)}
    >>> milestones({name: torch.empty(shape) for name, shape in shapes.items()})
    {'c1': 'c1_act', 's2': 's2'}

    Returns:
        What the names of the run have in common → name of its last layer.
    """
    runs: list[list[str]] = []
    for name, output in activations.items():
        if runs and activations[runs[-1][-1]].shape == output.shape:
            runs[-1].append(name)
        else:
            runs.append([name])
    # Character by character is meant: "block1_conv2" and "block1_relu2" have "block1_" in common.
    return {commonprefix(run).rstrip("_") or run[-1]: run[-1] for run in runs}  # noqa: RUF071


def contributions(model: nn.Module, image: Tensor, layers: Sequence[str]) -> list[Tensor]:
    """How much each map of one layer adds to each map of the next, for one image.

    Gradient × activation: map i of layer a contributes to map j of layer b

        R[j, i] = Σ_p a[i, p] · ∂(Σ_q b[j, q]) / ∂a[i, p]

    where p and q run over the pixels. Where b depends on a through convolution, pooling, ReLU and
    linear layers, b is piecewise linear in a, so row j sums to Σ_q b[j, q] less the part that comes
    from the biases. For other activations it is the first-order part.

    Shape: image (1, C, H, W) → for each layer b (maps of b, maps of a), where a is the layer before
        it in `layers`, and the image for the first.

    Args:
        model: a network in evaluation mode.
        image: one normalised image, with its batch axis.
        layers: names, in the order in which they run. A fully connected layer's neurons count as
            maps of one pixel.

    Raises:
        ValueError: the network has no layer of a given name.

    Source: Shrikumar, Greenside, Kundaje, "Learning important features through propagating
    activation differences", ICML 2017, section 2.3.
    """
    with capture_activations(model, layers) as activations:
        model(image)
    copies = max(activations[name].shape[1] for name in layers)
    images = image.detach().repeat(copies, 1, 1, 1).requires_grad_()
    with torch.enable_grad(), _recorded(model, layers, lambda output: output) as outputs:
        model(images)
        sources = [images, *(outputs[name] for name in layers)]
        return [_contributions_between(a, b) for a, b in pairwise(sources)]


def _contributions_between(source: Tensor, target: Tensor) -> Tensor:
    """Row j comes from the j-th copy of the image, so that one backward pass gives all rows.

    Shape: source (copies, maps, …), target (copies, maps, …) → (maps of target, maps of source).
    """
    rows = target.shape[1]
    responses = target.reshape(*target.shape[:2], -1).sum(2)[:rows]  # (rows, rows)
    (gradient,) = torch.autograd.grad(responses.diagonal().sum(), source, retain_graph=True)
    shares = (gradient * source)[:rows].detach()
    return shares.reshape(*shares.shape[:2], -1).sum(2)


@contextmanager
def _recorded(
    model: nn.Module, layers: Collection[str] | None, keep: Callable[[Tensor], Tensor]
) -> Iterator[dict[str, Tensor]]:
    modules = _modules(model, layers)
    outputs: dict[str, Tensor] = {}

    def record(name: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        outputs[name] = keep(output)

    handles = [
        layer.register_forward_hook(partial(record, name)) for name, layer in modules.items()
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _modules(model: nn.Module, layers: Collection[str] | None) -> Mapping[str, nn.Module]:
    modules = dict(model.named_modules())
    innermost = [name for name, module in modules.items() if not any(module.children())]
    if layers is None:
        return {name: modules[name] for name in innermost}
    for name in layers:
        if name not in modules:
            raise ValueError(f"layers: got {name!r}; expected some of {', '.join(innermost)}")
    return {name: modules[name] for name in layers}

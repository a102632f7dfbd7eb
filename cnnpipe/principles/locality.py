"""Claim 3: local connectivity. A neuron sees a k×k patch, and through more layers a larger one.

Through layers l of kernel size k, stride s and dilation d the field grows as

    size_l = size_{l−1} + d·(k − 1)·jump_{l−1},   jump_l = jump_{l−1}·s,   size_0 = jump_0 = 1.

Experiment, on the trained networks and test images, layer by layer:

- Gradients: which pixels of the image have a gradient of the neuron in the middle of the map? All
  channels are asked at once, in a random mixture. Outside of the theoretical field each gradient
  must be exactly zero, not small.
- Pixels replaced: everything outside of the field becomes another image. A gradient says what
  happens near this image; this says that nothing happens however large the change. The neuron must
  not change by a single bit.
- The effective field: the mean size of the gradients within. The side of a square with as many
  pixels as there are above 4.55 % of the peak (two standard deviations of a Gaussian), the standard
  deviation of the gradients' positions against that of evenly spread ones, and how well a Gaussian
  describes their profile.

Refuted by one gradient outside of the field, or one bit that changes. A fully connected layer
does that: the first one of each network is measured as the contrast.

Sources: Araujo, Norris, Sim, "Computing receptive fields of convolutional neural networks", Distill
2019; Luo, Li, Urtasun, Zemel, "Understanding the effective receptive field in deep convolutional
neural networks", NeurIPS 2016.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cnnpipe.findings.finding import Finding, decide
from cnnpipe.findings.intervals import mean_interval
from cnnpipe.findings.wording import count, percent, short, title_of
from cnnpipe.functional.arguments import as_pair
from cnnpipe.geometry import receptive_field, window_extent
from cnnpipe.layers import AvgPool2d, Conv2d, MaxPool2d
from cnnpipe.principles.study import Study

NAME = "locality"
CLAIM = (
    "Local connectivity: a neuron sees only a k×k patch of the layer before it, and so, through "
    "the layers, only a known field of the image."
)
VISIBLE = 0.0455
"""Of the peak: what a Gaussian has left at two standard deviations' probability (Luo et al.)."""


@dataclass(frozen=True)
class Window:
    """How a layer slides, along either axis."""

    kernel_size: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1


@dataclass(frozen=True)
class Box:
    """The pixels from `first` to `last`, both counted, on either axis."""

    first: int
    last: int

    @property
    def side(self) -> int:
        return self.last - self.first + 1

    def within(self, side: int) -> Box:
        """The part that lies in an image; the rest is padding."""
        return Box(max(self.first, 0), min(self.last, side - 1))

    @property
    def slices(self) -> tuple[slice, slice]:
        return (slice(self.first, self.last + 1),) * 2


@dataclass(frozen=True)
class Field:
    """What the neuron in the middle of one layer's maps sees."""

    theory: int
    """Side in theory, pixels; may be larger than the image."""
    box: Box
    """The same, where it lies in the image."""
    outside: int
    """Gradients that are not zero outside of it, over all images."""
    asked: int
    """Gradients outside of it, over all images."""
    changed: int
    """Numbers of the layer that changed when all outside was replaced, over images and channels."""
    seen: int
    """Side of the smallest square that holds every gradient."""
    effective: float
    """Side of the square of as many pixels as have a gradient above `VISIBLE` of the peak."""
    spread: list[float]
    """Per image: standard deviation of the gradients' positions over that of evenly spread ones."""
    gaussian: float
    """Share of the profile's variance that a Gaussian of its mean and deviation explains, R²."""
    map: NDArray[np.float64]
    """(H, W): mean size of the gradients, relative to the peak."""


def measure(study: Study) -> Finding:
    inputs, _ = study.test_examples(study.params.locality.images)
    columns = [f"x{x}" for x in range(inputs.shape[-1])]
    rows, maps = [], []
    for model, network in study.models.items():
        for layer, fed, windows in stages(network):
            field = measure_field(fed, windows, inputs, study.seed)
            rows.append({"model": model, "layer": layer, "local": windows is not None} | row(field))
            maps += [
                {"model": model, "layer": layer, "row": y} | dict(zip(columns, line, strict=True))
                for y, line in enumerate(field.map.round(4).tolist())
            ]
    return judge(pd.DataFrame(rows), pd.DataFrame(maps), study.dataset.name, len(inputs))


def stages(network: nn.Sequential) -> Iterator[tuple[str, nn.Sequential, list[Window] | None]]:
    """The network up to each layer that slides a window, and up to the first that does not.

    Yields:
        name of the layer, the network that ends with it, and the windows up to there; None for
        a fully connected layer, which has none.
    """
    windows: list[Window] = []
    layers: list[nn.Module] = []
    for name, layer in network.named_children():
        layers.append(layer)
        if isinstance(layer, nn.Linear):
            yield name, nn.Sequential(*layers), None
            return
        if isinstance(layer, Conv2d | MaxPool2d | AvgPool2d):
            windows.append(window_of(layer))
            yield name, nn.Sequential(*layers), list(windows)


def window_of(layer: Conv2d | MaxPool2d | AvgPool2d) -> Window:
    """The window of a layer that treats both axes alike.

    Raises:
        ValueError: it does not.
    """
    arguments = {}
    for name in ("kernel_size", "stride", "padding", "dilation"):
        vertical, horizontal = as_pair(getattr(layer, name, 1), name, least=0)
        if vertical != horizontal:
            raise ValueError(f"{name}: expected the same on both axes, got {vertical, horizontal}")
        arguments[name] = vertical
    return Window(**arguments)


def field_of(unit: int, windows: Sequence[Window]) -> Box:
    """The pixels that output pixel `unit` of the last window sees, by theory.

    Backwards, layer by layer: output pixels a … b see input pixels a·s − p … b·s − p + d·(k − 1).
    """
    first = last = unit
    for window in reversed(windows):
        first = first * window.stride - window.padding
        last = last * window.stride - window.padding
        last += window_extent(window.kernel_size, window.dilation) - 1
    return Box(first, last)


def measure_field(
    network: nn.Module, windows: Sequence[Window] | None, inputs: Tensor, seed: int
) -> Field:
    """Measure one layer's field.

    Shape: inputs (N, 1, H, W); the network's output (N, C, H_out, W_out) or (N, C).

    Args:
        network: up to and with the layer, in evaluation mode.
        windows: what it claims to be; None claims nothing, so that the field is the whole image.
    """
    side = inputs.shape[-1]
    images = inputs.detach().clone().requires_grad_()
    middle = _middle(network(images))  # (N, C)
    generator = torch.Generator().manual_seed(seed)
    mixture = torch.randn(middle.shape, generator=generator)
    (gradient,) = torch.autograd.grad((middle * mixture).sum(), images)
    sizes = gradient[:, 0].abs().double().numpy()  # (N, H, W)

    if windows is None:
        theory, box = side, Box(0, side - 1)
    else:
        theory = receptive_field((w.kernel_size, w.stride, w.dilation) for w in windows)[-1].size
        with torch.no_grad():
            unit = network(inputs[:1]).shape[-1] // 2
        box = field_of(unit, windows).within(side)
    outside = np.ones((side, side), dtype=bool)
    outside[box.slices] = False

    mean = sizes.mean(axis=0)
    peak = mean.max() or 1.0
    seen = np.argwhere(mean > 0)
    return Field(
        theory=theory,
        box=box,
        outside=int(np.count_nonzero(sizes[:, outside])),
        asked=len(sizes) * int(outside.sum()),
        changed=_changed(network, inputs, middle.detach(), box),
        seen=int(np.ptp(seen, axis=0).max()) + 1 if len(seen) else 0,
        effective=float(np.sqrt((mean > VISIBLE * peak).sum())),
        spread=[_deviation(image) / _even(box) for image in sizes if image.any() and box.side > 1],
        gaussian=_gaussian_fit(mean[box.slices]),
        map=mean / peak,
    )


def _middle(output: Tensor) -> Tensor:
    """
    Shape: (N, C, H, W) or (N, C) → (N, C).
    """
    return output[:, :, output.shape[2] // 2, output.shape[3] // 2] if output.ndim == 4 else output


@torch.no_grad()
def _changed(network: nn.Module, inputs: Tensor, middle: Tensor, box: Box) -> int:
    """How many numbers change when all outside of the box comes from the next image."""
    replaced = inputs.roll(1, dims=0)
    rows, columns = box.slices
    replaced[:, :, rows, columns] = inputs[:, :, rows, columns]
    return int((_middle(network(replaced)) != middle).sum())


def _deviation(weights: NDArray[np.float64]) -> float:
    """Standard deviation of the positions of a map's mass, root mean square of both axes."""
    variances = []
    for axis in (0, 1):
        profile = weights.sum(axis=axis) / weights.sum()
        positions = np.arange(len(profile))
        variances.append((profile * (positions - profile @ positions) ** 2).sum())
    return float(np.sqrt(np.mean(variances)))


def _even(box: Box) -> float:
    """Standard deviation of evenly spread positions in a box."""
    return float(np.sqrt((box.side**2 - 1) / 12))


def _gaussian_fit(field: NDArray[np.float64]) -> float:
    """R² of a Gaussian with the profile's own mean and deviation; 0 where a flat line fits better.

    Shape: (side, side).
    """
    profile = field.sum(axis=0) + field.sum(axis=1)
    positions = np.arange(len(profile))
    if profile.std() == 0:
        return 0.0
    shares = profile / profile.sum()
    mean = shares @ positions
    gaussian = np.exp(-((positions - mean) ** 2) / (2 * (shares @ (positions - mean) ** 2)))
    scaled = gaussian * (gaussian @ profile) / (gaussian @ gaussian)
    unexplained = ((profile - scaled) ** 2).sum() / ((profile - profile.mean()) ** 2).sum()
    return max(0.0, float(1 - unexplained))


def row(field: Field) -> dict[str, Any]:
    """A field as a row of the table."""
    low, high = mean_interval(field.spread) if len(field.spread) > 1 else (np.nan, np.nan)
    return {
        "theory": field.theory,
        "first": field.box.first,
        "last": field.box.last,
        "outside": field.outside,
        "asked": field.asked,
        "changed": field.changed,
        "seen": field.seen,
        "effective": field.effective,
        "spread": (low + high) / 2,
        "spread_low": low,
        "spread_high": high,
        "gaussian": field.gaussian,
    }


def judge(layers: pd.DataFrame, maps: pd.DataFrame, dataset: str, images: int) -> Finding:
    """Nothing may come from outside of a local layer's field."""
    local, full = layers[layers["local"]], layers[~layers["local"]]
    outside, asked, changed = (int(local[c].sum()) for c in ("outside", "asked", "changed"))
    filled = int((local["seen"] == local["last"] - local["first"] + 1).sum())
    statement = (
        f"In {count(len(local), 'convolution and pooling layer')} of "
        f"{count(layers['model'].nunique(), 'network')}, {outside:,} of {asked:,} gradients "
        "outside of the theoretical field are not zero, and when everything outside is replaced by "
        f"another image {changed:,} of the neuron’s numbers change. The field is used to its edges "
        f"in {filled} of {len(local)} layers."
    )
    inner = local[local["last"] - local["first"] + 1 == local["theory"]]  # not cut by the edge
    if len(inner):
        deepest = inner.sort_values("theory").iloc[-1]
        narrower = deepest["spread_high"] < 1
        statement += (
            f" Within it the influence is {'' if narrower else 'not '}concentrated: in "
            f"{deepest['layer']} it spreads {short(deepest['spread'])} times as wide as an even "
            f"one (95 % interval {short(deepest['spread_low'])} to "
            f"{short(deepest['spread_high'])}), and a Gaussian explains "
            f"{percent(deepest['gaussian'])} of its profile; "
            f"{short(deepest['effective'])} of {deepest['theory']} pixels of the side matter."
        )
    if len(full):
        statement += (
            f" A fully connected layer sees {full['seen'].max()}×{full['seen'].max()} pixels."
        )
    return Finding(
        name=NAME,
        claim=CLAIM,
        verdict=decide(not outside and not changed),
        statement=statement,
        number=outside,
        unit=f"of {asked:,} gradients outside of the theoretical fields are not zero",
        interval=None,
        uncertainty="exact: every pixel outside, over all images; zero means zero, not small",
        tables={"layers": layers, "maps": maps},
        details={"outside": outside, "asked": asked, "changed": changed, "filled": filled},
        question="Which pixels can a neuron see, and which does it look at?",
        data=(
            f"The neuron in the middle of each layer’s maps, over {count(images, 'test image')} of "
            f"{title_of(dataset)}; the networks as trained."
        ),
        limits=(
            "What the neuron looks for. Neurons near the edge, whose fields are cut off; and the "
            "effective field of other images than these."
        ),
    )

"""The operators as modules that take the place of torch.nn's.

Arguments, initial weights and the keys of `state_dict` are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from cnnpipe.functional import (
    avg_pool2d,
    batch_norm,
    conv2d,
    dropout,
    linear,
    max_pool2d,
    relu,
    sigmoid,
    tanh,
)
from cnnpipe.functional.arguments import IntOrPair, as_int, as_pair, pooling_arguments
from cnnpipe.functional.block import (
    ALGORITHMS,
    Kernels,
    Normalization,
    are_readable,
    block,
    can_fuse,
)
from cnnpipe.functional.convolution import check_algorithm
from cnnpipe.functional.convolution_arguments import Padding, as_padding, padding_sides
from cnnpipe.functional.operator import let_count

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class Conv2d(nn.Module):
    """Learned cross-correlation, `torch.nn.Conv2d` over `cnnpipe.functional.conv2d`.

    Weights and biases start uniform in ±1/√(C/groups·kH·kW), drawn in torch's order: the same seed
    gives the same weights.

    Shape:
        (N, in_channels, H, W) → (N, out_channels, H_out, W_out)

    >>> layer = Conv2d(1, 6, 5, padding=2)
    >>> layer(torch.zeros(10, 1, 28, 28)).shape
    torch.Size([10, 6, 28, 28])
    >>> sum(parameter.numel() for parameter in layer.parameters())  # 6·(5·5 + 1)
    156
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: Padding = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        algorithm: str = "auto",
    ) -> None:
        super().__init__()
        self.in_channels = as_int(in_channels, "in_channels", least=1)
        self.out_channels = as_int(out_channels, "out_channels", least=1)
        self.kernel_size = as_pair(kernel_size, "kernel_size", least=1)
        self.stride = as_pair(stride, "stride", least=1)
        self.padding = as_padding(padding, self.stride)
        self.dilation = as_pair(dilation, "dilation", least=1)
        self.groups = as_int(groups, "groups", least=1)
        self.padding_mode = padding_mode
        self.algorithm = check_algorithm(algorithm)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"groups: expected a divisor of in_channels {self.in_channels} and out_channels "
                f"{self.out_channels}, got {self.groups}"
            )
        if padding_mode not in get_args(PaddingMode):
            raise ValueError(
                f"padding_mode: expected one of {', '.join(get_args(PaddingMode))}, "
                f"got {padding_mode!r}"
            )
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias: nn.Parameter | None
        if bias:
            self.bias = nn.Parameter(torch.empty(self.out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()
        let_count()

    def reset_parameters(self) -> None:
        """Draw new weights: uniform with variance 1/(3·fan_in) (LeCun et al. 1998, torch's)."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        kernels = self.kernels
        is_image = input.ndim == 4 and self._is_usual and can_fuse(input, self.algorithm)
        if is_image and are_readable(input.get_device(), *kernels[:2]):
            return block(input, kernels, has_relu=False, pool=1)
        if self.padding_mode != "zeros":
            sides = padding_sides(self.padding, self.kernel_size, self.dilation)
            input = nn.functional.pad(input, sides[2:] + sides[:2], self.padding_mode)
            kernels = kernels._replace(padding=0)
        return conv2d(input, *kernels[:-1], algorithm=self.algorithm)

    @property
    def kernels(self) -> Kernels:
        """Arguments of `conv2d` after the input; a parametrization computes the weight."""
        windows = self.stride, self.padding, self.dilation, self.groups
        return Kernels(self.weight, self.bias, *windows, self.algorithm)

    def fits_block(self, device: int) -> bool:
        """Whether this layer can be computed together with its neighbours on a device."""
        return self._is_usual and are_readable(device, self.weight, self.bias)

    @property
    def _is_usual(self) -> bool:
        return self.padding_mode == "zeros" and self.algorithm in ALGORITHMS

    def extra_repr(self) -> str:
        parts = [
            f"{self.in_channels}, {self.out_channels}",
            f"kernel_size={self.kernel_size}",
            f"stride={self.stride}",
        ]
        if self.padding != (0, 0):
            parts.append(f"padding={self.padding}")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        if self.dilation != (1, 1):
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.algorithm != "auto":
            parts.append(f"algorithm={self.algorithm!r}")
        return ", ".join(parts)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation, `torch.nn.BatchNorm2d` over `cnnpipe.functional.batch_norm`.

    Parameters, running statistics and all that torch does to them are torch's.

    Shape:
        (N, num_features, H, W) → (N, num_features, H, W)

    >>> layer = BatchNorm2d(1)
    >>> layer(torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)).detach().flatten()  # mean 2, variance 1
    tensor([-1.0000,  1.0000])
    >>> layer.running_mean  # a tenth of the way from 0 to 2
    tensor([0.2000])
    """

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        return batch_norm(input, *self.count_and_arguments())

    def fits_block(self, device: int) -> bool:
        """Whether this layer can be computed together with its neighbours on a device."""
        weight, bias = self.weight, self.bias
        tensors = weight, bias, self.running_mean, self.running_var
        return weight is not None and bias is not None and are_readable(device, *tensors)

    def count_and_arguments(self) -> Normalization:
        """Those of `batch_norm` after the input; in training one more batch is counted."""
        training = self.training or self.running_mean is None
        tracked = self.track_running_stats or not self.training
        momentum = self.momentum
        if self.training and tracked and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if momentum is None:  # the mean over all batches
                momentum = 1 / float(self.num_batches_tracked)
        return Normalization(
            self.running_mean if tracked else None,
            self.running_var if tracked else None,
            self.weight,
            self.bias,
            training,
            0.0 if momentum is None else momentum,
            self.eps,
        )


class MaxPool2d(nn.Module):
    """Largest entry of each window, `torch.nn.MaxPool2d` over `cnnpipe.functional.max_pool2d`.

    Shape:
        (N, C, H, W) → (N, C, H_out, W_out), with `return_indices` a pair of them

    >>> MaxPool2d(2)(torch.tensor([[[1.0, 2.0], [4.0, 3.0]]]))
    tensor([[[4.]]])
    """

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        dilation: IntOrPair = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        pooling_arguments(kernel_size, stride, padding, dilation)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return max_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )

    def fits_block(self, device: int) -> bool:  # noqa: ARG002
        """Whether this layer can be computed together with its neighbours on a device."""
        return self.square > 1

    @property
    def square(self) -> int:
        """Side of windows that are squares side by side and cover the input; else 1."""
        side = self.kernel_size
        plain = (self.stride, self.padding, self.dilation) == (side, 0, 1)
        if plain and isinstance(side, int) and not (self.ceil_mode or self.return_indices):
            return side
        return 1

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(nn.Module):
    """Mean of each window, `torch.nn.AvgPool2d` over `cnnpipe.functional.avg_pool2d`.

    Shape:
        (N, C, H, W) → (N, C, H_out, W_out)

    >>> AvgPool2d(2)(torch.tensor([[[1.0, 2.0], [4.0, 3.0]]]))  # (1 + 2 + 4 + 3) / 4
    tensor([[[2.5000]]])
    """

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        pooling_arguments(kernel_size, stride, padding, dilation=1)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class ReLU(nn.Module):
    """max(0, x), `torch.nn.ReLU` over `cnnpipe.functional.relu`.

    >>> ReLU()(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return relu(input, self.inplace)

    def fits_block(self, device: int) -> bool:  # noqa: ARG002
        """Whether this layer can be computed together with its neighbours on a device."""
        return not self.inplace

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class Sigmoid(nn.Module):
    """1 / (1 + e^−x), `torch.nn.Sigmoid` over `cnnpipe.functional.sigmoid`.

    >>> Sigmoid()(torch.tensor([0.0, 1.0]))
    tensor([0.5000, 0.7311])
    """

    def forward(self, input: Tensor) -> Tensor:
        return sigmoid(input)


class Tanh(nn.Module):
    """Hyperbolic tangent, `torch.nn.Tanh` over `cnnpipe.functional.tanh`.

    >>> Tanh()(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 0.7616])
    """

    def forward(self, input: Tensor) -> Tensor:
        return tanh(input)


class Linear(nn.Linear):
    """Learned linear map and shift, `torch.nn.Linear` over `cnnpipe.functional.linear`.

    Shape:
        (…, in_features) → (…, out_features)

    >>> layer = Linear(120, 84)
    >>> layer(torch.zeros(10, 120)).shape
    torch.Size([10, 84])
    """

    def reset_parameters(self) -> None:
        super().reset_parameters()
        let_count()

    def forward(self, input: Tensor) -> Tensor:
        kernels = self.kernels
        is_matrix = input.ndim == 2 and can_fuse(input)
        if is_matrix and are_readable(input.get_device(), *kernels[:2]):
            return block(input, kernels, has_relu=False, pool=1)
        return linear(input, *kernels[:2])

    @property
    def kernels(self) -> Kernels:
        """Arguments of `linear` after the input."""
        return Kernels(self.weight, self.bias)

    def fits_block(self, device: int) -> bool:
        """Whether this layer can be computed together with its neighbours on a device."""
        return are_readable(device, self.weight, self.bias)


class Dropout(nn.Dropout):
    """Random zeros in training, `torch.nn.Dropout` over `cnnpipe.functional.dropout`.

    >>> Dropout(0.5).eval()(torch.ones(3))
    tensor([1., 1., 1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p, self.training, self.inplace)


class Sequential(nn.Sequential):
    """Layers one after the other, as `torch.nn.Sequential`.

    A convolution, a batch normalisation, a ReLU and a max pooling that follow each other, or some
    of them, are computed by one function where they can be, and if no hook wants to see what lies
    between them. On a CPU the output is the same; gradients may be sums in another order. On a
    GPU, of 16-bit numbers, only results of convolutions and of the whole are rounded to 16 bits.

    >>> network = Sequential(BatchNorm2d(1), ReLU(), MaxPool2d(2))
    >>> network(torch.tensor([1.0, 3.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)).flatten().tolist()
    [0.0, 0.9999949932098389]
    """

    def forward(self, input: Tensor) -> Tensor:
        layers = list(self)
        while layers:
            algorithm = layers[0].algorithm if isinstance(layers[0], Conv2d) else "auto"
            count, found = 0, _Block()
            if can_fuse(input, algorithm):
                count, found = _Block.at_start(layers, input)
            if count > 1:
                input, layers = found(input), layers[count:]
            else:
                first, *layers = layers
                input = first(input)
        return input


@dataclass
class _Block:
    """Layers that are computed together."""

    product: Conv2d | Linear | None = None
    norm: BatchNorm2d | None = None
    act: ReLU | None = None
    pool: MaxPool2d | None = None

    @classmethod
    def at_start(cls, layers: Sequence[Any], input: Tensor) -> tuple[int, Self]:
        """How many layers at the start are a block of images (4 axes) or rows (2), and which."""
        found: dict[str, Any] = {}
        device = input.get_device()
        free = list(_PLACES[input.ndim].items())
        for layer in layers:
            while free and free[0][0] is not type(layer):  # a subclass may differ
                del free[0]
            if not free or not layer.fits_block(device) or _is_watched(layer):
                break
            found[free.pop(0)[1]] = layer
        return len(found), cls(**found)

    def __call__(self, input: Tensor) -> Tensor:
        return block(
            input,
            None if self.product is None else self.product.kernels,
            None if self.norm is None else self.norm.count_and_arguments(),
            has_relu=self.act is not None,
            pool=1 if self.pool is None else self.pool.square,
        )


_PLACES: dict[int, dict[type, str]] = {
    2: {Linear: "product", ReLU: "act"},
    4: {Conv2d: "product", BatchNorm2d: "norm", ReLU: "act", MaxPool2d: "pool"},
}
"""The order of layers in a block of rows or images."""


def _is_watched(layer: nn.Module) -> bool:
    """Whether a hook, or a `forward` of its own, expects this layer to be called."""
    own = vars(layer)
    return bool(
        "forward" in own
        or own["_forward_hooks"]
        or own["_forward_pre_hooks"]
        or own["_backward_hooks"]
        or own["_backward_pre_hooks"]
        or nn.modules.module._has_any_global_hook()
    )

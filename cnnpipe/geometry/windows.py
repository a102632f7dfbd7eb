"""Where windows lie: sizes and padding, in integers only.

Convolution and pooling slide the same window, so one set of formulas serves both. Axis names: N
batch, C input channels, O output channels, H height, W width, kH kW kernel. Sizes are in pixels of
the tensor that the window slides over.

Source: Dumoulin, Visin: A guide to convolution arithmetic for deep learning (arXiv:1603.07285).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Self

Pair = tuple[int, int]


def output_size(
    size: int,
    kernel_size: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
) -> int:
    """The number of windows that fit along one axis.

    ⌊(H + 2·padding − dilation·(kernel_size − 1) − 1) / stride + 1⌋

    With `ceil_mode` the quotient is rounded up instead, so that the last window may hang over the
    end; a window that would start behind the last pixel, in the padding, is dropped.

    Args:
        size: length H of the axis.
        kernel_size: entries of the window along the axis.
        stride: pixels between the starts of neighbouring windows.
        padding: pixels added at each of the two ends.
        dilation: pixels between neighbouring entries of one window.
        ceil_mode: keep a last window that is not complete.

    Raises:
        ValueError: a value is out of range, or the window is longer than the padded axis.

    >>> output_size(28, kernel_size=5)  # (28 − 5) / 1 + 1
    24
    >>> output_size(8, kernel_size=3, stride=2), output_size(8, 3, 2, ceil_mode=True)
    (3, 4)
    """
    for name, value, least in [
        ("size", size, 0),
        ("kernel_size", kernel_size, 1),
        ("stride", stride, 1),
        ("padding", padding, 0),
        ("dilation", dilation, 1),
    ]:
        if value < least:
            raise ValueError(f"{name}: expected an int ≥ {least}, got {value}")
    room = size + 2 * padding - window_extent(kernel_size, dilation)
    if not ceil_mode:
        if room < 0:
            raise _does_not_fit(size, kernel_size, padding, dilation)
        return room // stride + 1
    count = -(-room // stride) + 1
    if (count - 1) * stride >= size + padding:
        count -= 1
    if count < 1:
        raise _does_not_fit(size, kernel_size, padding, dilation)
    return count


def _does_not_fit(size: int, kernel_size: int, padding: int, dilation: int) -> ValueError:
    return ValueError(
        f"the window must fit into the padded input: kernel_size {kernel_size} with dilation "
        f"{dilation} covers {window_extent(kernel_size, dilation)} pixels, got an input of {size} "
        f"with padding {padding}, {size + 2 * padding} in all"
    )


def window_extent(kernel_size: int, dilation: int = 1) -> int:
    """The number of pixels from the first to the last entry of a window, both counted.

    >>> window_extent(3, dilation=2)  # x . x . x
    5
    """
    return dilation * (kernel_size - 1) + 1


def same_padding(kernel_size: int, dilation: int = 1) -> Pair:
    """Padding (before, after) that keeps the size of an axis at stride 1.

    Of an odd total the larger half goes to the end, as in torch.

    >>> same_padding(3), same_padding(4)
    ((1, 1), (1, 2))
    """
    total = window_extent(kernel_size, dilation) - 1
    return total // 2, total - total // 2


@dataclass(frozen=True)
class WindowGeometry:
    """The windows of one convolution or pooling over an (H, W) plane.

    >>> geometry = WindowGeometry((8, 8), kernel_size=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1))
    >>> geometry.padded_size, geometry.output_size  # ⌊(10 − 3) / 2⌋ + 1
    ((10, 10), (4, 4))
    """

    input_size: Pair
    kernel_size: Pair
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Pixels added at the top, bottom, left and right; negative ones are cut off."""
    dilation: Pair = (1, 1)

    @property
    def padded_size(self) -> Pair:
        top, bottom, left, right = self.padding
        return self.input_size[0] + top + bottom, self.input_size[1] + left + right

    @property
    def extent(self) -> Pair:
        """Pixels that one window spans."""
        return (
            window_extent(self.kernel_size[0], self.dilation[0]),
            window_extent(self.kernel_size[1], self.dilation[1]),
        )

    @property
    def output_size(self) -> Pair:
        return (
            (self.padded_size[0] - self.extent[0]) // self.stride[0] + 1,
            (self.padded_size[1] - self.extent[1]) // self.stride[1] + 1,
        )

    @property
    def overlaps(self) -> bool:
        """Whether neighbouring windows span common pixels."""
        return self.stride[0] < self.extent[0] or self.stride[1] < self.extent[1]

    def without_idle_steps(self) -> Self:
        """The same windows, with a stride or dilation made short where it has no effect.

        It has none along an axis with one window, or with one entry in each window.
        """
        (kH, kW), (H, W) = self.kernel_size, self.padded_size
        stride = min(self.stride[0], H), min(self.stride[1], W)
        dilation = self.dilation[0] if kH > 1 else 1, self.dilation[1] if kW > 1 else 1
        if (stride, dilation) == (self.stride, self.dilation):
            return self
        return replace(self, stride=stride, dilation=dilation)

    @property
    def numbers(self) -> list[int]:
        """All fields in one list, which an operator's schema can take."""
        return [*chain(*(v if isinstance(v, tuple) else (v,) for v in vars(self).values()))]

    @classmethod
    def of(cls, numbers: Sequence[int]) -> Self:
        """The geometry with these `numbers`."""
        H, W, kH, kW, sH, sW, top, bottom, left, right, dH, dW, *groups = numbers
        sides = top, bottom, left, right
        return cls((H, W), (kH, kW), (sH, sW), sides, (dH, dW), *groups)

    @property
    def taps(self) -> list[Pair]:
        """The entries (i, j) of the kernel, row by row."""
        return [(i, j) for i in range(self.kernel_size[0]) for j in range(self.kernel_size[1])]


@dataclass(frozen=True)
class ConvolutionGeometry(WindowGeometry):
    """The windows of a convolution whose channels fall into `groups` separate ones.

    >>> geometry = ConvolutionGeometry((8, 8), kernel_size=(3, 3), stride=(2, 2))
    >>> geometry.output_size, geometry.stretched_size  # 3 pixels, and a zero between any two
    ((3, 3), (5, 5))
    >>> geometry.adjoint().output_size
    (8, 8)
    """

    groups: int = 1

    @property
    def stretched_size(self) -> Pair:
        """Size of the output with stride − 1 zeros between its pixels."""
        return (
            (self.output_size[0] - 1) * self.stride[0] + 1,
            (self.output_size[1] - 1) * self.stride[1] + 1,
        )

    def adjoint(self) -> ConvolutionGeometry:
        """The windows that carry a gradient back from the output to the input.

        Input pixel p meets tap i in the window that starts at p − i·dilation + padding. Seen from
        the input, the stretched output is read backwards: stride 1, a flipped kernel, and
        dilation·(k − 1) − padding pixels before the first. What the stride left over at the end
        becomes padding after the last, so that the result has the input's size.
        """
        (H, W), (stretched_H, stretched_W) = self.input_size, self.stretched_size
        top = self.extent[0] - 1 - self.padding[0]
        left = self.extent[1] - 1 - self.padding[2]
        bottom = H + self.extent[0] - 1 - stretched_H - top
        right = W + self.extent[1] - 1 - stretched_W - left
        return replace(
            self,
            input_size=self.stretched_size,
            stride=(1, 1),
            padding=(top, bottom, left, right),
        )

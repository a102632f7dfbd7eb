"""Parameters and multiply-adds of a convolution. C, O: channels; kH kW: kernel."""

from cnnpipe.geometry.windows import Pair


def conv2d_parameters(
    in_channels: int, out_channels: int, kernel_size: Pair, *, groups: int = 1, bias: bool = True
) -> int:
    """Learned numbers of a convolution: O·(C / groups)·kH·kW, and O biases.

    >>> conv2d_parameters(1, 6, (5, 5))  # 6·(1·5·5 + 1), LeNet-5's C1
    156
    """
    weights = out_channels * (in_channels // groups) * kernel_size[0] * kernel_size[1]
    return weights + (out_channels if bias else 0)


def conv2d_macs(
    in_channels: int, out_channels: int, kernel_size: Pair, output_size: Pair, *, groups: int = 1
) -> int:
    """Multiply-adds of a convolution for one image: one per weight and output pixel.

    >>> conv2d_macs(1, 6, (5, 5), (28, 28))  # 6·25·784
    117600
    """
    weights = conv2d_parameters(in_channels, out_channels, kernel_size, groups=groups, bias=False)
    return weights * output_size[0] * output_size[1]

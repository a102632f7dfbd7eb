"""Convolution and pooling in integers: sizes, windows, receptive fields, counts.

windows.py           where windows lie: output sizes, padding
receptive_field.py   what an output pixel sees of the input
counts.py            parameters and multiply-adds
"""

from cnnpipe.geometry.counts import conv2d_macs, conv2d_parameters
from cnnpipe.geometry.receptive_field import ReceptiveField, receptive_field
from cnnpipe.geometry.windows import (
    ConvolutionGeometry,
    Pair,
    WindowGeometry,
    output_size,
    same_padding,
    window_extent,
)

__all__ = [
    "ConvolutionGeometry",
    "Pair",
    "ReceptiveField",
    "WindowGeometry",
    "conv2d_macs",
    "conv2d_parameters",
    "output_size",
    "receptive_field",
    "same_padding",
    "window_extent",
]

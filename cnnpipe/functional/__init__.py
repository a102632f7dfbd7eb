"""The operators of a convolutional network, written out in tensor code with their derivatives."""

from cnnpipe.functional.activation import relu, sigmoid, tanh
from cnnpipe.functional.convolution import CONV2D_ALGORITHMS, conv2d, convolve2d
from cnnpipe.functional.pooling import avg_pool2d, max_pool2d

__all__ = [
    "CONV2D_ALGORITHMS",
    "avg_pool2d",
    "conv2d",
    "convolve2d",
    "max_pool2d",
    "relu",
    "sigmoid",
    "tanh",
]

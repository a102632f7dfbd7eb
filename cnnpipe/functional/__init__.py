"""The operators of a convolutional network, written out in tensor code with their derivatives."""

from cnnpipe.functional.activation import relu, sigmoid, tanh
from cnnpipe.functional.convolution import (
    CONV2D_ALGORITHMS,
    UnsupportedError,
    conv2d,
    conv2d_algorithm,
    convolve2d,
)
from cnnpipe.functional.dropout import dropout
from cnnpipe.functional.linear import linear
from cnnpipe.functional.loss import cross_entropy
from cnnpipe.functional.normalization import batch_norm
from cnnpipe.functional.pooling import avg_pool2d, max_pool2d

__all__ = [
    "CONV2D_ALGORITHMS",
    "UnsupportedError",
    "avg_pool2d",
    "batch_norm",
    "conv2d",
    "conv2d_algorithm",
    "convolve2d",
    "cross_entropy",
    "dropout",
    "linear",
    "max_pool2d",
    "relu",
    "sigmoid",
    "tanh",
]

"""The operators of a convolutional network, written out in tensor code with their derivatives.

What is called:

    convolution.py              the three functions of a convolution, and the choice of an algorithm
    pooling.py                  maximum and average
    normalization.py            of batches
    activation.py               ReLU, sigmoid, tanh
    linear.py                   the fully connected layer
    dropout.py                  a product with random zeros
    loss.py                     softmax cross-entropy
    block.py                    a product with weights and the layers behind it, as one function

A convolution's algorithms:

    direct.py                   the formula
    im2col.py                   one matrix product
    winograd.py                 fewer multiplications, by polynomials
    fft.py                      a multiplication at each frequency
    compiled.py                 loops in machine code; linear layers, too
    implicit_gemm.py            one matrix product on a GPU, without its columns

What they share:

    operator.py                 a formula as an operator that all of PyTorch knows
    bilinear.py                 operators that are linear in two operands
    convolution_operator.py     what the three functions of a convolution have in common
    convolution_arguments.py    what a convolution accepts
    arguments.py                checks that several operators make
    windows.py                  sliding windows, and their adjoint
    winners.py                  the maximum of a window
    autocast.py                 mixed precision
    onnx.py                     export

Kernels, for a CPU by the compiler in `loops`, for a GPU by Triton:

    compiled_kernels.py         convolution
    block_kernels.py            normalisation, ReLU and pooling in one pass
    activation_kernels.py       the sigmoid
    loss_kernels.py             the loss
    gpu_block.py                `block_kernels` for a GPU: launches
    gpu_block_kernels.py        and what they launch
    implicit_gemm_kernels.py    the GPU's matrix products
    loops/                      the compiler
"""

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

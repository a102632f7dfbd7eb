import itertools

import pytest
import torch
from torch import nn

from cnnpipe.geometry import (
    ConvolutionGeometry,
    ReceptiveField,
    conv2d_parameters,
    output_size,
    receptive_field,
    same_padding,
)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("kernel_size", range(1, 6))
def test_output_size_is_that_of_torch(kernel_size: int, ceil_mode: bool) -> None:
    for size, stride, padding, dilation in itertools.product(
        range(1, 15), range(1, 6), range(kernel_size // 2 + 1), range(1, 4)
    ):
        arguments = (kernel_size, stride, padding, dilation, ceil_mode)
        image = torch.zeros(1, 1, size)
        try:
            expected = nn.functional.max_pool1d(image, *arguments).shape[-1]
        except RuntimeError:
            with pytest.raises(ValueError, match="must fit into the padded input"):
                output_size(size, *arguments)
        else:
            assert output_size(size, *arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 3), "size: expected an int ≥ 0, got -1"),
        ((5, 0), "kernel_size: expected an int ≥ 1, got 0"),
        ((5, 3, 0), "stride: expected an int ≥ 1, got 0"),
        ((5, 3, 1, -1), "padding: expected an int ≥ 0, got -1"),
        ((5, 3, 1, 0, 0), "dilation: expected an int ≥ 1, got 0"),
        ((4, 3, 1, 0, 2), "kernel_size 3 with dilation 2 covers 5 pixels, got an input of 4"),
    ],
)
def test_output_size_refuses(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        output_size(*arguments)


def test_same_padding_puts_the_odd_pixel_at_the_end() -> None:
    assert same_padding(3, dilation=2) == (2, 2)
    assert same_padding(1) == (0, 0)


def test_adjoint_geometry_has_the_size_of_the_input() -> None:
    # 8 → ⌊(8 + 2 − 3) / 2⌋ + 1 = 4; stretched 7; 7 + top 1 + bottom 2 − 3 + 1 = 8
    geometry = ConvolutionGeometry((8, 8), (3, 3), stride=(2, 2), padding=(1, 1, 1, 1))
    assert geometry.output_size == (4, 4)
    assert geometry.stretched_size == (7, 7)
    assert geometry.adjoint().padding == (1, 2, 1, 2)
    assert geometry.adjoint().output_size == (8, 8)


def test_idle_steps_are_dropped() -> None:
    # One window down, of one row: its stride of 99 and dilation of 7 are never taken.
    geometry = ConvolutionGeometry((3, 9), (1, 2), stride=(99, 3), dilation=(7, 4))
    plain = geometry.without_idle_steps()
    assert (plain.stride, plain.dilation) == ((3, 3), (1, 4))
    assert plain.output_size == geometry.output_size == (1, 2)


def test_receptive_field_of_lenet5() -> None:
    c1, s2, c3, s4, c5 = (5, 1, 1), (2, 2, 1), (5, 1, 1), (2, 2, 1), (5, 1, 1)
    assert receptive_field([c1, s2, c3, s4, c5]) == [
        ReceptiveField(5, 1),
        ReceptiveField(6, 2),  # 5 + (2 − 1)·1
        ReceptiveField(14, 2),  # 6 + (5 − 1)·2
        ReceptiveField(16, 4),  # 14 + (2 − 1)·2
        ReceptiveField(32, 4),  # 16 + (5 − 1)·4: all of LeCun's 32×32 input
    ]


def test_receptive_field_is_where_the_gradient_is() -> None:
    layers = [(3, 2, 1), (3, 1, 2), (2, 2, 1)]
    network = nn.Sequential(*(nn.Conv1d(1, 1, k, s, dilation=d) for k, s, d in layers))
    x = torch.randn(1, 1, 64, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[0, 0, 3], x)
    met = gradient[0, 0].nonzero().flatten()
    field = receptive_field(layers)[-1]
    assert met[-1] - met[0] + 1 == field.size
    assert met[0] == 3 * field.jump


@pytest.mark.parametrize("bias", [True, False])
def test_parameters_are_those_of_torch(bias: bool) -> None:
    layer = nn.Conv2d(4, 6, (3, 2), groups=2, bias=bias)
    expected = sum(parameter.numel() for parameter in layer.parameters())
    assert conv2d_parameters(4, 6, (3, 2), groups=2, bias=bias) == expected

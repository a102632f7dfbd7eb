"""Convolution in compiled loops: against torch in float64, and its bits against themselves."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as torchs

from cnnpipe.functional import compiled, cross_entropy, sigmoid
from cnnpipe.functional.loops import compiler
from cnnpipe.geometry import ConvolutionGeometry, Pair
from tests.helpers.oracle import call_of, first_order, randn
from tests.helpers.project import ROOT

pytestmark = pytest.mark.skipif(
    compiler._MISSING is not None, reason=f"the compiler of loops {compiler._MISSING}"
)


@dataclass(frozen=True)
class Convolution:
    """Compiling takes time, so there are few; together they have every kind of number."""

    channels: Pair
    """In and out, of one group."""
    size: Pair
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    images: int = 3

    @property
    def geometry(self) -> ConvolutionGeometry:
        (top, left) = self.padding
        sides = (top, top, left, left)
        return ConvolutionGeometry(
            self.size, self.kernel, self.stride, sides, self.dilation, self.groups
        )

    def operands(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x, w, bias and the output's gradient."""
        C, O = (self.groups * channels for channels in self.channels)  # noqa: E741
        shapes: list[tuple[int, ...]] = [
            (self.images, C, *self.size),
            (O, self.channels[0], *self.kernel),
            (O,),
            (self.images, O, *self.geometry.output_size),
        ]
        x, w, bias, g = (randn(*shape, seed=k, dtype=dtype) for k, shape in enumerate(shapes))
        return x, w, bias, g

    def computed(self, x: Tensor, w: Tensor, bias: Tensor, g: Tensor) -> tuple[Tensor, ...]:
        """The output, the three gradients."""
        return (
            compiled.forward(x, w, self.geometry, bias),
            compiled.input_gradient(g, w, self.geometry),
            compiled.weight_gradient(x, g, self.geometry),
            compiled.channel_sums(g),
        )

    def expected(self, *operands: Tensor) -> tuple[Tensor, ...]:
        *leaves, g = (operand.double().requires_grad_() for operand in operands)
        options: dict[str, Any] = {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }
        y = torchs.conv2d(*leaves, **options)
        return (y.detach(), *torch.autograd.grad(y, leaves, g.detach()))


CONVOLUTIONS = [
    Convolution((1, 7), (9, 11), (5, 3), padding=(2, 1), images=5),
    Convolution((7, 8), (8, 9), (3, 3), stride=(2, 1), padding=(1, 1)),
    Convolution((8, 9), (6, 7), (2, 4), padding=(3, 5)),  # windows that see zeros only
    Convolution((9, 15), (11, 12), (3, 2), dilation=(3, 2), padding=(1, 4)),
    Convolution((15, 16), (7, 7), (7, 7), images=17),  # one window: the image
    Convolution((16, 17), (7, 5), (3, 3), stride=(3, 2), padding=(2, 0), dilation=(2, 1)),
    Convolution((17, 40), (5, 3), (1, 1), stride=(2, 2), images=2),
    Convolution((40, 1), (4, 6), (3, 3), padding=(1, 1), images=8),
    Convolution((2, 3), (7, 6), (3, 2), padding=(1, 1), groups=3),
    Convolution((1, 1), (8, 8), (3, 3), stride=(2, 2), padding=(1, 1), groups=9),
    Convolution((9, 5), (6, 6), (3, 3), stride=(1, 3), dilation=(2, 1), groups=2),
    Convolution((3, 2), (1, 13), (1, 4), stride=(1, 5), padding=(0, 7)),
    Convolution((2, 16), (9, 8), (3, 4), stride=(1, 2), padding=(4, 5)),
    Convolution((16, 16), (6, 7), (2, 4), padding=(3, 5)),  # the same, and channels fill a tile
    Convolution((256, 3), (4, 4), (3, 3), padding=(1, 1), images=2),  # crowded lines of the cache
    Convolution((3, 5), (4, 150), (3, 3), padding=(1, 1)),  # rows of many tiles
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("convolution", CONVOLUTIONS, ids=str)
def test_values(convolution: Convolution, dtype: torch.dtype) -> None:
    check(convolution, dtype)


def check(convolution: Convolution, dtype: torch.dtype) -> None:
    operands = convolution.operands(dtype)
    expected = convolution.expected(*operands)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-14
    for result, truth in zip(convolution.computed(*operands), expected, strict=True):
        assert result.dtype == dtype
        scale = float(truth.abs().max())
        torch.testing.assert_close(result.double(), truth, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("images", [0, 1, 2, 5, 17, 33, 600])
def test_any_number_of_images(images: int) -> None:
    """Two share their kernels, 16 are one portion, and 600 make portions of more."""
    convolution = Convolution((2, 9), (4, 5), (3, 3), padding=(1, 1), images=images)
    operands = convolution.operands(torch.float64)
    expected = convolution.expected(*operands)
    for result, truth in zip(convolution.computed(*operands), expected, strict=True):
        torch.testing.assert_close(result, truth, rtol=1e-12, atol=1e-12)


def test_sixteen_bits_are_added_up_in_float32() -> None:
    convolution = CONVOLUTIONS[0]
    for dtype in (torch.float16, torch.bfloat16):
        operands = convolution.operands(dtype)
        expected = convolution.expected(*operands)
        for result, truth in zip(convolution.computed(*operands), expected, strict=True):
            assert result.dtype == dtype
            half_a_unit = torch.finfo(dtype).eps / 2
            torch.testing.assert_close(result.double(), truth, rtol=1.01 * half_a_unit, atol=1e-4)


def all_results() -> Iterator[Tensor]:
    """Of convolutions, an activation, a linear layer and the loss, with most gradients."""
    for convolution in CONVOLUTIONS:
        yield from convolution.computed(*convolution.operands(torch.float32))
    yield sigmoid(randn(9_001))
    yield from first_order(
        call_of("linear", randn(70, 40), randn(30, 40, seed=1), randn(30, seed=2))
    ).values()
    logits = randn(300, 17).requires_grad_()
    loss = cross_entropy(logits, torch.arange(300) % 17, 0.1)
    yield from (loss, *torch.autograd.grad(loss, logits))


def fingerprint() -> str:
    """SHA-256 of all results."""
    numbers = (tensor.detach().contiguous().numpy().tobytes() for tensor in all_results())
    return hashlib.sha256(b"".join(numbers)).hexdigest()


@pytest.fixture(scope="module")
def bits() -> Iterator[str]:
    """Those of one thread on this processor; the number of threads is restored at the end."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield fingerprint()
    torch.set_num_threads(threads)


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_change_no_bit(threads: int, bits: str) -> None:
    torch.set_num_threads(threads)
    assert fingerprint() == bits


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_narrower_vectors_change_no_bit(bits: str) -> None:
    code = "from tests.functional.test_compiled import fingerprint; print(fingerprint())"
    process = python("-c", code, CNNPIPE_CPU="haswell")
    assert process.stdout.strip() == bits, process.stderr


def test_kernels_touch_no_memory_but_their_operands() -> None:
    process = python("-m", "tests.helpers.guarded_memory")
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize(
    "convolution", [CONVOLUTIONS[k] for k in (1, 3, 5, 7, 8, 13, 14, 15)], ids=str
)
@pytest.mark.parametrize("place", [0, 0.5])
@pytest.mark.parametrize("operand", range(4))
def test_what_is_not_finite_goes_where_the_formula_says(
    operand: int, place: float, convolution: Convolution, value: float
) -> None:
    """To the results that have it as a factor; zeros outside of the image make it NaN."""
    operands = convolution.operands(torch.float64)
    operands[operand].view(-1)[int(place * operands[operand].numel())] = value
    expected = convolution.expected(*operands)
    results = convolution.computed(*(operand.detach() for operand in operands))
    for result, truth in zip(results, expected, strict=True):
        torch.testing.assert_close(result, truth, rtol=1e-12, atol=1e-12, equal_nan=True)

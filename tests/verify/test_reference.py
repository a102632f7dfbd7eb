import math
from functools import partial
from typing import Any

import pytest
import torch
from scipy import signal
from torch import Tensor
from torch.nn import functional

from cnnpipe.verify.reference import (
    Call,
    Error,
    Terms,
    Truth,
    allow_mixing,
    compare,
    order_of,
    output_shape,
    quantities,
    rounding_bound,
    scipy_convolution,
    torch_arguments,
    truths,
)

WRONG = Error(math.inf, math.inf, math.inf)


EXACT = Error(0, 0, 0)


def f64(numbers: Any) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def images(*rows: list[float]) -> Tensor:
    return f64([[rows]])


def truth(*values: float, bound: float = 0.1) -> Truth:
    return Truth(f64(values), torch.full_like(f64(values), bound), torch.float32)


# y = w·x, with upstream gradient g and probes v (of ∂x) and u (of ∂w):
#   ∂x = g·w, ∂w = g·x;  ∂(v·∂x)/∂g = v·w, /∂w = v·g;  ∂(u·∂w)/∂g = u·x, /∂x = u·g
def test_quantities_of_a_product() -> None:
    operands = {"input": torch.tensor([3.0]), "weight": torch.tensor([5.0])}
    probes = {"input": torch.tensor([7.0]), "weight": torch.tensor([11.0])}
    found = quantities(
        lambda input, weight: input * weight, operands, probes | {"upstream": torch.tensor([2.0])}
    )
    assert {name: value.item() for name, value in found.items()} == {
        "forward": 15,
        "input_gradient": 10,
        "input_gradient_by_upstream": 35,
        "input_gradient_by_input": 0,
        "input_gradient_by_weight": 14,
        "weight_gradient": 6,
        "weight_gradient_by_upstream": 33,
        "weight_gradient_by_input": 22,
        "weight_gradient_by_weight": 0,
    }
    assert [order_of(name) for name in found] == [0, 1, 2, 2, 2, 1, 2, 2, 2]


def test_an_operand_without_a_probe_has_no_gradient() -> None:
    operands = {"input": torch.tensor([3.0]), "weight": torch.tensor([5.0])}
    probes = {"weight": torch.tensor([1.0]), "upstream": torch.tensor([2.0])}
    found = quantities(lambda input, weight: input * weight, operands, probes)
    assert list(found) == [
        "forward",
        "weight_gradient",
        "weight_gradient_by_upstream",
        "weight_gradient_by_weight",
    ]


def test_without_probes_there_are_no_gradients() -> None:
    pool = partial(functional.max_pool2d, kernel_size=2, return_indices=True)
    found = quantities(pool, {"input": torch.arange(4).view(1, 2, 2)}, {})
    assert {name: value.item() for name, value in found.items()} == {"forward": 3, "indices": 3}


# 1 input pixel row [1 −2], kernel [3 4], bias 5: y = 3 − 8 + 5 = 0, of 3 terms that add up to 16.
def test_truths_of_a_convolution_by_hand() -> None:
    operands = {
        "input": images([1, -2]).float(),
        "weight": images([3, 4]).float(),
        "bias": torch.tensor([5.0]),
    }
    probes = {name: torch.ones_like(x) for name, x in operands.items()}
    found = truths(Call("conv2d", operands, {}, probes | {"upstream": torch.ones(1, 1, 1, 1)}))
    assert found["forward"].value.item() == found["forward_scipy"].value.item() == 0
    assert found["forward"].dtype == torch.float32
    # γ_3 + γ_2 at u = 2⁻²⁴
    assert found["forward"].bound.item() == pytest.approx(16 * 5 * 2**-24, rel=1e-5)
    assert found["input_gradient"].value.flatten().tolist() == [3, 4]
    assert found["weight_gradient"].value.flatten().tolist() == [1, -2]
    assert found["weight_gradient"].bound.flatten().tolist() == pytest.approx(
        [3 * 2**-24, 6 * 2**-24], rel=1e-5
    )
    # The bias gradient depends on nothing but the upstream gradient, and exactly so.
    assert found["bias_gradient_by_weight"].bound.abs().max() == 0


def test_average_pooling_counts_its_terms_before_it_divides() -> None:
    operands = {"input": images([1, 2], [3, 6]).float()}
    probes = {"input": torch.ones(1, 1, 2, 2), "upstream": torch.ones(1, 1, 1, 1)}
    found = truths(Call("avg_pool2d", operands, {"kernel_size": 2}, probes))
    assert found["forward"].value.item() == 3
    # n = 4 terms, Σ|terms| = 3
    assert found["forward"].bound.item() == pytest.approx((4 + 2) * 3 * 2**-24, rel=1e-5)


def test_a_negative_divisor_leaves_bounds_positive() -> None:
    operands = {"input": images([1.0, 2], [3, 4])}
    found = truths(Call("avg_pool2d", operands, {"kernel_size": 2, "divisor_override": -5}, {}))
    assert found["forward"].value.item() == -2  # (1 + 2 + 3 + 4) / −5
    assert found["forward"].bound.item() > 0


def test_a_negated_view_is_its_numbers() -> None:
    view = torch.complex(images([1.0]), images([-2.0])).conj().imag
    assert view.is_neg()
    found = truths(Call("conv2d", {"input": view, "weight": images([3.0])}, {}, {}))
    assert found["forward"].value.item() == found["forward_scipy"].value.item() == 6


def test_selections_are_exact_until_gradients_meet() -> None:
    # Two windows, [1 5] and [5 2]; both hand their gradient to the 5.
    operands = {"input": images([1, 5, 2]).float()}
    probes = {"input": torch.ones(1, 1, 1, 3), "upstream": images([1, -1]).float()}
    arguments = {"kernel_size": (1, 2), "stride": 1}
    found = truths(Call("max_pool2d", operands, arguments, probes))
    assert found["forward"].bound.abs().max() == 0
    assert found["input_gradient"].value.flatten().tolist() == [0, 0, 0]
    # One addition of |1| + |−1|
    assert found["input_gradient"].bound.flatten().tolist() == pytest.approx(
        [0, (1 + 2) * 2 * 2**-24, 0], rel=1e-5
    )


# At x = 0: σ = 1/2, σ' = y − y² = 1/4, σ'' = y − 3y² + 2y³ = 1/2 − 3/4 + 1/4 = 0, of terms that add
# up to 1/2 + 3/4 + 1/4 = 3/2; tanh = 0, tanh' = 1 − y² = 1, tanh'' = −2y + 2y³ = 0.
@pytest.mark.parametrize(
    ("name", "values", "terms"),
    [("sigmoid", [1 / 2, 1 / 4, 0], [1 / 2, 3 / 4, 3 / 2]), ("tanh", [0, 1, 0], [0, 1, 0])],
)
def test_truths_of_a_curve_by_hand(name: str, values: list[float], terms: list[float]) -> None:
    one = torch.ones(1)
    found = truths(Call(name, {"input": torch.zeros(1)}, {}, {"input": one, "upstream": one}))
    derivatives = [
        found[quantity] for quantity in ("forward", "input_gradient", "input_gradient_by_input")
    ]
    assert [truth.value.item() for truth in derivatives] == values
    # 8 roundings for each factor, and 3 more in storing
    expected = [11 * d * total * 2**-24 for d, total in zip([1, 2, 3], terms, strict=True)]
    assert [truth.bound.item() for truth in derivatives] == pytest.approx(expected, rel=1e-4)


# Both logits are 0: S = 2, s = 1/2, and with the target 0: L = log 2, ∂L/∂z = s − q = (−1/2, 1/2).
# The derivative of s − q along v = (1, 1) is 0: s·(v − Σ s·v) of terms 1/2, 1/2 and 1/2.
def test_truths_of_a_loss_by_hand() -> None:
    operands = {"input": torch.zeros(1, 2), "target": torch.tensor([0])}
    probes = {"input": torch.ones(1, 2), "upstream": torch.tensor(1.0)}
    found = truths(Call("cross_entropy", operands, {}, probes))
    assert found["forward"].value.item() == pytest.approx(math.log(2))
    assert found["input_gradient"].value.tolist() == [[-0.5, 0.5]]
    assert found["input_gradient_by_upstream"].value.item() == 0
    assert found["input_gradient_by_input"].value.abs().max() == 0
    # C + N + 10, C + 10 and 2·C + 15 roundings, and 2 in storing
    assert found["forward"].bound.item() == pytest.approx((1 + math.log(2)) * 15 * 2**-24, rel=1e-5)
    assert found["input_gradient"].bound.flatten().tolist() == pytest.approx(
        [1.5 * 14 * 2**-24, 0.5 * 14 * 2**-24], rel=1e-5
    )
    assert found["input_gradient_by_input"].bound.flatten().tolist() == pytest.approx(
        [1.5 * 21 * 2**-24] * 2, rel=1e-5
    )


def test_integers_must_be_exact() -> None:
    operands = {"input": torch.tensor([[[[2**62, 2**62 + 1]]]])}  # the same number in float64
    found = truths(
        Call("max_pool2d", operands, {"kernel_size": (1, 2), "return_indices": True}, {})
    )
    assert found["forward"].value.item() == 2**62 + 1
    assert found["indices"].value.item() == 1
    off_by_one = torch.tensor([[[[2**62]]]])
    assert compare(off_by_one, found["forward"]).bounds == math.inf
    assert compare(off_by_one + 1, found["forward"]).bounds == 0


def test_integers_may_lie_in_any_order() -> None:
    maps = torch.arange(400).view(1, 1, 20, 20).remainder(256).to(torch.uint8).expand(1, 2, 20, 20)
    last = maps.contiguous(memory_format=torch.channels_last)
    found = truths(Call("max_pool2d", {"input": last}, {"kernel_size": 20}, {}))
    assert found["forward"].value.tolist() == [[[[255]], [[255]]]]


# (n + k) roundings, on terms that add up to the magnitude; nothing where nothing is added. 16-bit
# types are rounded twice, but added up in float32.
@pytest.mark.parametrize(
    ("dtype", "magnitude", "n", "expected"),
    [
        (torch.float32, 2, 8, 2 * (8 + 2) * 2**-24),
        (torch.float32, 2, 0, 0),
        # Each rounding may take half of 2⁻²⁴, the smallest float16.
        (torch.float16, 1, 100, 2 * 2**-11 / (1 - 2 * 2**-11) + 100 * 2**-24 + 102 * 2**-25),
        (torch.bfloat16, 1, 100, 2 * 2**-8 / (1 - 2 * 2**-8) + 100 * 2**-24),
    ],
)
def test_rounding_bound(dtype: torch.dtype, magnitude: float, n: float, expected: float) -> None:
    terms = Terms(torch.tensor([magnitude]), torch.tensor([n]), k=2)
    assert rounding_bound(terms, dtype).item() == pytest.approx(expected, rel=1e-5)


NAN, INF = math.nan, math.inf


# Bounds are 0.1 unless given.
@pytest.mark.parametrize(
    ("actual", "right", "expected"),
    [
        ([1.0, -4.5], truth(1, -4), Error(bounds=pytest.approx(5), absolute=0.5, relative=0.125)),
        (3.0, Truth(f64(2.0), f64(0.5), torch.float32), Error(2, 1, 0.5)),
        ([], truth(), EXACT),
        # Infinity and NaN are right where the truth has them, and nowhere else.
        ([NAN, INF, 1.0], truth(NAN, INF, 1, bound=NAN), EXACT),
        ([0.0, INF], truth(NAN, INF), WRONG),
        ([NAN, -INF], truth(NAN, INF), WRONG),
        ([NAN, 1.0], truth(NAN, INF), WRONG),
        # Where the bound is zero, the number must be exact.
        ([2.0**-99], truth(0, bound=0), Error(INF, 2.0**-99, INF)),
        ([-0.0], truth(0, bound=0), EXACT),
    ],
)
def test_compare(actual: Any, right: Truth, expected: Error) -> None:
    assert compare(torch.tensor(actual), right) == expected


@pytest.mark.parametrize(
    "actual", [None, torch.zeros(2, 1), torch.zeros(2, dtype=torch.float64)],
    ids=["missing", "shape", "dtype"],
)  # fmt: skip
def test_compare_refuses(actual: Tensor | None) -> None:
    assert compare(actual, truth(0, 0)) == WRONG


def test_compare_normwise_holds_all_elements_against_the_largest_bound() -> None:
    expected = Truth(f64([0, 0]), f64([0.001, 1]), torch.float32)
    actual = torch.tensor([0.5, 0.0])
    assert compare(actual, expected).bounds == pytest.approx(500)
    assert compare(actual, expected, normwise=True).bounds == pytest.approx(0.5)


# The kernel [1 10] slides over [1 2 3]; correlation: 1·1 + 2·10 = 21, 2·1 + 3·10 = 32,
# convolution flips it: 1·10 + 2·1 = 12, 2·10 + 3·1 = 23.
@pytest.mark.parametrize(
    ("slide", "arguments", "expected"),
    [
        (signal.correlate2d, {}, [21, 32]),
        (signal.convolve2d, {}, [12, 23]),
        (signal.correlate2d, {"padding": (0, 1)}, [10, 21, 32, 3]),  # 0·1 + 1·10, …, 3·1 + 0·10
        (signal.correlate2d, {"padding": "same"}, [21, 32, 3]),  # the odd zero goes after
        (
            signal.correlate2d,
            {"padding": (0, 0, 2, 0)},
            [0, 10, 21, 32],
        ),  # top, bottom, left, right
        (signal.correlate2d, {"stride": 2, "padding": (0, 1)}, [10, 32]),
        (signal.correlate2d, {"dilation": 2}, [31]),  # 1·1 + 3·10
        (signal.correlate2d, {"bias": torch.tensor([0.5])}, [21.5, 32.5]),
    ],
)
def test_scipy_convolution_by_hand(slide: Any, arguments: Any, expected: list[float]) -> None:
    result = scipy_convolution(slide, images([1, 2, 3]), images([1, 10]), **arguments)
    assert result.flatten().tolist() == expected


def test_scipy_convolution_of_groups_by_hand() -> None:
    pixels, kernels = f64([1, 2]).view(2, 1, 1), f64([10, 100]).view(2, 1, 1, 1)  # unbatched
    result = scipy_convolution(signal.correlate2d, pixels, kernels, groups=2)
    assert result.tolist() == [[[10]], [[200]]]


def test_output_shape() -> None:
    operands = {"input": torch.zeros(2, 3, 8, 8), "weight": torch.zeros(4, 3, 3, 3)}
    assert output_shape("conv2d", operands, {"stride": 2}) == (2, 4, 3, 3)
    arguments = {"kernel_size": 2, "return_indices": True}
    assert output_shape("max_pool2d", {"input": torch.zeros(3, 8, 8)}, arguments) == (3, 4, 4)


def test_torch_is_given_steps_of_32_bits() -> None:
    arguments = {"stride": (2**62, 3), "dilation": 2**62, "padding": "same", "ceil_mode": True}
    assert torch_arguments(arguments) == arguments | {"stride": (10**6, 3), "dilation": 10**6}


def test_algorithms_that_mix_outputs_get_the_bound_of_norms() -> None:
    # The first row of windows sees padding only: no terms, but FFT mixes in what other rows see.
    operands = {"input": images([3, 4]), "weight": images([5])}
    call = Call("conv2d", operands, {"padding": (1, 0)}, {})
    found = truths(call)
    before, after = (t["forward"].bound[0, 0] for t in (found, allow_mixing(found, call)))
    assert before[0].tolist() == [0, 0]
    # 8·2⁻⁵³·‖(3, 4)‖·‖5‖ = 8·2⁻⁵³·25, and underflow, which is far smaller
    assert (after - before).flatten().tolist() == pytest.approx([200 * 2**-53] * 6)

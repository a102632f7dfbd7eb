import math
from functools import partial

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


def images(*rows: list[float]) -> Tensor:
    return torch.tensor([[rows]], dtype=torch.float64)


def truth(*values: float, bound: float = 0.1) -> Truth:
    value = torch.tensor(values, dtype=torch.float64)
    return Truth(value, torch.full_like(value, bound), torch.float32)


def truths_of(
    operator: str,
    operands: dict[str, Tensor],
    probes: dict[str, Tensor],
    arguments: dict[str, object],
) -> dict[str, Truth]:
    return truths(Call(operator, operands, arguments, probes))


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
    found = truths_of("conv2d", operands, probes | {"upstream": torch.ones(1, 1, 1, 1)}, {})
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
    found = truths_of("avg_pool2d", operands, probes, {"kernel_size": 2})
    assert found["forward"].value.item() == 3
    # n = 4 terms, Σ|terms| = 3
    assert found["forward"].bound.item() == pytest.approx((4 + 2) * 3 * 2**-24, rel=1e-5)


def test_a_negative_divisor_leaves_bounds_positive() -> None:
    operands = {"input": images([1.0, 2], [3, 4])}
    found = truths_of("avg_pool2d", operands, {}, {"kernel_size": 2, "divisor_override": -5})
    assert found["forward"].value.item() == -2  # (1 + 2 + 3 + 4) / −5
    assert found["forward"].bound.item() > 0


def test_a_negated_view_is_its_numbers() -> None:
    view = torch.complex(images([1.0]), images([-2.0])).conj().imag
    assert view.is_neg()
    found = truths_of("conv2d", {"input": view, "weight": images([3.0])}, {}, {})
    assert found["forward"].value.item() == found["forward_scipy"].value.item() == 6


def test_selections_are_exact_until_gradients_meet() -> None:
    # Two windows, [1 5] and [5 2]; both hand their gradient to the 5.
    operands = {"input": images([1, 5, 2]).float()}
    probes = {"input": torch.ones(1, 1, 1, 3), "upstream": images([1, -1]).float()}
    arguments = {"kernel_size": (1, 2), "stride": 1}
    found = truths_of("max_pool2d", operands, probes, arguments)
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
    found = truths_of(name, {"input": torch.zeros(1)}, {"input": one, "upstream": one}, {})
    derivatives = [
        found[quantity] for quantity in ("forward", "input_gradient", "input_gradient_by_input")
    ]
    assert [truth.value.item() for truth in derivatives] == values
    # 8 roundings for each factor, and 3 more in storing
    expected = [11 * d * total * 2**-24 for d, total in zip([1, 2, 3], terms, strict=True)]
    assert [truth.bound.item() for truth in derivatives] == pytest.approx(expected, rel=1e-4)


def test_integers_must_be_exact() -> None:
    operands = {"input": torch.tensor([[[[2**62, 2**62 + 1]]]])}  # the same number in float64
    found = truths_of("max_pool2d", operands, {}, {"kernel_size": (1, 2), "return_indices": True})
    assert found["forward"].value.item() == 2**62 + 1
    assert found["indices"].value.item() == 1
    off_by_one = torch.tensor([[[[2**62]]]])
    assert compare(off_by_one, found["forward"]).bounds == math.inf
    assert compare(off_by_one + 1, found["forward"]).bounds == 0


def test_integers_may_lie_in_any_order() -> None:
    maps = torch.arange(400).view(1, 1, 20, 20).remainder(256).to(torch.uint8).expand(1, 2, 20, 20)
    last = maps.contiguous(memory_format=torch.channels_last)
    found = truths_of("max_pool2d", {"input": last}, {}, {"kernel_size": 20})
    assert found["forward"].value.tolist() == [[[[255]], [[255]]]]


def test_rounding_bound_of_float32() -> None:
    terms = Terms(torch.tensor([2.0, 2.0]), torch.tensor([8.0, 0.0]), k=2)
    bound = rounding_bound(terms, torch.float32).tolist()
    # (8 + 2) roundings of 2⁻²⁴ on terms that add up to 2; nothing where nothing is added
    assert bound == pytest.approx([20 * 2**-24, 0], rel=1e-5)


@pytest.mark.parametrize(("dtype", "u"), [(torch.float16, 2**-11), (torch.bfloat16, 2**-8)])
def test_16_bit_types_are_rounded_twice_but_not_summed(dtype: torch.dtype, u: float) -> None:
    terms = Terms(torch.tensor([1.0]), torch.tensor([100.0]), k=2)
    expected = 2 * u / (1 - 2 * u) + 100 * 2**-24  # 100 roundings of float32
    assert rounding_bound(terms, dtype).item() == pytest.approx(expected, rel=1e-2)


def test_compare_gives_the_largest_error_in_three_units() -> None:
    error = compare(torch.tensor([1.0, -4.5]), truth(1, -4))
    assert error == Error(bounds=pytest.approx(5), absolute=0.5, relative=0.125)


def test_compare_accepts_infinity_and_nan_where_the_truth_has_them() -> None:
    expected = truth(math.nan, math.inf, 1, bound=math.nan)
    assert compare(torch.tensor([math.nan, math.inf, 1]), expected) == Error(0, 0, 0)


@pytest.mark.parametrize("wrong", [[0.0, math.inf], [math.nan, -math.inf], [math.nan, 1.0]])
def test_compare_refuses_infinity_and_nan_elsewhere(wrong: list[float]) -> None:
    assert compare(torch.tensor(wrong), truth(math.nan, math.inf)).bounds == math.inf


@pytest.mark.parametrize(
    "actual", [None, torch.zeros(2, 1), torch.zeros(2, dtype=torch.float64)],
    ids=["missing", "shape", "dtype"],
)  # fmt: skip
def test_compare_refuses(actual: Tensor | None) -> None:
    assert compare(actual, truth(0, 0)) == WRONG


def test_compare_demands_exactness_where_the_bound_is_zero() -> None:
    assert compare(torch.tensor([2.0**-99]), truth(0, bound=0)) == Error(
        math.inf, 2.0**-99, math.inf
    )
    assert compare(torch.tensor([-0.0]), truth(0, bound=0)) == Error(0, 0, 0)


def test_compare_normwise_holds_all_elements_against_the_largest_bound() -> None:
    expected = Truth(torch.zeros(2).double(), torch.tensor([0.001, 1.0]).double(), torch.float32)
    actual = torch.tensor([0.5, 0.0])
    assert compare(actual, expected).bounds == pytest.approx(500)
    assert compare(actual, expected, normwise=True).bounds == pytest.approx(0.5)


def test_compare_of_a_single_number() -> None:
    right = Truth(torch.tensor(2.0).double(), torch.tensor(0.5).double(), torch.float32)
    assert compare(torch.tensor(3.0), right) == Error(bounds=2, absolute=1, relative=0.5)


def test_compare_of_nothing() -> None:
    assert compare(torch.zeros(0), truth()) == Error(0, 0, 0)


# The kernel [1 10] slides over [1 2 3]; correlation: 1·1 + 2·10 = 21, 2·1 + 3·10 = 32,
# convolution flips it: 1·10 + 2·1 = 12, 2·10 + 3·1 = 23.
@pytest.mark.parametrize(
    ("slide", "expected"), [(signal.correlate2d, [21, 32]), (signal.convolve2d, [12, 23])]
)
def test_scipy_convolution_by_hand(slide: object, expected: list[float]) -> None:
    result = scipy_convolution(slide, images([1, 2, 3]), images([1, 10]))  # type: ignore[arg-type]
    assert result.flatten().tolist() == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"padding": (0, 1)}, [10, 21, 32, 3]),  # 0·1 + 1·10, …, 3·1 + 0·10
        ({"padding": "same"}, [21, 32, 3]),  # the odd zero goes after
        ({"padding": (0, 0, 2, 0)}, [0, 10, 21, 32]),  # top, bottom, left, right
        ({"stride": 2, "padding": (0, 1)}, [10, 32]),
        ({"dilation": 2}, [31]),  # 1·1 + 3·10
        ({"bias": torch.tensor([0.5])}, [21.5, 32.5]),
    ],
    ids=str,
)
def test_scipy_convolution_arguments_by_hand(arguments: dict, expected: list[float]) -> None:
    result = scipy_convolution(signal.correlate2d, images([1, 2, 3]), images([1, 10]), **arguments)
    assert result.flatten().tolist() == expected


def test_scipy_convolution_of_groups_by_hand() -> None:
    pixels = torch.tensor([1.0, 2.0]).double().view(2, 1, 1)  # unbatched: two channels
    kernels = torch.tensor([10.0, 100.0]).double().view(2, 1, 1, 1)
    result = scipy_convolution(signal.correlate2d, pixels, kernels, groups=2)
    assert result.shape == (2, 1, 1)
    assert result.flatten().tolist() == [10, 200]


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

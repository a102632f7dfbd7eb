"""The oracle: the right value of each result of a call, and the error that rounding explains.

Besides `cnnpipe.race.tutorial` the only module that uses torch's convolution, pooling, activations,
normalisation, linear layer and loss.

**Truth.** Torch's operator, in float64 on the CPU, on the same numbers that the operator under test
was given: each number of a smaller type is exactly a float64. Convolution has a second truth that
shares no code with torch: `scipy.signal`.

**Rounding.** In whatever order n products are added, with unit roundoff u, the sum is off by at
most

    |ŷ − y| ≤ γ_n(u) · Σ|terms|,   γ_n(u) = n·u / (1 − n·u)

and each output, gradient and second derivative of convolution, linear layers and pooling is such a
sum. 16-bit types must be added up in float32 (u_sum); a term and the result may then each be
rounded once more, to the 16 bits in which they are stored (u_store; k = 2 times). For each element,
therefore,

    bound = (γ_n(u_sum) + γ_k(u_store)) · Σ|terms|

Errors are given in units of their bound. The error of a correct operator is provably below 1; that
of a wrong one is about 1 / (n·u) bounds. In float64 the truth may be as far off as the operator, so
the limit there is 2.

Neither n nor Σ|terms| needs a formula: Σ|terms| is the same operator on absolute values, and n is
the same operator on ones.

**Algorithms that mix outputs.** Winograd and FFT add and subtract numbers that do not meet in any
output. Their errors are compared with the largest bound of all elements (`compare(normwise=True)`),
and where even that is nearly zero, with a bound by norms (`allow_mixing`).

Source:
    Higham: Accuracy and stability of numerical algorithms (2002), section 3.1.
    Blanchard, Higham, Lopez, Mary, Pranesh: Mixed precision block fused multiply-add (2020).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from scipy import signal
from torch import Tensor
from torch.nn import functional

Operator = Callable[..., Any]
"""Called with tensors by name; returns a tensor, or a tensor and indices."""

Tensors = Mapping[str, Tensor]
Count = TypeVar("Count", Tensor, float)


EPSILON = 1e-5
"""Added to the variance in a block, torch's default."""
LONG_STEP = 10**6
"""Pixels that no image here has: a longer stride or dilation gives the same windows."""


@dataclass(frozen=True, repr=False, eq=False)
class Call:
    """One call of an operator, and the gradients with which it is differentiated."""

    operator: str
    operands: Tensors
    """`input`, and for a convolution, linear layer or normalisation `weight` and perhaps `bias`,
    all of one dtype, as the running statistics of a normalisation in evaluation; for a loss
    `target`, int64."""
    arguments: Mapping[str, Any]
    """The other arguments, by name."""
    probes: Tensors
    """`upstream`, the gradient of the output; and by operand's name the upstream gradient of that
    operand's gradient. An operand without a probe requires no gradient; without `upstream` there
    are no gradients at all."""

    @property
    def dtype(self) -> torch.dtype:
        return self.operands["input"].dtype

    @property
    def tensors(self) -> list[Tensor]:
        return [*self.operands.values(), *self.probes.values()]

    def __repr__(self) -> str:
        shapes = (f"{name} {list(tensor.shape)}" for name, tensor in self.operands.items())
        arguments = (f"{name}={value!r}" for name, value in self.arguments.items())
        learned = ", ".join(name for name in self.probes if name != "upstream") or "nothing"
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.operator} {', '.join([*shapes, *arguments])}; {dtype}; {learned} learned"


@dataclass(frozen=True)
class Truth:
    """The right value of one quantity, and the error that rounding explains."""

    value: Tensor
    """float64, or integers."""
    bound: Tensor
    """float64, of the same shape; zero where the value must be exact."""
    dtype: torch.dtype
    """In which the operator must return it."""

    @cached_property
    def scale(self) -> Tensor:
        """The largest magnitude among the elements."""
        return self.value.double().abs().nan_to_num(0, 0).max()

    @cached_property
    def largest_bound(self) -> Tensor:
        return self.bound.nan_to_num(0, 0).max()


@dataclass(frozen=True)
class Error:
    """The largest error among a quantity's elements; infinite if its shape or dtype is wrong."""

    bounds: float
    """In units of the rounding bound."""
    absolute: float
    relative: float
    """Relative to the largest magnitude among the truth's elements."""


def quantities(operator: Operator, operands: Tensors, probes: Tensors) -> dict[str, Tensor]:
    """Everything that is compared: the output, its gradients, and the gradients of these.

    Args:
        operator: is called with the operands by name.
        operands: as in `Call`.
        probes: as in `Call`.

    Returns:
        `forward`; `indices` if the operator returns them; `input_gradient`, …;
        `input_gradient_by_weight`, …, zero where one does not depend on the other.
    """
    leaves = {name: x.detach().requires_grad_(name in probes) for name, x in operands.items()}
    output = operator(**leaves)
    if isinstance(output, tuple):
        results = {"forward": output[0], "indices": output[1]}
    else:
        results = {"forward": output}
    if "upstream" not in probes or results["forward"].shape != probes["upstream"].shape:
        return results
    upstream = probes["upstream"].detach().requires_grad_()
    sources = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    for name, gradient in _gradients(results["forward"], sources, upstream).items():
        results[f"{name}_gradient"] = gradient
        second = _gradients(gradient, {"upstream": upstream, **sources}, probes[name])
        results |= {f"{name}_gradient_by_{source}": value for source, value in second.items()}
    return results


def _gradients(output: Tensor, sources: Tensors, upstream: Tensor) -> dict[str, Tensor]:
    if not output.requires_grad:
        return {name: torch.zeros_like(source) for name, source in sources.items()}
    gradients = torch.autograd.grad(
        output, list(sources.values()), upstream, create_graph=True, materialize_grads=True
    )
    return dict(zip(sources, gradients, strict=True))


def order_of(quantity: str) -> int:
    """0 for an output, 1 for a gradient, 2 for a gradient's gradient."""
    return quantity.count("_gradient") + quantity.count("_by_")


def truths(call: Call) -> dict[str, Truth]:
    """The truth about every quantity of a call, and of `forward_scipy` for a convolution.

    Args:
        call: with its tensors on the CPU. Its dtype is the one whose rounding is allowed for.
    """
    name, dtype = call.operator, call.dtype
    torchs, terms_of = _REFERENCES[name]
    arguments = torch_arguments(call.arguments)
    operator = partial(torchs, **arguments)
    if not dtype.is_floating_point:
        # Torch refuses some integers that are channels last, so they are copied.
        operands = _map(torch.positive, call.operands)
        values = quantities(operator, operands, call.probes)
        return {key: Truth(value, torch.zeros(()), value.dtype) for key, value in values.items()}

    operands, probes = _map(_double, call.operands), _map(_double, call.probes)
    values = quantities(operator, operands, probes)
    terms = terms_of(operator, operands, probes)
    result = {
        key: Truth(value.detach(), rounding_bound(terms[key], dtype), dtype)
        for key, value in values.items()
        if key != "indices"
    }
    if "indices" in values:
        result["indices"] = Truth(values["indices"], torch.zeros(()), torch.int64)
    if name in _SCIPY:
        value = _SCIPY[name](**operands, **arguments)
        result["forward_scipy"] = Truth(value, result["forward"].bound, dtype)
    return result


def torch_operator(name: str) -> Operator:
    """Torch's operator of that name."""
    return _REFERENCES[name][0]


def torch_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments for torch, whose strides and dilations must fit into 32 bits."""

    def shortened(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(min(step, LONG_STEP) for step in value)
        return min(value, LONG_STEP) if type(value) is int else value

    return {name: shortened(value) for name, value in arguments.items()}


def judge(
    results: Tensors, truth_of: Mapping[str, Truth], *, normwise: bool = False
) -> dict[str, Error]:
    """The error of every quantity that has a truth.

    Args:
        results: the `quantities` of the implementation under test, on any device.
        truth_of: the `truths` of the same call.
        normwise: as in `compare`.
    """
    if "forward" in results:
        results = {**results, "forward_scipy": results["forward"]}
    return {
        quantity: compare(results.get(quantity), truth, normwise=normwise)
        for quantity, truth in truth_of.items()
    }


def output_shape(name: str, operands: Tensors, arguments: Mapping[str, Any]) -> torch.Size:
    """The shape of an operator's output."""
    operator, _ = _REFERENCES[name]
    output = operator(**_map(_double, operands), **torch_arguments(arguments))
    shape: torch.Size = (output[0] if isinstance(output, tuple) else output).shape
    return shape


def compare(actual: Tensor | None, truth: Truth, *, normwise: bool = False) -> Error:
    """The error of `actual`; infinity and NaN are right only where the truth has them.

    Args:
        actual: what the operator under test returned, on any device; None if nothing.
        truth: the same quantity from `truths`.
        normwise: compare the error of each element with the largest bound of all elements, for
            algorithms that mix outputs (Winograd, FFT).
    """
    if actual is None or actual.shape != truth.value.shape or actual.dtype != truth.dtype:
        return Error(math.inf, math.inf, math.inf)
    if not actual.numel():
        return Error(0.0, 0.0, 0.0)
    actual = actual.detach().cpu().to(truth.value.dtype)
    right = (actual == truth.value) | (actual.isnan() & truth.value.isnan())
    distance = (actual.double() - truth.value.double()).abs()
    bound = truth.largest_bound if normwise else truth.bound
    errors = torch.stack([distance / bound, distance, distance / truth.scale])
    return Error(
        *errors.masked_fill(right, 0).nan_to_num(math.inf, math.inf).view(3, -1).amax(1).tolist()
    )


_FACTORS = {
    "forward": ("input", "weight"),
    "forward_scipy": ("input", "weight"),
    "input_gradient": ("∂upstream", "weight"),
    "weight_gradient": ("input", "∂upstream"),
    "input_gradient_by_upstream": ("∂input", "weight"),
    "input_gradient_by_weight": ("∂input", "∂upstream"),
    "weight_gradient_by_upstream": ("input", "∂weight"),
    "weight_gradient_by_input": ("∂upstream", "∂weight"),
}
"""The two tensors of which each quantity of a convolution is the product; ∂ marks probes."""


def allow_mixing(truth_of: Mapping[str, Truth], call: Call) -> dict[str, Truth]:
    """Truths of a convolution whose bounds also hold for algorithms that mix outputs.

    The numbers that an algorithm mixes into an output are bounded by Cauchy and Schwarz:
    8·u·‖a‖·‖b‖ for the two tensors a and b whose product the quantity is, plus underflow. This is
    added to the bound by terms, which is nearly zero where all outputs see few pixels.
    """
    tensors = {**call.operands, **{f"∂{name}": probe for name, probe in call.probes.items()}}
    add = _type_of_sums(call.dtype)
    allowed = dict(truth_of)
    for quantity in truth_of.keys() & _FACTORS.keys():
        a, b = (tensors[name].double().nan_to_num(0, 0, 0) for name in _FACTORS[quantity])
        norms = float(a.norm()), float(b.norm())
        underflow = add.smallest_normal * (a.numel() + b.numel()) * (1 + sum(norms))
        by_norms = 8 * (add.eps / 2 * norms[0] * norms[1] + underflow)
        truth = truth_of[quantity]
        allowed[quantity] = replace(truth, bound=truth.bound.nan_to_num(0, 0) + by_norms)
    return allowed


class Terms(NamedTuple):
    """What a quantity is the sum of."""

    magnitude: Tensor
    """Σ|terms|."""
    n: Tensor
    """Roundings at the precision of the sum; none at all where it is zero."""
    k: int
    """Roundings to the dtype in which numbers are stored."""


def rounding_bound(terms: Terms, dtype: torch.dtype) -> Tensor:
    """(γ_n(u_sum) + γ_k(u_store)) · Σ|terms|, and what underflow may take.

    γ_n(u) = n·u / (1 − n·u)

    Underflow: a sum may flush terms below the smallest normal number to zero, as GPUs do, and CPUs
    in bfloat16; and each rounding may take half of the smallest number that can be stored.
    """
    store = torch.finfo(dtype)
    add = _type_of_sums(dtype)
    gamma = _gamma(terms.n, add.eps / 2) + _gamma(terms.k, store.eps / 2)
    underflow = terms.n * add.smallest_normal
    underflow += (terms.n + terms.k) * store.smallest_normal * store.eps / 2
    return torch.where(terms.n > 0, gamma * terms.magnitude + underflow, 0.0)


def _type_of_sums(dtype: torch.dtype) -> torch.finfo:
    return torch.finfo(torch.float32 if dtype.itemsize == 2 else dtype)


def _gamma(n: Count, u: float) -> Count:
    return n * u / (1 - n * u)


def _terms_of_sums(operator: partial[Any], operands: Tensors, probes: Tensors) -> dict[str, Terms]:
    """Convolution, linear layers and average pooling multiply and add: |terms| and ones go in as
    numbers do."""
    magnitudes = quantities(operator, _map(torch.abs, operands), _map(torch.abs, probes))
    if operator.func is functional.avg_pool2d:  # its division would turn the number of terms into 1
        operator = partial(operator, divisor_override=1)
    counts = quantities(operator, _map(torch.ones_like, operands), _map(torch.ones_like, probes))
    # The magnitude of a mean's divisor, too, may have been negative.
    return {key: Terms(magnitudes[key].abs(), counts[key], k=2) for key in counts}


def _terms_of_selections(
    operator: partial[Any], operands: Tensors, probes: Tensors
) -> dict[str, Terms]:
    """Maximum and ReLU copy; a gradient adds up where windows share their maximum.

    The first of n terms is copied, so n − 1 roundings remain.
    """
    magnitudes = quantities(operator, operands, _map(torch.abs, probes))
    counts = quantities(operator, operands, _map(torch.ones_like, probes))
    counts["forward"] = torch.ones_like(counts["forward"])
    return {key: Terms(magnitudes[key], counts[key] - 1, k=2) for key in counts}


def _terms_of_curves(
    derivatives: tuple[Sequence[int], Sequence[int]],
    operator: partial[Any],
    operands: Tensors,
    probes: Tensors,
) -> dict[str, Terms]:
    """Sigmoid and tanh: the m-th derivative is a polynomial of degree d = m + 1 in the output y.

    Its terms are those of the polynomial. Each factor y is good to 8 roundings (exp to 2, the rest
    for the arithmetic around it); the backward works on stored numbers, with up to 3 operations
    for each factor.

    Args:
        derivatives: coefficients of the first and second derivative in 1, y, y², …
    """
    (x,), y = operands.values(), operator(**operands).abs()
    g, v = probes["upstream"].abs(), probes["input"].abs()
    first, second = (sum(abs(c) * y**i for i, c in enumerate(p)) for p in derivatives)
    magnitudes = {
        "forward": (1, y),
        "input_gradient": (2, g * first),
        "input_gradient_by_upstream": (2, v * first),
        "input_gradient_by_input": (3, v * g * second),
    }
    return {
        key: Terms(magnitude, torch.full_like(x, 8 * d), k=3 * d)
        for key, (d, magnitude) in magnitudes.items()
    }


def _terms_of_normalization(
    operator: partial[Any], operands: Tensors, probes: Tensors
) -> dict[str, Terms]:
    """Batch normalisation: y = (x − μ)·r·γ + β with r = 1/√s and s = σ² + ε.

    Every derivative is a polynomial in x, μ, r, γ and the probes, and Σ|terms| the same derivative
    of a function without minus signs: of |x| + |μ|, with mean|x| for |μ| in training, and of a
    function of s whose derivatives are those of 1/√s without their signs.

    Roundings, in training: x − μ is good to M + 1, relative to |x| + mean|x|. Where μ is off by δ,
    Σ(x − μ)² grows by M·δ²; so s is good to M·(1 + d) + 3 with d = M·u·(mean|x|)²/s and u = 2⁻²⁴,
    and r to 3 more. Each derivative multiplies by one x − μ and r² more at most, and adds up over
    the channel twice at most. Together, for the m-th derivative,

        n = (2m + 1)·(4·M·(1 + d) + 16)

    In evaluation μ and s are constants, and the gradients of γ and β alone are sums of M terms.
    """
    training, eps = operator.keywords["training"], operator.keywords.get("eps", 1e-5)
    x = operands["input"]
    reduced, M = _reduced(x), x[:, 0].numel()
    s = (statistics_of(x)[1] if training else operands["running_var"]) + eps
    positive = partial(_normalize_without_minus, s)
    magnitudes = quantities(positive, _map(torch.abs, operands), _map(torch.abs, probes))
    d = (M * 2**-24 * x.abs().mean(reduced).square() / s).nan_to_num(0, 0)

    result = {}
    for key, magnitude in magnitudes.items():
        factors = 2 * order_of(key) + 1
        n = factors * (4 * M * (1 + d) + 16) if training else factors * 16 + M + 0 * s
        n = _along(x, n) if magnitude.ndim > 1 else n
        result[key] = Terms(magnitude, n * (magnitude != 0), k=2)
    return result


def _normalize_without_minus(
    s: Tensor,
    input: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    running_mean: Tensor | None = None,
    **_: Tensor,
) -> Tensor:
    """(x + μ)·γ/√s + β, where s = σ² + ε has no minus sign in its derivatives."""
    mean = input.mean(_reduced(input)) if running_mean is None else running_mean
    centred, r = input + _along(input, mean), s.rsqrt()
    if running_mean is None:
        square = centred.square().mean(_reduced(input))
        r = (s - (square - square.detach())).rsqrt()
    y: Tensor = centred * _along(input, r if weight is None else r * weight)
    return y if bias is None else y + _along(input, bias)


def _reduced(x: Tensor) -> list[int]:
    """All axes but that of the channels."""
    return [0, *range(2, x.ndim)]


def statistics_of(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel."""
    mean = x.mean(_reduced(x))
    return mean, (x - _along(x, mean)).square().mean(_reduced(x))


def _along(x: Tensor, values: Tensor) -> Tensor:
    """One value for each channel, to be broadcast against x."""
    return values.view(-1, *[1] * (x.ndim - 2))


def _terms_of_block(operator: partial[Any], operands: Tensors, probes: Tensors) -> dict[str, Terms]:
    """A convolution, perhaps normalised, of which ReLU and pooling select some numbers.

    With the operands of `cases`, z is exact and rounding never changes what is selected. So every
    derivative is that of the selected numbers, and Σ|terms|, as in a normalisation, that of a
    function without minus signs. The m-th derivative has the roundings of a normalisation, whose
    d is below 1/1000 here, and passes through a convolution or a gradient of one at most 2m + 1
    times. These are sums over a kernel, over what a pixel meets, and over the M values of a
    channel:

        n = (2m + 1)·(4·M + 16 + M + C·kH·kW + O·kH·kW)

    Each passage stores its own result and that of the layer beside it: k = 2·(2m + 1) + 2.
    """
    arguments = operator.keywords
    convolve = block_convolution(arguments)
    weight = operands["weight"]
    z = convolve(operands["input"], weight, operands["bias"])
    s = operands.get("running_var", statistics_of(z)[1]) + EPSILON
    y = operator.func(**operands, **{**arguments, "pool": 1})
    _, winners = functional.max_pool2d(y, arguments["pool"], return_indices=True)
    is_open = (y != 0) if arguments["relu"] else torch.ones_like(y)

    def positive(
        input: Tensor,
        weight: Tensor,
        bias: Tensor,
        gamma: Tensor | None = None,
        beta: Tensor | None = None,
        running_mean: Tensor | None = None,
        **_: Tensor,
    ) -> Tensor:
        z = convolve(input, weight, bias)
        if gamma is not None:
            z = _normalize_without_minus(s, z, gamma, beta, running_mean)
        selected: Tensor = (z * is_open).flatten(2).gather(2, winners.flatten(2))
        return selected.view_as(winners)

    magnitudes = quantities(positive, _map(torch.abs, operands), _map(torch.abs, probes))
    M = z[:, 0].numel()
    result = {}
    for key, magnitude in magnitudes.items():
        passages = 2 * order_of(key) + 1
        n = passages * (5 * M + 16 + weight[0].numel() + weight[:, 0].numel())
        counts = torch.full_like(magnitude, n) * (magnitude != 0)
        result[key] = Terms(magnitude, counts, k=2 * passages + 2)
    return result


def block_convolution(arguments: Mapping[str, Any]) -> Operator:
    """A block's, called with input, kernels and bias."""
    windows = {name: arguments[name] for name in ("padding", "stride") if name in arguments}
    return lambda input, weight, bias: _conv2d(input, weight, bias=bias, **windows)


def _block(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    *,
    norm: str | None,
    relu: bool,
    pool: int,
    **windows: int,
) -> Tensor:
    """Torch's operators, one after the other."""
    y: Tensor = block_convolution(windows)(input, weight, bias)
    if norm:
        statistics, is_training = (running_mean, running_var), norm == "training"
        y = functional.batch_norm(y, *statistics, gamma, beta, is_training, eps=EPSILON)
    y = functional.relu(y) if relu else y
    pooled: Tensor = functional.max_pool2d(y, pool)
    return pooled


def _terms_of_cross_entropy(
    operator: partial[Any], operands: Tensors, probes: Tensors
) -> dict[str, Terms]:
    """Logits z (N, C) less the maximum of their row, s = softmax(z), targets q as probabilities.

    z is rounded once, so e^z is good to |z| + 2 roundings and the sum S of C of them to E + C + 2,
    with E = Σ s·|z|. Hence s = e^z / S is good to n·a roundings with n = C + 5 and
    a = 1 + |z| + E; and log S is off by E + C + 2 roundings of 1 and 2 of itself.

        L = 1/N Σ (log S − Σ q·z)                       terms 1 + E + log S, q·|z|
        ∂L/∂z = g/N·(s − q)                             terms a·s, q
        ∂²L/∂z² = g/N·s_j·(v_j − Σ_c s_c·v_c)           terms a_j·s_j, (a_j + a_c)·s_j·s_c
    """
    z, target = operands["input"], operands["target"]
    g, v = probes["upstream"].abs(), probes["input"].abs()
    (N, C), smoothing = z.shape, operator.keywords.get("label_smoothing", 0.0)
    z = z - z.amax(-1, keepdim=True)
    q = functional.one_hot(target, C) * (1 - smoothing) + smoothing / C
    s, log_S = z.softmax(-1), z.logsumexp(-1)
    # Where s or q is zero, z may be −∞.
    s_z, q_z = ((p * z.abs()).nan_to_num(0, math.inf) for p in (s, q))
    E = s_z.sum(-1, keepdim=True)
    a_s = s * (1 + E) + s_z
    first = a_s + q
    second = a_s * v + a_s * (s * v).sum(-1, keepdim=True) + s * (a_s * v).sum(-1, keepdim=True)
    terms = {
        "forward": ((1 + E.squeeze(-1) + log_S + q_z.sum(-1)).mean(), C + N + 10),
        "input_gradient": (first * g / N, C + 10),
        "input_gradient_by_upstream": ((first * v / N).sum(), C + N * C + 10),
        "input_gradient_by_input": (second * g / N, 2 * C + 15),
    }
    return {
        key: Terms(magnitude, torch.full_like(magnitude, n), k=2)
        for key, (magnitude, n) in terms.items()
    }


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _map(function: Callable[[Tensor], Tensor], tensors: Tensors) -> dict[str, Tensor]:
    return {name: function(tensor).contiguous().resolve_neg() for name, tensor in tensors.items()}


def _conv2d(input: Tensor, weight: Tensor, *, padding: Any = 0, **arguments: Any) -> Tensor:
    """Torch's, which does not know padding of four sides (top, bottom, left, right)."""
    if isinstance(padding, tuple) and len(padding) == 4:
        top, bottom, left, right = padding
        input, padding = functional.pad(input, (left, right, top, bottom)), 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using padding='same' with even kernel lengths")
        return functional.conv2d(input, weight, padding=padding, **arguments)


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    **arguments: Any,
) -> Tensor:
    """Torch's, which loses a second derivative of the bias where there is no weight."""
    if weight is None and bias is not None:
        weight = torch.ones_like(bias)
    return functional.batch_norm(input, running_mean, running_var, weight, bias, **arguments)


def _convolve2d(input: Tensor, weight: Tensor, **arguments: Any) -> Tensor:
    return _conv2d(input, weight.flip(-2, -1), **arguments)


_REFERENCES: dict[str, tuple[Operator, Callable[..., dict[str, Terms]]]] = {
    "conv2d": (_conv2d, _terms_of_sums),
    "convolve2d": (_convolve2d, _terms_of_sums),
    "avg_pool2d": (functional.avg_pool2d, _terms_of_sums),
    "max_pool2d": (functional.max_pool2d, _terms_of_selections),
    "relu": (functional.relu, _terms_of_selections),
    "batch_norm": (_batch_norm, _terms_of_normalization),
    # σ' = y − y², σ'' = y − 3y² + 2y³; tanh' = 1 − y², tanh'' = −2y + 2y³
    "sigmoid": (torch.sigmoid, partial(_terms_of_curves, ((0, 1, -1), (0, 1, -3, 2)))),
    "tanh": (torch.tanh, partial(_terms_of_curves, ((1, 0, -1), (0, -2, 0, 2)))),
    "linear": (functional.linear, _terms_of_sums),
    "cross_entropy": (functional.cross_entropy, _terms_of_cross_entropy),
    "block": (_block, _terms_of_block),
}


def scipy_convolution(
    slide: Callable[..., Any],
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Tensor:
    """A layer's convolution made of SciPy's, which takes one image, one kernel and no arguments.

    Padding puts zeros around the image and dilation between the kernel's entries; stride drops
    outputs; each output channel is the sum over the input channels of its group.

    Args:
        slide: `scipy.signal.correlate2d` or `scipy.signal.convolve2d`.
    """
    images = input.numpy().reshape(-1, *input.shape[-3:])  # (N, C, H, W)
    step_H, step_W = np.broadcast_to(dilation, 2)
    out_channels, group_channels, kH, kW = weight.shape
    kernels = np.zeros((out_channels, group_channels, (kH - 1) * step_H + 1, (kW - 1) * step_W + 1))
    kernels[..., ::step_H, ::step_W] = weight.numpy()
    if padding == "same":  # an odd zero goes after the image
        extra = np.array(kernels.shape[2:]) - 1
        (top, left), (bottom, right) = extra // 2, extra - extra // 2
    elif isinstance(padding, tuple) and len(padding) == 4:
        top, bottom, left, right = padding
    else:
        top, left = bottom, right = np.broadcast_to(0 if padding == "valid" else padding, 2)
    images = np.pad(images, ((0, 0), (0, 0), (top, bottom), (left, right)))
    down, across = np.broadcast_to(stride, 2)
    H_out = (images.shape[2] - kernels.shape[2]) // down + 1
    W_out = (images.shape[3] - kernels.shape[3]) // across + 1
    output = np.zeros((len(images), out_channels, H_out, W_out))
    for n, o, c in np.ndindex(len(images), out_channels, group_channels):
        channel = o // (out_channels // groups) * group_channels + c
        output[n, o] += slide(images[n, channel], kernels[o, c], mode="valid")[::down, ::across]
    if bias is not None:
        output += bias.numpy()[:, None, None]
    return torch.from_numpy(output.reshape(*input.shape[:-3], *output.shape[1:]))


_SCIPY: dict[str, Operator] = {
    "conv2d": partial(scipy_convolution, signal.correlate2d),
    "convolve2d": partial(scipy_convolution, signal.convolve2d),
}

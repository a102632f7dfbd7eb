"""Softmax cross-entropy of logits, with its derivatives.

For logits z (N, C) and targets t (N,), with s = softmax(z) and the targets as probabilities
q[n,c] = (1 − ε)·[c = t_n] + ε/C, which sum to 1:

    L = −1/N Σ_{n,c} q·log s = 1/N Σ_n (log Σ_c e^z[n,c] − Σ_c q[n,c]·z[n,c])

    ∂L/∂z = (s − q) / N,   as ∂/∂z_c log Σ e^z = e^z_c / Σ e^z = s_c

    ∂s_c/∂z_j = s_c·([c = j] − s_j), so for v: Σ_c v_c·∂s_c/∂z_j = s_j·(v_j − Σ_c v_c·s_c)

Any constant may be subtracted from the logits of an image; with their maximum nothing overflows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cnnpipe.functional import compiled_kernels, loops, loss_kernels
from cnnpipe.functional.arguments import FLOATS, as_probability, check_dtype
from cnnpipe.functional.autocast import widen_operand
from cnnpipe.functional.operator import Operator
from cnnpipe.functional.windows import accumulation_dtype


def cross_entropy(input: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of the logits' softmax, as `torch.nn.functional.cross_entropy`.

    L = −1/N Σ_{n,c} q[n,c] · log softmax(input)[n,c],   q = (1 − ε)·[c = target[n]] + ε/C

    Numbers of 16 bits are computed in float32.

    Shape:
        input (N, C), target (N,) → ()

    Args:
        input: logits.
        target: classes, from 0 to C − 1, int64; none is ignored.
        label_smoothing: ε, the probability that is spread evenly over all classes.

    Raises:
        TypeError: logits that are not floating-point, targets that are not int64.
        ValueError: shapes that do not fit together, a target that is no class (on a CPU; a GPU
            stops with an assertion), or a smoothing that is not in [0, 1].

    Source:
        Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception architecture for
        computer vision (2016), section 7, for label smoothing.

    >>> logits = torch.tensor([[0.0, 0.0], [0.0, 1000.0]])
    >>> cross_entropy(logits, torch.tensor([1, 1]))  # (log 2 + 0) / 2
    tensor(0.3466)
    """
    check_dtype(input, "input", FLOATS)
    check_dtype(target, "target", (torch.int64,))
    smoothing = as_probability(label_smoothing, "label_smoothing")
    if input.ndim != 2 or input.shape[1] == 0:
        raise ValueError(f"input: expected shape (N, C), C ≥ 1, got {tuple(input.shape)}")
    if target.shape != input.shape[:1]:
        raise ValueError(f"target: expected shape ({len(input)},), got {tuple(target.shape)}")
    if target.device != input.device:
        raise ValueError(f"target: expected the input's {input.device}, got {target.device}")
    return _CrossEntropy.call(widen_operand(input), target, smoothing)


class _CrossEntropy(Operator):
    """(z, t, ε) → L."""

    schema = "cross_entropy(Tensor logits, Tensor targets, float smoothing) -> Tensor"

    @staticmethod
    def compute(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        _check_classes(targets, logits.shape[-1])
        if _is_compiled(logits):
            wide = logits.to(accumulation_dtype(logits.dtype))
            losses = loss_kernels.losses(wide, targets, smoothing)
            return (compiled_kernels.total(losses) / len(losses)).to(logits.dtype)
        return _mean_loss(logits, targets, smoothing)

    @staticmethod
    def shape(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        return logits.new_empty(logits.shape[:-2])

    @staticmethod
    def onnx(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        return _mean_loss(logits, targets, smoothing)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.smoothing = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        return _Gradient.call(*ctx.saved_tensors, ctx.smoothing, g), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        logits, targets = ctx.saved_tensors
        return _slope(logits, targets, ctx.smoothing, tangent)


class _Gradient(Operator):
    """(z, t, ε, g) → g·(s − q)/N, with derivatives that autograd can differentiate further."""

    schema = (
        "cross_entropy_gradient(Tensor logits, Tensor targets, float smoothing, Tensor g) -> Tensor"
    )

    @staticmethod
    def compute(logits: Tensor, targets: Tensor, smoothing: float, g: Tensor) -> Tensor:
        if _is_compiled(logits):
            wide = logits.to(accumulation_dtype(logits.dtype))
            factor = g.to(wide.dtype) / len(wide)
            return loss_kernels.gradient(wide, targets, smoothing, factor).to(logits.dtype)
        excess = _excess(logits, targets, smoothing)
        return (excess * _for_each(g, excess)).to(logits.dtype).contiguous()

    @staticmethod
    def shape(logits: Tensor, targets: Tensor, smoothing: float, g: Tensor) -> Tensor:
        return logits.new_empty(logits.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        logits, targets, ctx.smoothing, g = inputs
        ctx.save_for_backward(logits, targets, g)
        ctx.save_for_forward(logits, targets, g)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, None, None, Tensor | None]:
        logits, targets, g = ctx.saved_tensors
        needs_logits, _, _, needs_g, *_ = ctx.needs_input_grad
        return (
            _curvature(logits, g, v) if needs_logits else None,
            None,
            None,
            _slope(logits, targets, ctx.smoothing, v) if needs_g else None,
        )

    @staticmethod
    def jvp(ctx: Any, d_logits: Tensor | None, _: None, __: None, dg: Tensor | None) -> Tensor:
        logits, targets, g = ctx.saved_tensors
        terms = []
        if d_logits is not None:
            terms.append(_curvature(logits, g, d_logits))
        if dg is not None:
            terms.append(_Gradient.call(logits, targets, ctx.smoothing, dg))
        return sum(terms[1:], terms[0])


def _is_compiled(logits: Tensor) -> bool:
    return logits.ndim == 2 and len(logits) > 0 and loops.unsupported(logits) is None


def _mean_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    z = _shifted(logits)
    of_targets = z.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    losses = z.exp().sum(-1).log() - (1 - smoothing) * of_targets
    if smoothing:  # else 0·(−∞) would be NaN
        losses = losses - smoothing * z.mean(-1)
    return losses.mean(-1).to(logits.dtype)


def _slope(logits: Tensor, targets: Tensor, smoothing: float, v: Tensor) -> Tensor:
    """The derivative of the loss along v: Σ v·(s − q)/N."""
    excess = _excess(logits, targets, smoothing)
    slope: Tensor = (excess * v / excess.shape[-2]).sum((-2, -1))
    return slope.to(logits.dtype)


def _curvature(logits: Tensor, g: Tensor, v: Tensor) -> Tensor:
    """The second derivative g/N·∂s/∂z, which is symmetric, times v."""
    s = _softmax(logits)
    product = s * (v - (s * v).sum(-1, keepdim=True)) * _for_each(g, s)
    return product.to(logits.dtype)


def _excess(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """s − q, in a dtype to compute in."""
    s = _softmax(logits)
    return s - _probabilities(s, targets, smoothing)


def _softmax(logits: Tensor) -> Tensor:
    powers = _shifted(logits).exp()
    return powers / powers.sum(-1, keepdim=True)


def _shifted(logits: Tensor) -> Tensor:
    """The logits less the largest of each row, in a dtype to compute in."""
    wide = logits.to(accumulation_dtype(logits.dtype))
    return wide - wide.detach().amax(-1, keepdim=True)


def _probabilities(like: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """The targets as probabilities of the classes, q."""
    chosen = torch.zeros_like(like).scatter(-1, targets.unsqueeze(-1), 1 - smoothing)
    return chosen + smoothing / like.shape[-1]


def _for_each(g: Tensor, s: Tensor) -> Tensor:
    """g/N, broadcast to all classes of all rows."""
    rows: Tensor = g.to(s.dtype)[..., None, None] / s.shape[-2]
    return rows


def _check_classes(targets: Tensor, classes: int) -> None:
    """Refuse targets that are no class; a GPU's would have to be waited for."""
    if targets.device.type == "cpu" and len(targets):
        least, most = map(int, targets.aminmax())
        if least < 0 or most >= classes:
            raise ValueError(f"target: expected classes 0 to {classes - 1}, got {least} to {most}")

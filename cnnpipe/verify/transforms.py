"""The quantities of a call as PyTorch's transforms compute them, compared like the others.

Each function takes what `cnnpipe.verify.reference.quantities` takes and returns the quantities that
its transform has: `torch.compile` and `torch.export` no second order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from cnnpipe.verify.reference import Operator, Tensors, quantities

Results = dict[str, Tensor]


def func(operator: Operator, operands: Tensors, probes: Tensors) -> Results:
    """`torch.func.vjp`, and `vjp` of it."""
    first, upstream, sources = _pullback(operator, operands, probes)
    results = _named(*first(upstream, sources))
    for name in sources:
        _, pull, *_ = torch.func.vjp(
            lambda *given, name=name: first(*given)[1][name], upstream, sources
        )
        by_upstream, by_sources = pull(probes[name])
        for source, second in {"upstream": by_upstream, **by_sources}.items():
            results[f"{name}_gradient_by_{source}"] = second
    return results


def vmap(operator: Operator, operands: Tensors, probes: Tensors) -> Results:
    """`torch.func.vmap` over two inputs, the second of which counts; the kernels are shared."""

    def twice(*, input: Tensor, **kernels: Tensor) -> Tensor:
        inputs = torch.stack([torch.ones_like(input), input])
        outputs: Tensor = torch.func.vmap(lambda one: operator(input=one, **kernels))(inputs)
        return outputs[1]

    return quantities(twice, operands, probes)


def compile(operator: Operator, operands: Tensors, probes: Tensors) -> Results:
    """`torch.func.vjp` within `torch.compile`, traced down to single operators."""
    first, upstream, sources = _pullback(operator, operands, probes)
    torch.compiler.reset()
    return _named(*torch.compile(first, backend="aot_eager", fullgraph=True)(upstream, sources))


def export(operator: Operator, operands: Tensors, probes: Tensors) -> Results:
    """The module that `torch.export` makes of the operator, and its gradients."""

    class Module(nn.Module):
        def forward(self, call: Tensors) -> Tensor:
            result: Tensor = operator(**call)
            return result

    exported = torch.export.export(Module(), (dict(operands),)).module()
    results = quantities(lambda **call: exported(call), operands, probes)
    return {name: value for name, value in results.items() if "_by_" not in name}


Transform = Callable[[Operator, Tensors, Tensors], Results]
TRANSFORMS: Mapping[str, Transform] = {
    "compile": compile,
    "export": export,
    "func": func,
    "vmap": vmap,
}
FIRST_ORDER = ("compile", "export")
"""Those without a second order."""

Pullback = Callable[[Tensor, Results], tuple[Tensor, Results]]


def _pullback(
    operator: Operator, operands: Tensors, probes: Tensors
) -> tuple[Pullback, Tensor, Results]:
    """A function of the upstream gradient and the learned operands, and these two."""

    def first(upstream: Tensor, sources: Results) -> tuple[Tensor, Results]:
        output, pull, *_ = torch.func.vjp(
            lambda learned: operator(**{**operands, **learned}), sources
        )
        return output, pull(upstream)[0]

    sources = {name: operand for name, operand in operands.items() if name in probes}
    return first, probes["upstream"], sources


def _named(output: Tensor, gradients: Results) -> Results:
    return {"forward": output} | {f"{name}_gradient": value for name, value in gradients.items()}

"""Operators that all of PyTorch knows: a formula, the shape of its result, and its derivative.

Each is registered with PyTorch's dispatcher, as torch's own operators are. So autograd,
`torch.func`, `torch.compile`, `torch.export`, `torch.jit.trace`, fake and meta tensors see a single
call with a known shape and a known derivative, whatever happens inside.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction

from cnnpipe.functional.autocast import without_autocast

Batched = tuple[Tensor, int]
"""A result under vmap, and which of its axes is the one that was added."""

_LIBRARY = torch.library.Library("cnnpipe", "DEF")
_FLOPS: dict[str, Callable[..., int] | None] = {}


class Operator:
    """An operator that a subclass describes; `call` computes it.

    What a subclass has:
        schema: name, arguments and result, in the language of `torch.library`.
        compute: the result, as a new tensor that shares no memory with an operand.
        shape: an empty tensor with the result's shape, dtype and strides; sizes may be symbols.
        setup_context, backward, jvp: the derivatives, as in `torch.autograd.Function`.
        vmap: likewise.
        flops: optional, from the operands' shapes and the result's, for `torch.utils.flop_counter`.
        onnx: optional, what stands for it in a graph of `torch.onnx.export`.
    """

    schema: ClassVar[str]
    call: ClassVar[Callable[..., Tensor]]
    compute: ClassVar[Callable[..., Tensor]]
    shape: ClassVar[Callable[..., Tensor]]
    setup_context: ClassVar[Callable[..., None]]
    backward: ClassVar[Callable[..., Any]]
    jvp: ClassVar[Callable[..., Any]]
    flops: ClassVar[Callable[..., int] | None] = None
    onnx: ClassVar[Callable[..., Tensor] | None] = None

    def __init_subclass__(cls) -> None:
        if "schema" not in vars(cls):  # a family of operators, none by itself
            return
        name = cls.schema.split("(")[0]
        _LIBRARY.define(cls.schema)
        packet = getattr(torch.ops.cnnpipe, name)
        _FLOPS[name] = cls.flops
        operator = packet.default

        def shape(*operands: Any) -> Tensor:
            _let_count(packet, cls.flops)
            return cls.shape(*operands)

        def compute(*operands: Any) -> Tensor:
            _let_count(packet, cls.flops)
            with without_autocast(operands[0]):
                # It may be a view of scratch memory, which autograd lets nobody overwrite.
                return cls.compute(*operands).detach()

        def below_autograd(*operands: Any) -> Tensor:
            with torch._C._AutoDispatchBelowAutograd():
                result: Tensor = operator(*operands)
                return result

        def forward(*operands: Any) -> Tensor:
            # A Function switches gradients off inside, but the next level of torch.func needs them.
            with torch.set_grad_enabled(operands[-1]), forward_ad._set_fwd_grad_enabled(True):
                return below_autograd(*operands[:-1])

        def jvp(ctx: Any, *tangents: Any) -> Tensor:
            # Here too the next level of torch.func needs what a Function switches off. Tangents of
            # this level must stay out: the result is itself one.
            saved = [forward_ad.unpack_dual(tensor).primal for tensor in ctx.saved_tensors]
            primal = SimpleNamespace(**vars(ctx), saved_tensors=saved)
            with forward_ad._set_fwd_grad_enabled(True):
                result: Tensor = cls.jvp(primal, *tangents[:-1])
                return result

        function: Any = type(
            cls.__name__,
            (_SingleLevelFunction,),
            {
                "forward": staticmethod(forward),
                "setup_context": staticmethod(
                    lambda ctx, inputs, output: cls.setup_context(ctx, inputs[:-1], output)
                ),
                "backward": staticmethod(lambda ctx, grad: (*cls.backward(ctx, grad), None)),
                "jvp": staticmethod(jvp),
            },
        )

        def autograd(*operands: Any) -> Tensor:
            # The dispatcher comes here once for each level of torch.func, with tensors of that
            # level; `_SingleLevelFunction` is what autograd has for it.
            recorded = torch.is_grad_enabled()
            if not (recorded and torch._C._any_requires_grad(*operands)) and _no_tangents():
                return below_autograd(*operands)
            functorch = torch._C._functorch
            allowed = functorch.get_single_level_autograd_function_allowed()
            functorch.set_single_level_autograd_function_allowed(True)
            try:
                result: Tensor = function.apply(*operands, recorded)
                return result
            finally:
                functorch.set_single_level_autograd_function_allowed(allowed)

        def at_once(*operands: Any) -> Tensor:
            with torch._C._AutoDispatchBelowAutograd():
                return cls.compute(*operands).detach()

        def forward_at_once(ctx: Any, *operands: Any) -> Tensor:
            output = at_once(*operands)
            cls.setup_context(ctx, operands, output)
            return output

        recorded: Any = type(
            cls.__name__,
            (torch.autograd.Function,),
            {"forward": staticmethod(forward_at_once), "backward": staticmethod(cls.backward)},
        )

        _LIBRARY.impl(name, compute, "CompositeExplicitAutograd")
        _LIBRARY.impl(name, autograd, "Autograd")
        torch.library.register_fake(f"cnnpipe::{name}", shape, lib=_LIBRARY)
        torch.library.register_vmap(f"cnnpipe::{name}", cls.vmap, lib=_LIBRARY)

        def call(*operands: Any) -> Tensor:
            result: Tensor
            tensors = [operand for operand in operands if isinstance(operand, Tensor)]
            if not is_transformed() and are_plain(*tensors):
                if torch.is_grad_enabled() and torch._C._any_requires_grad(*tensors):
                    result = recorded.apply(*operands)
                else:
                    result = at_once(*operands)
            elif cls.onnx and torch.onnx.is_in_onnx_export():
                result = cls.onnx(*operands)
            else:
                result = operator(*operands)
            return result

        cls.call = staticmethod(call)

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], *operands: Any) -> Batched:
        """Move the added axis to the front of each tensor; an operand without it is repeated.

        This is right for an operator that treats each entry of a batch by itself, whatever axes the
        batch has: for pooling, those before height and width; for an activation, all of them.
        """
        moved = [
            value
            if not isinstance(value, Tensor)
            else value.expand(info.batch_size, *value.shape)
            if axis is None
            else value.movedim(axis, 0)
            for value, axis in zip(operands, in_dims, strict=True)
        ]
        return cls.call(*moved), 0


def merge_axis(tensor: Tensor, added: int | None, axis: int, size: int) -> Tensor:
    """Merge the axis that vmap added into another one; a tensor without it is repeated."""
    if added is None:
        shape = (*tensor.shape[:axis], size, *tensor.shape[axis:])
        return tensor.unsqueeze(axis).expand(shape).flatten(axis, axis + 1)
    return tensor.movedim(added, axis).flatten(axis, axis + 1)


def is_differentiated() -> bool:
    """Whether the derivatives of what is computed now are wanted, in backward or forward mode."""
    return torch.is_grad_enabled() or not _no_tangents()


def is_transformed() -> bool:
    """Whether more than plain autograd sees what happens to tensors now: autocast, too."""
    return is_observed() or torch._C._is_any_autocast_enabled()


def is_observed() -> bool:
    """Whether a compiler, tracer, exporter, transform or mode sees what happens to tensors now.

    A transform is one of `torch.func` or forward mode; a mode is one of the dispatcher, such as the
    FLOP counter.
    """
    return (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None
        or not _no_tangents()
    )


def are_plain(*tensors: Tensor | None) -> bool:
    """Whether all numbers of these tensors stand in memory as they are.

    Those of a subclass, of a sparse, meta or batched tensor, or of a view that negates or
    conjugates do not: PyTorch's dispatcher knows what to do with them.
    """
    for tensor in tensors:
        if tensor is None:
            continue
        keys = _keys(tensor).raw_repr()
        is_plain = _PLAIN.get(keys)
        if is_plain is None:
            is_plain = tensor.device.type != "meta" and keys in _plain_keys(tensor.device)
            _PLAIN[keys] = is_plain
        if not is_plain or type(tensor) not in (Tensor, torch.nn.Parameter):
            return False
    return True


_keys = torch._C._dispatch_keys
_PLAIN: dict[int, bool] = {}
"""Whether tensors are plain to which PyTorch's dispatcher gives these keys."""


def _plain_keys(device: torch.device) -> set[int]:
    """Keys of new tensors, outside and inside of `torch.inference_mode`."""
    keys = set()
    for is_inference in (False, True):
        with torch.inference_mode(is_inference):
            keys.add(_keys(torch.empty(0, device=device)).raw_repr())
    return keys


def _no_tangents() -> bool:
    return forward_ad._current_level < 0


def let_count() -> None:
    """Tell the FLOP counter of all operators; a counter asks when it is made."""
    for name, flops in _FLOPS.items():
        _let_count(getattr(torch.ops.cnnpipe, name), flops)


def _let_count(packet: Any, flops: Callable[..., int] | None) -> None:
    """Tell the FLOP counter, if it is there; importing it would import Triton as well."""
    counter: Any = sys.modules.get("torch.utils.flop_counter")
    if flops and counter and packet not in counter.flop_registry:

        def formula(*operands: Any, out_shape: Any) -> int:
            return flops(*operands, out_shape)

        counter.register_flop_formula(packet)(formula)

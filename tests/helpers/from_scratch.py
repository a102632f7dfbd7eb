"""What this project borrows from torch, name by name: all other names of torch are refused.

`violations` reads a module's imports and attributes. What it cannot follow, such as `getattr(nn,
…)` or `layers = nn`, needs a torch module as a value, and that is refused too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import reduce
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch

ALLOWED = {
    "tensors: made, compared, joined": "Tensor arange cat empty empty_like equal from_numpy "
    "ones ones_like stack tensor zeros zeros_like constant_pad_nd where",
    "arithmetic of numbers": "add addcmul bincount eq maximum mul nanmean ne rsqrt sub",
    "products of matrices": "bmm einsum mm",
    "the transform of the algorithm fft": "fft.rfft2 fft.irfft2",
    "random numbers": "Generator manual_seed rand randint randn randperm *et_rng_state",
    "the engine that runs our derivatives": "autograd.* no_grad enable_grad inference_mode "
    "set_grad_enabled is_grad_enabled _C._AutoDispatchBelowAutograd _C._any_requires_grad "
    "_C._functorch library.* ops.cnnpipe onnx.is_in_onnx_export onnx.ops.symbolic",
    "steps of training": "optim.* distributed.* nn.parallel.DistributedDataParallel "
    "_foreach_copy_ _foreach_lerp_",
    "dtypes, devices and threads": "dtype device finfo iinfo cuda.* accelerator accelerator.* "
    "get_device_module xpu.get_device_properties backends.* *num_threads autocast "
    "is_autocast_enabled get_autocast_dtype amp.is_autocast_available",
    "measurements": "profiler.*",
    "modules as containers": "nn.Module nn.Sequential nn.Parameter nn.Flatten nn.Identity "
    "nn.init.*",
    "who looks on: compilers, tracers, transforms, modes, hooks": "compiler.is_compiling "
    "_C._get_tracing_state _C._len_torch_dispatch_stack _C._functorch.peek_interpreter_stack "
    "_C._dispatch_keys _C._is_any_autocast_enabled "
    "nn.modules.module._has_any_global_hook",
    "parameters and running statistics, of which our layer is a subclass": "nn.BatchNorm2d",
    "labels": "nn.functional.one_hot",
    "images moved and framed": "nn.functional.grid_sample nn.functional.pad",
    "the data set": "torchvision.datasets.*",
}
ALLOWED_IN = {
    "cnnpipe/verify/reference.py": "*",  # the truth that the operators are compared with
    "cnnpipe/verify/transforms.py": "func.* compile compiler.reset export.export",
    "cnnpipe/race/tutorial.py": "*",  # the common practice that the race is run against
    "cnnpipe/benchmark/turns.py": "nn nn.Conv2d",  # races each operator against torch's
    # The same network of torch's layers, and its loss: backend="torch"
    "cnnpipe/models.py": "nn nn.functional nn.functional.cross_entropy",
    # Arguments, initial weights and state are torch's, and what is computed is not.
    "cnnpipe/layers.py": "nn.Linear nn.Dropout",
    "cnnpipe/inspection/structure.py": "nn.Dropout",  # looks for it
}
METHODS = {name for name in dir(torch.Tensor) if hasattr(torch.nn.functional, name.rstrip("_"))} - {
    "grad",
    "softmax",
}
"""What torch.nn.functional offers as methods of tensors too, whatever the tensor is called."""


def violations(module: Path, text: str | None = None) -> list[str]:
    """The names of torch that a module may not use, as "line N: name".

    Args:
        module: relative to the project's root.
        text: what to read instead of the module's file.
    """
    tree = ast.parse(module.read_text(encoding="utf-8") if text is None else text)
    patterns = " ".join([*ALLOWED.values(), ALLOWED_IN.get(module.as_posix(), "")]).split()
    return [
        f"line {line}: {name}"
        for line, name in sorted(set(names_of_torch(tree)))
        if not any(fnmatchcase(name.removeprefix("torch."), pattern) for pattern in patterns)
    ]


def names_of_torch(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Each use of a function, class or module of torch: its line and full name."""
    imported: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                full = alias.name if alias.asname else alias.name.split(".")[0]
                imported[alias.asname or full] = full
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                imported[alias.asname or alias.name] = full
                if is_of_torch(full) and not is_module(full):
                    yield node.lineno, full
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Attribute, ast.Name)):
            continue
        root, *path = dotted(node)
        full = ".".join([imported.get(root, ""), *path])
        if is_of_torch(full):
            if id(node) not in inner and (path or is_module(full)) and not is_constant(full):
                yield node.lineno, full
        elif root not in imported and path and path[-1] in METHODS:
            yield node.lineno, f"Tensor.{path[-1]}"


def dotted(node: ast.expr) -> list[str]:
    """The parts of a name such as nn.functional.pad; the first is empty for what is no name."""
    if isinstance(node, ast.Attribute):
        return [*dotted(node.value), node.attr]
    return [node.id if isinstance(node, ast.Name) else ""]


def is_of_torch(name: str) -> bool:
    return name.split(".")[0] in ("torch", "torchvision")


def resolve(name: str) -> object:
    """What a full name stands for; None for what only a longer import would bring."""
    root, *path = name.split(".")
    start: object = import_module(root)  # torchvision takes a second
    return reduce(lambda value, part: getattr(value, part, None), path, start)


def is_module(name: str) -> bool:
    return isinstance(resolve(name), ModuleType)


def is_constant(name: str) -> bool:
    constants = (torch.dtype, torch.layout, torch.memory_format, int, float, str)
    return isinstance(resolve(name), constants)

"""A small compiler of loop nests, on LLVM."""

from cnnpipe.loops.compiler import REGISTERS, compiled, dtype_name, lanes, unsupported
from cnnpipe.loops.nest import Array, Index, Nest, Variable, Vector, steps

__all__ = [
    "REGISTERS",
    "Array",
    "Index",
    "Nest",
    "Variable",
    "Vector",
    "compiled",
    "dtype_name",
    "lanes",
    "steps",
    "unsupported",
]

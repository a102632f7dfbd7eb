"""A small compiler of loop nests, on LLVM."""

from cnnpipe.functional.loops.compiler import REGISTERS, compiled, dtype_name, lanes, unsupported
from cnnpipe.functional.loops.nest import Array, Index, Nest, Variable, Vector, steps

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

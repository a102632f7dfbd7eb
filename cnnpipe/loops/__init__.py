"""A small compiler of loop nests, on LLVM."""

from cnnpipe.loops.compiler import compiled, unsupported
from cnnpipe.loops.nest import Array, Index, Nest, Variable, Vector, steps

__all__ = ["Array", "Index", "Nest", "Variable", "Vector", "compiled", "steps", "unsupported"]

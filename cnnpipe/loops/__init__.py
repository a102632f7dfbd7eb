"""A small compiler of loop nests, on LLVM."""

from cnnpipe.loops.compiler import compiled, unsupported
from cnnpipe.loops.nest import Array, Index, Nest, Vector, steps

__all__ = ["Array", "Index", "Nest", "Vector", "compiled", "steps", "unsupported"]

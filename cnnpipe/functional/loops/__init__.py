"""A small compiler of loop nests, on LLVM.

nest.py         the language: loops and arrays in Python
elementary.py   exponential function and logarithm in it
compiler.py     from a nest to machine code, and its tasks to the threads
peak.py         what a processor can do at most
"""

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

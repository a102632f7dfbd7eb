"""Run every kernel with its operands between pages that nobody may touch.

    python -m tests.helpers.guarded_memory

A load or store outside of an operand ends the process with SIGSEGV.
"""

import ctypes
import faulthandler
import mmap
import sys

import torch
from torch import Tensor

from cnnpipe.functional import cross_entropy
from cnnpipe.functional.loops.compiler import Kernel
from cnnpipe.models import build_model
from tests.functional.test_compiled import CONVOLUTIONS, check

PAGE, PROT_NONE = mmap.PAGESIZE, 0
LIBC = ctypes.CDLL(None)


class Guarded:
    """A copy of a dense tensor's memory, at the end or the start of its pages."""

    def __init__(self, tensor: Tensor, *, at_end: bool) -> None:
        self._tensor, self._size = tensor, tensor.numel() * tensor.itemsize
        inside = -(-self._size // PAGE) * PAGE
        self._memory = mmap.mmap(-1, inside + 2 * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self.address = start + PAGE + (inside - self._size if at_end else 0)
        ctypes.memmove(self.address, tensor.data_ptr(), self._size)
        for guard in (start, start + PAGE + inside):
            assert LIBC.mprotect(ctypes.c_void_p(guard), PAGE, PROT_NONE) == 0

    def copy_back(self) -> None:
        ctypes.memmove(self._tensor.data_ptr(), self.address, self._size)


def guarded(kernel: Kernel) -> Kernel:
    """The same kernel, run twice; the second time gives the results."""

    def call(tasks: int, *arguments: Tensor | int) -> None:
        for at_end in (True, False):
            copies = [
                Guarded(value, at_end=at_end) if isinstance(value, Tensor) else value
                for value in arguments
            ]
            kernel(tasks, *(copy.address if isinstance(copy, Guarded) else copy for copy in copies))
        for copy in copies:
            if isinstance(copy, Guarded):
                copy.copy_back()

    return call


def guard_all_kernels() -> None:
    """Of the operators' modules."""
    found = set()
    for module in [m for name, m in sys.modules.items() if name.startswith("cnnpipe.functional.")]:
        for name, value in list(vars(module).items()):
            if getattr(value, "__qualname__", "") == "compiled.<locals>.kernel":
                setattr(module, name, lambda *case, of=value: guarded(of(*case)))
                found.add(name)
    assert {"forward", "weight_gradient", "pack", "_statistics", "_losses"} < found


def main() -> None:
    faulthandler.enable()
    guard_all_kernels()
    torch.manual_seed(0)
    for convolution in CONVOLUTIONS:
        for dtype in (torch.float32, torch.float64):
            check(convolution, dtype)
    for name in ("lenet5", "vgg"):
        logits = build_model(name)(torch.randn(17, 1, 28, 28))
        cross_entropy(logits, torch.arange(17) % 10, label_smoothing=0.1).backward()


if __name__ == "__main__":
    main()

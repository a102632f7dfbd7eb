"""What a training step computes on a GPU, as one CUDA graph.

A step consists of hundreds of small kernels, which Python launches one after the other. A CUDA
graph is a recorded list of launches: one call repeats all of them, in the same order and on the
same memory, so that the numbers are the same.

Source:
    Ng, Nikolaev, Gimelshein and others: Accelerating PyTorch with CUDA graphs (2021),
    https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/
"""

import gc
from collections.abc import Callable

import torch
from torch import Tensor

EAGER_CALLS = 3
"""Before the recording: in its first calls a library allocates memory and chooses kernels."""


class Graphed:
    """A function of tensors that is recorded after its first calls and repeated from then on.

    Each call must do the same, and differ only in the numbers that tensors hold: what Python
    computes on the way is computed once. Whatever the function leaves behind, such as gradients, is
    overwritten by the next call. A function that waits for the GPU cannot be recorded; it is called
    as before, and a line says so.
    """

    def __init__(
        self, function: Callable[..., Tensor], device: torch.device, *, record: bool
    ) -> None:
        """
        Args:
            function: of tensors on the device, which keep their shapes.
            device: operands on the CPU are copied to it; to a CUDA GPU without a wait.
            record: whether to record, on a CUDA device; if False, each call is a plain call.
        """
        self._function = function
        self._device = device
        self._is_cuda = device.type == "cuda"
        self._may_record = record and self._is_cuda
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *operands: Tensor) -> Tensor:
        if self._is_cuda:  # from pageable memory a copy would wait for the GPU
            operands = tuple(each if each.is_cuda else each.pin_memory() for each in operands)
        if self._may_record and self._calls == EAGER_CALLS:
            self._record(operands)
        self._calls += 1
        if not self._graph:
            on_device = (each.to(self._device, non_blocking=self._is_cuda) for each in operands)
            return self._function(*on_device)
        torch._foreach_copy_(self._operands, operands, non_blocking=True)
        self._graph.replay()
        return self._result.clone()

    def _record(self, operands: tuple[Tensor, ...]) -> None:
        """Record one call. Nothing is computed, so that it changes no number."""
        self._operands = [torch.empty_like(each, device=self._device) for each in operands]
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream(self._device)
        try:
            with torch.cuda.device(self._device), torch.cuda.graph(graph, stream=stream):
                self._result = self._function(*self._operands)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            print(
                f"each step launches its kernels one by one: no CUDA graph ({reason})", flush=True
            )
            gc.collect()  # what is left of the recording
        else:
            self._graph = graph

"""Train on the null GPU, and print as JSON what the last step asked of it.

    python -m tests.null_gpu.steps MODEL,BACKEND,PRECISION[,ALGORITHM] …

Run with the environment that `build` returns. `eager` and `graph` count a step without and with a
CUDA graph, and the making of its batch: kernels; products, convolutions and normalisations of
libraries; copies and fills; launches of graphs; and how often Python waited. `random` is the state
of the GPU's generator at the end. The model "waiting" reads a number back from the GPU in each
forward pass, which no graph can hold.
"""

import ctypes
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnnpipe.data.dataset import Split
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.layers import Linear
from cnnpipe.models import build_model
from cnnpipe.params.train import Algorithm, Backend, TrainParams
from cnnpipe.train import graph, loop

NULL = ctypes.CDLL("libnullgpu.so")
DRIVER = ctypes.CDLL("libcuda.so.1")
LIBRARIES = (
    *("cublasGemmEx", "cublasGemmStridedBatchedEx", "cublasLtMatmul", "cublasSgemmEx"),
    *("cublasSgemm_v2", "cublasSgemmBatched", "cublasSgemmStridedBatched"),
    *("cudnnConvolutionForward", "cudnnConvolutionBiasActivationForward"),
    *("cudnnConvolutionBackwardData", "cudnnConvolutionBackwardFilter"),
    *("cudnnBatchNormalizationForwardInference", "cudnnBatchNormalizationForwardTrainingEx"),
    "cudnnBatchNormalizationBackwardEx",
)
"""What computes; calls that prepare it have similar names, as cublasLtMatmulDescSetAttribute."""
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
STEPS = 6
"""An epoch; the first three of it are not recorded."""
STEPS_DONE: list[dict[str, int]] = []


def counts() -> dict[str, int]:
    """Of all calls since the last time, by kind."""
    with tempfile.NamedTemporaryFile() as file:
        NULL.nullgpu_report(file.name.encode())
        lines = [line.split() for line in Path(file.name).read_text().splitlines()]
    NULL.nullgpu_reset()
    calls = {line[2]: int(line[1]) for line in lines if line[0] == "API"}
    replays = ctypes.c_long.in_dll(NULL, "nullgpu_graph_launches")
    of_triton = ctypes.c_long.in_dll(DRIVER, "nullcu_launches")
    found = {
        "kernels": int(lines[0][1]) + of_triton.value,
        "products": sum(calls.get(name, 0) for name in LIBRARIES),
        "copies": sum(n for name, n in calls.items() if name.startswith(("cudaMemc", "cudaMems"))),
        "graphs": replays.value,
        "waits": sum(calls.get(name, 0) for name in WAITS),
    }
    replays.value = of_triton.value = 0
    return found


class Waiting(nn.Sequential):
    def forward(self, images: Tensor) -> Tensor:
        images.sum().item()
        return super().forward(images)


def network(name: str, backend: Backend, algorithm: Algorithm) -> nn.Module:
    torch.manual_seed(0)
    if name == "waiting":
        return Waiting(nn.Flatten(), Linear(784, 10))
    return build_model(name, backend=backend, algorithm=algorithm)


def measure(name: str, backend: Any, precision: Any, algorithm: Any = "auto") -> dict[str, Any]:
    device = torch.device("cuda")
    images = torch.randint(256, (STEPS * 128, 28, 28), dtype=torch.uint8)
    split = Split(images, torch.randint(10, (len(images),))).to(device)
    params = TrainParams(backend=backend, precision=precision, epochs=1, batch_size=128)
    found: dict[str, Any] = {}
    for how, calls in {"eager": STEPS, "graph": 3}.items():
        graph.EAGER_CALLS = calls
        model = network(name, backend, algorithm).to(device)
        validation = split[torch.arange(9)]
        loop.train(model, split, validation, params, Normalization(0.1, 0.3), progress=False)
        random = torch.cuda.get_rng_state().tolist()
        found[how] = {**STEPS_DONE[-1], "random": random}
    return found


def main(*runs: str) -> None:
    step = loop.train_step

    def counted(*arguments: Any) -> Any:
        """A step, counted from the end of the one before."""
        result = step(*arguments)
        STEPS_DONE.append(counts())
        return result

    loop.train_step = counted
    print(json.dumps({run: measure(*run.split(",")) for run in runs}))


if __name__ == "__main__":
    main(*sys.argv[1:])

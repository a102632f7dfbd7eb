"""Training in several processes: each computes its part of every batch, all keep the same weights.

Data parallelism as in PyTorch's DistributedDataParallel: after the backward pass the gradients of
all processes are averaged, so each of them takes the step that one process would take on the whole
batch. Gloo carries the numbers between CPUs, NCCL between GPUs.

Without a process group every function here means one process, and changes nothing.

Axes: N batch, C channels.
"""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cnnpipe.functional.normalization import (
    BatchNorm,
    BatchNormInputGradient,
    BatchNormSums,
    BatchStatistics,
    update_running,
)
from cnnpipe.layers import BatchNorm2d
from cnnpipe.params.runtime import RuntimeParams
from cnnpipe.system.errors import InputError
from cnnpipe.system.hardware import choose_device
from cnnpipe.system.processes import end_with_parent

T = TypeVar("T")

STORE = "CNNPIPE_STORE"
"""Environment variable with the file through which the processes of `launch` connect."""
LOST = 75
"""Exit status of a process that lost another one, which has reported the cause."""


def is_worker() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number; 0 writes, validates and prints."""
    return dist.get_rank() if dist.is_initialized() else 0


def part_of(batch: Tensor) -> Tensor:
    """This process's part of a batch: the rank-th of equal parts."""
    return batch.chunk(processes())[rank()]


def mean(values: Tensor) -> Tensor:
    """Each value's mean over all processes."""
    if processes() > 1:
        dist.all_reduce(values)
        values /= processes()
    return values


def from_first(value: T) -> T:
    """What process 0 passed."""
    if processes() > 1:
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]
    return value


def from_all(value: T) -> list[T]:
    """What each process passed."""
    values = [value] * processes()
    if processes() > 1:
        dist.all_gather_object(values, value)
    return values


def parallel(model: nn.Module) -> nn.Module:
    """A module whose backward pass averages the gradients of `model` over all processes.

    Batch normalisations in `model` are replaced by `GlobalBatchNorm2d`, with the same parameters
    and names.
    """
    if processes() == 1:
        return model
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.BatchNorm2d):
            model.set_submodule(name, GlobalBatchNorm2d.of(layer))
    # All processes have the same statistics of the whole batch: none have to be sent.
    return DistributedDataParallel(model, forward_sync_buffers=False)


class GlobalBatchNorm2d(BatchNorm2d):
    """Batch normalisation by the mean and variance of the whole batch, over all processes.

    torch's SyncBatchNorm does this on GPUs only. Every process holds equally many images.

    Shape: (N, C, H, W) → (N, C, H, W).
    """

    @classmethod
    def of(cls, layer: nn.BatchNorm2d) -> Self:
        """The same layer, with its parameters and buffers shared."""
        twin = cls(layer.num_features, eps=layer.eps, momentum=layer.momentum)
        twin.weight, twin.bias = layer.weight, layer.bias
        twin._buffers = layer._buffers
        return twin

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        output: Tensor
        output, statistics = _Normalize.apply(input, self.weight, self.bias, self.eps)
        momentum = self.count_and_arguments().momentum
        update_running(
            self.get_buffer("running_mean"),
            self.get_buffer("running_var"),
            statistics,
            input.numel() // input.shape[1] * processes(),
            momentum,
        )
        return output


class _Normalize(torch.autograd.Function):
    """`cnnpipe.functional.normalization`, whose sums are taken over all processes.

    Forward: each process sends its mean mᵢ and variance vᵢ; as all hold equally many values,
    μ = mean(mᵢ) and σ² = mean(vᵢ) + mean((mᵢ − μ)²), with no difference of large numbers.

    Backward: μ and σ² depend on every x, so Σ g and Σ g·x̂ go over the whole batch, too.

    Source: Chan, Golub, LeVeque, "Algorithms for computing the sample variance", The American
    Statistician 37(3), 1983.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        own = BatchStatistics.call(x)  # (2, C)
        gathered = [torch.empty_like(own) for _ in range(processes())]
        dist.all_gather(gathered, own)
        means, variances = torch.stack(gathered, dim=1)  # (processes, C) each
        mean = means.mean(0)  # (C,)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        statistics = torch.stack([mean, variance])
        ctx.save_for_backward(x, statistics, weight)
        ctx.eps = eps
        ctx.mark_non_differentiable(statistics)
        return BatchNorm.call(x, statistics, weight, bias, eps, True), statistics

    @staticmethod
    def backward(ctx: Any, g: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, statistics, weight = ctx.saved_tensors
        sums = BatchNormSums.call(g, x, statistics, ctx.eps)  # (2, C)
        own_weight, own_bias = sums.unbind()  # DistributedDataParallel averages these two
        average = mean(sums.clone())  # divided by M of one process: a mean over the whole batch
        dx = BatchNormInputGradient.call(g, x, statistics, weight, average, ctx.eps, True)
        return dx, own_weight, own_bias, None


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Connect the processes that torchrun started; yield the device of this one.

    In a process that torchrun did not start, yield `device` and connect nothing.

    Raises:
        InputError: see `check_device`.
    """
    if not is_worker():
        yield device
        return
    on_this_machine = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    check_device(device, on_this_machine)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    end_with_parent(partial(os._exit, LOST))  # a SIGKILL gives torchrun no time to end this one
    meeting: dict[str, Any] = {}  # torchrun's own variables say where
    if STORE in os.environ:
        numbers = {"rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"])}
        meeting = {"init_method": os.environ[STORE]} | numbers
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", **meeting)
    try:
        yield device
    except RuntimeError as error:
        # Gloo and NCCL report a broken connection; the process that broke it has shown the cause.
        if "onnect" in str(error) or isinstance(error, dist.DistError):
            sys.exit(LOST)
        raise
    finally:
        dist.destroy_process_group()


def check_device(device: torch.device, processes: int) -> None:
    """Refuse a device that cannot be shared by this number of processes of one machine.

    Raises:
        InputError: not a CPU or GPU without a number, or fewer GPUs than processes.
    """
    if processes == 1:
        return
    if device.type not in ("cpu", "cuda") or device.index not in (None, 0):
        raise InputError(
            f"device: got {device}; expected cpu or cuda with {processes} processes: each of them "
            "takes a GPU of its own"
        )
    if device.type == "cuda" and processes > torch.cuda.device_count():
        raise InputError(
            f"processes: got {processes}; expected at most {torch.cuda.device_count()}, one for "
            "each GPU of this machine"
        )


def check_batch(batch_size: int, processes: int) -> None:
    """Refuse a batch that cannot be divided equally.

    Raises:
        InputError: `batch_size` is not a multiple of `processes`.
    """
    if batch_size % processes:
        raise InputError(
            f"batch_size: got {batch_size}; expected a multiple of {processes}, the number of "
            "processes: each computes an equal part of a batch"
        )


def _meet_in(folder: str) -> list[str]:
    """Options and variables by which processes find each other in files of this user alone.

    torchrun's own way is a store that listens on every network interface, trusts whoever connects,
    and has the launcher unpickle what lies in it: code of anybody on the network could run.
    """
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    os.environ[STORE] = Path(folder, "store").as_uri()
    if os.name == "posix":  # the gradients go over sockets of this machine
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    meeting = Path(folder, "rendezvous")
    return ["--rdzv-backend=c10d", "--rdzv-conf=store_type=file", f"--rdzv-endpoint={meeting}"]


def launch(runtime: RuntimeParams, batch_size: int, *command: str) -> bool:
    """Run `python command` in several processes of this machine, as torchrun does, to their end.

    Returns:
        False, with nothing done, if one process is wanted or this is already one of several.

    Raises:
        InputError: the device or the batch does not fit the number of processes, or one of them
            was killed.
        SystemExit: one of them failed, or this process got a signal; all have ended.
    """
    processes = runtime.processes
    if processes == 1 or is_worker():
        return False
    check_device(choose_device(runtime.device), processes)
    check_batch(batch_size, processes)
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # Each process prints its own error in one line; torchrun's long reports add nothing.
    logging.disable()
    threads = max(1, torch.get_num_threads() // processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    arguments = ["--nnodes=1", f"--nproc-per-node={processes}", "--local-addr=127.0.0.1"]
    try:
        with TemporaryDirectory() as folder:
            options = [f"--log-dir={folder}", "--shutdown-timeout=10", *_meet_in(folder)]
            run.run(run.parse_args([*arguments, *options, *command]))
        return True
    except SignalException as stop:
        sys.exit(128 + int(stop.sigval))
    except ChildFailedError as error:
        # Processes that lost a peer, or were stopped because another one failed, print no error.
        statuses = {failure.exitcode for failure in error.failures.values()}
        statuses -= {LOST, 128 + signal.SIGTERM}
        if max(statuses, default=0) > 0:
            sys.exit(max(statuses))
        number, failure = error.get_first_failure()
        how = signal.Signals(-failure.exitcode).name if failure.exitcode < 0 else "a lost peer"
        raise InputError(f"process {number} of {processes} was ended by {how}") from None

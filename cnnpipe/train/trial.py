"""Whether this machine can train a model, tried on two blank images."""

import torch

from cnnpipe.data.idx import IMAGE_SIDE
from cnnpipe.models import build_model, loss_function
from cnnpipe.params.models import ModelParams
from cnnpipe.system.errors import InputError
from cnnpipe.system.hardware import choose_dtype
from cnnpipe.train.distributed import check_batch, check_device


def check_training(name: str, run: ModelParams, device: torch.device, processes: int) -> None:
    """Refuse what training would refuse, by one forward and one backward pass.

    Training itself is too late: DVC has removed the old weights then.

    Raises:
        InputError: `processes` processes cannot share the device, the batch cannot be divided
            among them, the network cannot be built, or the device cannot compute it with the run's
            algorithm and precision.
    """
    check_device(device, processes)
    check_batch(run.batch_size, processes)
    dtype = choose_dtype(run.precision, device)
    images = torch.zeros(2, 1, IMAGE_SIDE, IMAGE_SIDE, device=device)  # (N, 1, H, W)
    labels = torch.zeros(2, dtype=torch.int64, device=device)
    try:
        model = build_model(
            name, backend=run.backend, algorithm=run.algorithm, **run.architecture()
        ).to(device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss_function(run.backend)(model(images), labels).backward()
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"models.{name}: cannot be trained on {device}: {reason}") from None

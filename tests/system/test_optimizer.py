"""The optimiser is torch's, to the bit, but torch's compiler stays unimported."""

import subprocess
import sys
from itertools import starmap
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from cnnpipe.system.optimizer import AdamW


def train(optimizer_class: type[torch.optim.AdamW], **options: Any) -> list[torch.Tensor]:
    """Weights after twenty steps on a sum of squares, interrupted and continued after ten."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(3, 5, generator=generator)
    weights = [torch.randn(3, 5, generator=generator).requires_grad_() for _ in range(2)]
    optimizer = optimizer_class(weights, lr=0.1, weight_decay=0.3, **options)
    schedule = OneCycleLR(optimizer, 0.1, total_steps=21)
    for step in range(20):
        if step == 10:
            optimizer.load_state_dict(optimizer.state_dict())
        optimizer.zero_grad()
        sum((w - target).square().sum() for w in weights).backward()  # type: ignore[union-attr]
        optimizer.step()
        schedule.step()
    return weights


@pytest.mark.parametrize("options", [{"fused": True}, {}])
def test_trains_as_torchs_does(options: dict[str, Any]) -> None:
    found, expected = train(AdamW, **options), train(torch.optim.AdamW, **options)
    assert all(starmap(torch.equal, zip(found, expected, strict=True)))
    assert all(weight.requires_grad for weight in found)


def test_a_training_step_imports_no_compiler() -> None:
    code = (
        "import sys; from cnnpipe.system.optimizer import AdamW; "
        "from tests.system.test_optimizer import train; train(AdamW); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

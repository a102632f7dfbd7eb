"""The optimiser of every training loop: torch's AdamW."""

import inspect
from collections.abc import Callable
from typing import Any

import torch


def _plain(method: Callable[..., Any]) -> Any:
    """A method as torch.optim writes it, without what it adds for `torch.compile`."""
    return inspect.unwrap(method)


class AdamW(torch.optim.AdamW):
    """torch's, but for what `torch.compile` needs of an optimiser.

    That imports the compiler as soon as an optimiser is built, for 1.1 s in each process that
    trains, and is asked again at every step.
    """

    add_param_group = _plain(torch.optim.Optimizer.add_param_group)
    zero_grad = _plain(torch.optim.Optimizer.zero_grad)
    state_dict = _plain(torch.optim.Optimizer.state_dict)
    load_state_dict = _plain(torch.optim.Optimizer.load_state_dict)
    step = torch.no_grad()(_plain(torch.optim.AdamW.step))

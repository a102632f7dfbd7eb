"""The optimiser of every training loop: torch's AdamW."""

from inspect import unwrap

import torch


class AdamW(torch.optim.AdamW):
    """torch's, but for the wrappers of its methods, which `torch.compile` needs.

    They import the compiler as soon as an optimiser is built, for 1.1 s in each process that
    trains, and ask again at every step.
    """

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)
    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))

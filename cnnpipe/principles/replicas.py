"""Networks of the pipeline's architecture, trained anew: one trained network is a sample of one."""

from __future__ import annotations

import copy
from typing import cast

from torch import nn

from cnnpipe.params.principles import ReplicaParams
from cnnpipe.principles.study import Examples, Study, train


def fresh(model: nn.Sequential) -> nn.Sequential:
    """A copy with new random weights, drawn by torch's seed."""
    copied = copy.deepcopy(model).requires_grad_(requires_grad=True)
    for layer in copied.modules():
        if callable(reset := getattr(layer, "reset_parameters", None)):
            reset()
    return copied


def replica(
    run: Study, model: nn.Sequential, params: ReplicaParams, examples: Examples | None = None
) -> nn.Sequential:
    """The same architecture, from the run's initial weights, trained on the run's images.

    Args:
        run, params: seed and budget.
        model: whose architecture it has.
        examples: to train on; if none are given the run's, each seen once.
    """
    if examples is None:
        examples = run.training_examples(params.steps * params.batch_size)
    return cast("nn.Sequential", train(lambda: fresh(model), examples, params, run.seed))

"""Newly trained networks of the pipeline's architecture: one network is a sample of one."""

from __future__ import annotations

from typing import cast

from torch import nn

from cnnpipe.inspection.untrained import fresh
from cnnpipe.params.principles import ReplicaParams
from cnnpipe.principles.study import Examples, Study, train


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
    trained = train(lambda: fresh(model).requires_grad_(), examples, params, run.seed)
    return cast("nn.Sequential", trained)

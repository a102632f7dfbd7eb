"""What every experiment is given: data, trained models, budgets, and a plain way to train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from cnnpipe.data.dataset import Dataset, Split
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.models import TrainedNetwork
from cnnpipe.params.models import ModelName
from cnnpipe.params.principles import PrinciplesParams
from cnnpipe.system.errors import InputError


@dataclass(frozen=True)
class Study:
    """The inputs that the experiments share. Nothing in it is changed by any of them."""

    dataset: Dataset
    normalization: Normalization
    """Measured on the training images."""
    models: Mapping[ModelName, nn.Sequential]
    """As the pipeline trained them, in evaluation mode. params.yaml decides how many layers they
    have and which activation: find layers by their kind, not by their name."""
    params: PrinciplesParams
    seed: int

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        networks: Sequence[TrainedNetwork],
        params: PrinciplesParams,
        seed: int,
    ) -> Study:
        """A study of trained networks.

        Raises:
            InputError: they do not share one normalisation, so they saw different images.
        """
        first, *others = networks
        for other in others:
            if other.normalization != first.normalization:
                raise InputError(
                    f"{first.name} and {other.name} normalise images differently; "
                    "train both on the same images"
                )
        models = {network.name: network.model for network in networks}
        return cls(dataset, first.normalization, models, params, seed)

    def training_examples(self, count: int) -> tuple[Tensor, Tensor]:
        """Normalised training images and their labels; all of them if there are no more.

        A larger `count` keeps the images of a smaller one, and adds to them.

        Shape: → (count, 1, H, W), (count,).
        """
        return self._examples(self.dataset.train, count)

    def test_examples(self, count: int) -> tuple[Tensor, Tensor]:
        """The same of the test set. Drawn by the seed: MNIST's first 5,000 are its easier half."""
        return self._examples(self.dataset.test, count)

    def _examples(self, split: Split, count: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.randperm(len(split), generator=generator)[:count]
        return self.normalization(split.images[chosen]), split.labels[chosen]


def fit(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    steps: int,
    batch_size: int,
    lr: float,
    seed: int,
    watch: Callable[[int, nn.Module], None] | None = None,
) -> nn.Module:
    """Train on ready inputs for a fixed number of steps: AdamW, one cycle, no augmentation.

    Batches run through the examples in fresh random orders. A set smaller than a batch is one.

    Args:
        inputs: normalised images, any shape (N, …).
        steps: optimiser steps, whatever the number of examples, so that budgets are comparable.
        watch: called after each backward pass, before the step, with the step's number from 0.

    Returns:
        the model, in evaluation mode.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    batch_size = min(batch_size, len(inputs))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, fused=True)
    schedule = OneCycleLR(optimizer, lr, total_steps=steps + 1)
    loss_function = nn.CrossEntropyLoss()
    model.train()
    batches: list[Tensor] = []
    for step in range(steps):
        if not batches:
            order = torch.randperm(len(inputs), generator=generator)
            batches = [b for b in order.split(batch_size) if len(b) == batch_size]
        batch = batches.pop()
        loss = loss_function(model(inputs[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        if watch:
            watch(step, model)
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.inference_mode()
def accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Fraction of examples whose largest logit is that of their label."""
    predictions = torch.cat([model(batch).argmax(1) for batch in inputs.split(500)])
    return (predictions == labels).float().mean().item()

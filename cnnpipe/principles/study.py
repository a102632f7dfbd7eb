"""What every experiment is given: data, trained models, budgets, and a plain way to train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from cnnpipe.data.dataset import Dataset, Split
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.findings.runs import kept_runs, seed_of_run
from cnnpipe.findings.wording import count, title_of
from cnnpipe.functional import cross_entropy
from cnnpipe.models import TrainedNetwork
from cnnpipe.params.principles import Budget, PrinciplesParams, Schedule
from cnnpipe.system.errors import InputError
from cnnpipe.system.optimizer import AdamW

Examples = tuple[Tensor, Tensor]
"""Normalised images and their labels."""


@dataclass(frozen=True)
class Study:
    """The inputs that the experiments share. Nothing in it is changed by any of them."""

    dataset: Dataset
    normalization: Normalization
    """Measured on the training images."""
    models: Mapping[str, nn.Sequential]
    """As the pipeline trained them, in evaluation mode. params.yaml decides how many layers they
    have and which activation: find layers by their kind, not by their name."""
    params: PrinciplesParams
    seed: int
    kept: Path | None = None
    """Folder for the tables of finished runs, by which an interrupted study continues."""

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        networks: Sequence[TrainedNetwork],
        params: PrinciplesParams,
        seed: int,
        kept: Path | None = None,
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
        return cls(dataset, first.normalization, models, params, seed, kept)

    def training_examples(self, count: int) -> Examples:
        """Training images drawn by the seed; all of them if there are no more than `count`.

        A larger `count` keeps the images of a smaller one, and adds to them.

        Shape: → (count, 1, H, W), (count,).
        """
        return self._examples(self.dataset.train, count)

    def test_examples(self, count: int) -> Examples:
        """The same of the test set, all of which can be drawn: its halves differ in difficulty."""
        return self._examples(self.dataset.test, count)

    def run(self, claim: str, number: int) -> Study:
        """The study of one run of a claim, with a seed of its own: a hash of all three.

        So it draws its own training images, initial weights, order and test images, and studies
        with different seeds have no run in common.
        """
        return replace(self, seed=seed_of_run(self.seed, claim, number), kept=None)

    def repeat(
        self, claim: str, runs: int, measure: Callable[[Study], pd.DataFrame]
    ) -> pd.DataFrame:
        """What independent runs of an experiment give, one below the other.

        Returns:
            the columns of `measure`, and run, from 0.
        """
        return kept_runs(
            lambda number: measure(self.run(claim, number)), claim, range(runs), self.kept
        )

    @property
    def classes(self) -> int:
        return len(self.dataset.classes)

    def tested(self, images: int) -> str:
        """In words, the test images that a run draws."""
        return count(min(images, len(self.dataset.test)), "test image")

    @property
    def title(self) -> str:
        """What people call the data set."""
        return title_of(self.dataset.name)

    def _examples(self, split: Split, count: int) -> Examples:
        chosen = split.drawn(count, self.seed)
        return self.normalization(chosen.images), chosen.labels


POINT = 1.0
"""Percentage points of accuracy, the smallest difference that counts: one image in a hundred."""
HELD_OUT = 1000
"""Training images, other than those trained on, that choose a learning rate."""


def tuned(
    run: Study, budget: Budget, networks: Mapping[str, Callable[[], nn.Module]], images: int
) -> dict[str, float]:
    """The learning rate of the budget's list with which each network does best, by name.

    Of a list of one, that one. Every run chooses its own, so that the interval over runs covers
    what the choice changes.

    Args:
        run: data, and the seed that draws images, initial weights and order.
        budget: the list, and how long the networks train.
        networks: what builds them, by name.
        images: how many they train on.
    """
    first, *others = budget.lr
    if not others:
        return dict.fromkeys(networks, first)
    inputs, labels = run.training_examples(images + HELD_OUT)
    seen = min(images, len(labels) * 3 // 4)
    learned, held_out = (inputs[:seen], labels[:seen]), (inputs[seen:], labels[seen:])
    rates = {}
    for name, build in networks.items():
        reached = {
            lr: accuracy(train(build, learned, budget.at(lr), run.seed), held_out)
            for lr in budget.lr
        }
        rates[name] = max(reached, key=reached.__getitem__)
    return rates


def train(
    build: Callable[[], nn.Module],
    examples: Examples,
    schedule: Schedule,
    seed: int,
    *,
    watch: Callable[[int, nn.Module], None] | None = None,
) -> nn.Module:
    """Train a network for a fixed number of steps: AdamW, one cycle, no augmentation.

    Batches run through the examples in a new random order each time. A set smaller than a batch is
    one batch.

    Args:
        build: makes the network, which takes the images of `examples`.
        examples: normalised images, any shape (N, …), and labels (N,).
        schedule: the number of steps does not depend on that of examples, so that budgets are
            comparable.
        seed: decides the initial weights and the order of the examples.
        watch: called after each backward pass, before the step, with the step's number from 0.

    Returns:
        the network, in evaluation mode.
    """
    torch.manual_seed(seed)
    network = build().train()
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images, labels = examples
    batch_size = min(schedule.batch_size, len(images))
    optimizer = AdamW(network.parameters(), lr=schedule.lr, fused=True)
    one_cycle = OneCycleLR(optimizer, schedule.lr, total_steps=schedule.steps + 1)
    batches: list[Tensor] = []
    for step in range(schedule.steps):
        if not batches:
            order = torch.randperm(len(images), generator=generator)
            batches = [b for b in order.split(batch_size) if len(b) == batch_size]
        batch = batches.pop()
        loss = cross_entropy(network(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        if watch:
            watch(step, network)
        optimizer.step()
        one_cycle.step()
    return network.eval()


@torch.inference_mode()
def accuracy(network: nn.Module, examples: Examples) -> float:
    """Fraction of examples whose largest logit is that of their label."""
    images, labels = examples
    predictions = torch.cat([network(batch).argmax(1) for batch in images.split(500)])
    return (predictions == labels).float().mean().item()

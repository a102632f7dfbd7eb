"""Settings of the principles stage: budgets of the experiments, one section per claim."""

from typing import Annotated

from pydantic import Field

from cnnpipe.params.section import Count, Section

LearningRate = Annotated[float, Field(gt=0, le=1)]
Runs = Annotated[int, Field(ge=2, le=100)]
TestImages = Annotated[int, Field(ge=20, le=10_000)]
Pixels = Annotated[int, Field(ge=1, le=14)]


class Schedule(Section):
    """How a network is trained."""

    steps: Count
    """Optimiser steps of each network, whatever the number of images."""
    batch_size: Count
    """Images per step."""
    lr: LearningRate
    """Peak of the one-cycle schedule."""


class Budget(Section):
    """How networks are trained in independent runs, and judged."""

    runs: Runs
    """Each draws its own training images, initial weights, order and test images."""
    steps: Count
    """Optimiser steps of each network, whatever the number of images."""
    batch_size: Count
    """Images per step."""
    lr: Annotated[list[LearningRate], Field(min_length=1, max_length=8)]
    """Peaks of the one-cycle schedule; each network takes the one with which it classifies most
    held-out training images correctly, in runs that are not judged."""
    test_images: Count
    """That each run draws."""

    def at(self, lr: float) -> Schedule:
        """The schedule with one of the learning rates."""
        return Schedule(steps=self.steps, batch_size=self.batch_size, lr=lr)


class EquivalenceParams(Section):
    """Cross-correlation against true convolution."""

    steps: Count
    """Optimiser steps that the networks train for."""
    batch_size: Count
    """Images per step."""
    test_images: Count


class OutputSizeParams(Section):
    """The grid of the output-size formula: every combination from the least value to these."""

    size: Annotated[int, Field(ge=1, le=64)]
    """Largest input side, pixels; from 1."""
    kernel_size: Annotated[int, Field(ge=1, le=16)]
    """Largest kernel side; from 1."""
    stride: Annotated[int, Field(ge=1, le=16)]
    """Largest stride; from 1."""
    padding: Annotated[int, Field(ge=0, le=16)]
    """Largest padding on each side; from 0."""
    dilation: Annotated[int, Field(ge=1, le=16)]
    """Largest dilation; from 1."""


class LocalityParams(Section):
    """Receptive fields, by gradients; and how closely pixels are related, by their distance."""

    images: Annotated[int, Field(ge=2, le=2**16)]
    """Test images whose gradients are averaged, and training images of each run whose pixels are
    correlated."""
    runs: Runs
    """Of the correlations."""


class ShiftParams(Budget):
    """Small networks, judged on moved images."""

    train_images: Count
    """Training images, the same for every network of a run."""
    judged_shift: Pixels
    """Pixels at which the verdict is made, and up to which training images are moved."""
    largest_shift: Pixels
    """Pixels, up to which accuracy is measured; at least the judged shift."""


class PoolingParams(ShiftParams):
    """Small networks that differ in how they make their feature maps smaller."""

    map_images: Count
    """Test images whose feature maps are measured."""


class ReplicaParams(Schedule):
    """LeNet-5, trained again in every run."""

    runs: Runs
    """Each draws its own training images, initial weights, order and test images."""
    test_images: TestImages
    """That each run draws."""


class HierarchyParams(ReplicaParams):
    """Linear probes of each layer, and the patches that excite its filters most."""

    images: Annotated[int, Field(ge=50, le=10_000)]
    """Training images, other than the network's, that each linear probe learns from."""
    filters: Annotated[int, Field(ge=1, le=8)]
    """Filters of each depth whose most exciting patches are drawn."""
    patches: Annotated[int, Field(ge=2, le=8)]
    """Most exciting patches of each of them."""


class ActivationParams(Budget):
    """Stacks of convolutions with each activation function."""

    depth: Annotated[int, Field(ge=2, le=64)]
    """Convolutions in a stack whose gradients are measured at the start."""
    trained_depth: Annotated[int, Field(ge=2, le=64)]
    """Convolutions in a stack that is trained."""
    channels: Count
    """Of every convolution."""
    batch_size: Annotated[int, Field(ge=2, le=2**16)]
    test_images: TestImages


class InductiveBiasParams(Budget):
    """A convolutional network, and others that lack a part of its bias, on images and on scrambled
    ones."""

    sizes: Annotated[list[Annotated[int, Field(ge=2, le=10**6)]], Field(min_length=1)]
    """Training images, smallest first."""


class FiltersParams(ReplicaParams):
    """Learned filters against random ones."""

    draws: Annotated[int, Field(ge=100, le=100_000)]
    """Random filters of each size that the learned ones are held against."""


class PrinciplesParams(Section):
    """Budgets of the experiments on the theory's claims, one section per claim."""

    equivalence: EquivalenceParams
    output_size: OutputSizeParams
    locality: LocalityParams
    sharing: ShiftParams
    translation: ShiftParams
    pooling: PoolingParams
    hierarchy: HierarchyParams
    activation: ActivationParams
    sparsity: ReplicaParams
    inductive_bias: InductiveBiasParams
    filters: FiltersParams

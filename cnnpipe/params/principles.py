"""Settings of the principles stage: budgets of the experiments, one section per claim."""

from typing import Annotated

from pydantic import Field

from cnnpipe.params.section import Count, Section

LearningRate = Annotated[float, Field(gt=0, le=1)]
Seeds = Annotated[int, Field(ge=2, le=100)]
TestImages = Annotated[int, Field(ge=20, le=10_000)]
Depths = Annotated[list[Annotated[int, Field(ge=2, le=64)]], Field(min_length=1)]
Pixels = Annotated[int, Field(ge=1, le=14)]


class Schedule(Section):
    """How a network is trained."""

    steps: Count
    """Optimiser steps of each network, whatever the number of images."""
    batch_size: Count
    """Images per step."""
    lr: LearningRate
    """Peak of the one-cycle schedule."""


class Budget(Schedule):
    """How networks are trained from several seeds, and judged."""

    seeds: Seeds
    test_images: Count


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
    """Receptive fields, by gradients."""

    images: Annotated[int, Field(ge=2, le=2**16)]
    """Test images whose gradients are averaged."""


class SharingParams(Section):
    """A small network with shared weights, and its twin without sharing."""

    train_sizes: Annotated[list[Count], Field(min_length=1, max_length=8)]
    """Training images, smallest first."""
    test_images: Count
    seeds: Seeds
    steps: Count
    """Optimiser steps of each network."""
    batch_size: Count
    """Images per step."""
    lr: Annotated[list[LearningRate], Field(min_length=1, max_length=5)]
    """Peaks of the schedule; each network takes the one with which it classifies most held-out
    images correctly."""


class ShiftParams(Budget):
    """Small networks, judged on moved images."""

    train_images: Count
    """Training images, the same for every network."""
    judged_shift: Pixels
    """Pixels at which the verdict is made, and up to which training images are moved."""
    largest_shift: Pixels
    """Pixels, up to which accuracy is measured; at least the judged shift."""


class PoolingParams(ShiftParams):
    """Small networks that differ in how they make their feature maps smaller."""

    map_images: Count
    """Test images whose feature maps are measured."""


class HierarchyParams(Section):
    """Linear probes of each layer, and the patches that excite its filters most."""

    images: Annotated[int, Field(ge=50, le=10_000)]
    """Training images that each linear probe learns from."""
    test_images: TestImages
    """Test images that probes are judged on, and among which filters find what excites them."""
    steps: Count
    """Optimiser steps of the linear classifier of the pixels, the control."""
    filters: Annotated[int, Field(ge=1, le=8)]
    """Filters of each depth whose most exciting patches are drawn."""
    patches: Annotated[int, Field(ge=2, le=8)]
    """Most exciting patches of each of them."""


class ActivationParams(Budget):
    """Stacks of convolutions with each activation function."""

    depths: Depths
    """Convolutions in a stack whose gradients are measured at the start; the deepest is judged."""
    trained_depths: Depths
    """Convolutions in a stack that is trained."""
    channels: Count
    """Of every convolution."""
    batch_size: Annotated[int, Field(ge=2, le=2**16)]
    test_images: TestImages


class SparsityParams(Section):
    """Zeros behind the activation functions."""

    test_images: TestImages
    """First images of the test set on which zeros are counted."""


class InductiveBiasParams(Budget):
    """A convolutional network against an MLP, on images and on scrambled ones; each seed has its
    own training images, initial weights and order of the pixels."""

    sizes: Annotated[list[Annotated[int, Field(ge=2, le=10**6)]], Field(min_length=2)]
    """Training images, smallest first."""


class FiltersParams(Section):
    """Learned filters against random ones."""

    draws: Annotated[int, Field(ge=100, le=100_000)]
    """Random filters of each size that the learned ones are held against."""


class PrinciplesParams(Section):
    """Budgets of the experiments on the theory's claims, one section per claim."""

    equivalence: EquivalenceParams
    output_size: OutputSizeParams
    locality: LocalityParams
    sharing: SharingParams
    translation: ShiftParams
    pooling: PoolingParams
    hierarchy: HierarchyParams
    activation: ActivationParams
    sparsity: SparsityParams
    inductive_bias: InductiveBiasParams
    filters: FiltersParams

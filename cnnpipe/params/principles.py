"""Settings of the principles stage: budgets of the experiments, one section per claim."""

from typing import Annotated

from pydantic import Field

from cnnpipe.params.section import Count, Section


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
    seeds: Annotated[int, Field(ge=2, le=100)]
    steps: Count
    """Optimiser steps of each network."""
    batch_size: Count
    """Images per step."""
    lr: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1, max_length=5)]
    """Peaks of the schedule; each network takes the one that serves it best on held-out images."""


class TranslationParams(Section):
    """Small networks, judged on moved images."""

    train_images: Count
    """Training images, the same for every network."""
    test_images: Count
    seeds: Annotated[int, Field(ge=2, le=100)]
    steps: Count
    """Optimiser steps of each network."""
    batch_size: Count
    """Images per step."""
    lr: Annotated[float, Field(gt=0, le=1)]
    """Peak of the one-cycle schedule."""
    judged_shift: Annotated[int, Field(ge=1, le=14)]
    """Pixels at which the verdict is made, and up to which training images are moved."""
    largest_shift: Annotated[int, Field(ge=1, le=14)]
    """Pixels, up to which accuracy is measured; at least the judged shift."""


class PoolingParams(Section):
    """Small networks that differ in how they make their maps smaller."""

    map_images: Count
    """Test images whose feature maps are measured."""
    train_images: Count
    """Training images, the same for every network."""
    test_images: Count
    seeds: Annotated[int, Field(ge=2, le=100)]
    steps: Count
    """Optimiser steps of each network."""
    batch_size: Count
    """Images per step."""
    lr: Annotated[float, Field(gt=0, le=1)]
    """Peak of the one-cycle schedule."""
    judged_shift: Annotated[int, Field(ge=1, le=14)]
    """Pixels at which the tolerance of shifts is judged."""
    largest_shift: Annotated[int, Field(ge=1, le=14)]
    """Pixels, up to which accuracy is measured; at least the judged shift."""


class HierarchyParams(Section):
    images: Annotated[int, Field(ge=50, le=10_000)]
    """Training images that each linear probe learns from."""
    test_images: Annotated[int, Field(ge=20, le=10_000)]
    """Test images that probes are judged on, and among which filters find what excites them."""
    steps: Count
    """Optimiser steps of the linear classifier of the pixels, the control."""
    filters: Annotated[int, Field(ge=1, le=8)]
    """Filters of each depth whose most exciting patches are drawn."""
    patches: Annotated[int, Field(ge=2, le=8)]
    """Most exciting patches of each of them."""


class ActivationParams(Section):
    depths: Annotated[list[Annotated[int, Field(ge=2, le=64)]], Field(min_length=1)]
    """Convolutions in a stack whose gradients are measured at the start; the deepest is judged."""
    trained_depths: Annotated[list[Annotated[int, Field(ge=2, le=64)]], Field(min_length=1)]
    """Convolutions in a stack that is trained."""
    channels: Count
    """Of every convolution."""
    seeds: Annotated[int, Field(ge=2, le=100)]
    steps: Count
    """Optimiser steps of each training run."""
    batch_size: Annotated[int, Field(ge=2, le=2**16)]
    lr: Annotated[float, Field(gt=0, le=1)]
    """Peak of the one-cycle schedule, the same for all."""
    test_images: Annotated[int, Field(ge=20, le=10_000)]


class SparsityParams(Section):
    test_images: Annotated[int, Field(ge=20, le=10_000)]
    """First images of the test set on which zeros are counted."""


class InductiveBiasParams(Section):
    """A convolutional network against an MLP, on images and on scrambled ones."""

    sizes: Annotated[list[Annotated[int, Field(ge=2, le=10**6)]], Field(min_length=2)]
    """Training images, smallest first."""
    test_images: Count
    seeds: Annotated[int, Field(ge=2, le=100)]
    """Each with its own training images, initial weights and order of the pixels."""
    steps: Count
    """Optimiser steps of each network, whatever the number of images."""
    batch_size: Count
    """Images per step."""
    lr: Annotated[float, Field(gt=0, le=1)]
    """Peak of the one-cycle schedule."""


class FiltersParams(Section):
    draws: Annotated[int, Field(ge=100, le=100_000)]
    """Random filters of each size that the learned ones are held against."""


class PrinciplesParams(Section):
    """Budgets of the experiments on the theory's claims, one section per claim."""

    equivalence: EquivalenceParams
    output_size: OutputSizeParams
    locality: LocalityParams
    sharing: SharingParams
    translation: TranslationParams
    pooling: PoolingParams
    hierarchy: HierarchyParams
    activation: ActivationParams
    sparsity: SparsityParams
    inductive_bias: InductiveBiasParams
    filters: FiltersParams

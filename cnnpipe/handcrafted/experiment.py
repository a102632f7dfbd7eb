"""The whole experiment: from a data set and the pipeline's models to a finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from cnnpipe.data import Dataset, Split, split_validation
from cnnpipe.handcrafted.methods import (
    Method,
    handcrafted_methods,
    matched_lenet,
    pipeline_methods,
)
from cnnpipe.handcrafted.others import other_datasets, subset
from cnnpipe.handcrafted.race import judge_robustness, judge_transfer
from cnnpipe.handcrafted.verdict import judge
from cnnpipe.params import ModelName, Params
from cnnpipe.preprocessing import Normalization
from cnnpipe.principles.finding import Finding


@dataclass(frozen=True)
class Experiment:
    finding: Finding
    methods: Sequence[Method]
    test: Split
    """The images that all were judged on."""


def experiment(
    dataset: Dataset,
    models: Mapping[ModelName, tuple[nn.Sequential, Normalization]],
    params: Params,
    folder: Path,
) -> Experiment:
    """Train every method on the same images, judge all on the same images.

    Args:
        dataset: that the pipeline's models were trained on.
        models: those models.
        params: sizes under `handcrafted`; the seed; LeNet-5's settings.
        folder: where other data sets lie, each in a folder of its name.
    """
    sizes, seed, lenet = params.handcrafted, params.seed, params.models.lenet5
    training, validation = split_validation(dataset.train, params.data.validation, seed)
    training = subset(training, sizes.training, seed)
    test = subset(dataset.test, sizes.test, seed)
    methods = [
        *handcrafted_methods(training, sizes, lenet.augment, seed),
        *matched_lenet(training, validation, len(dataset.classes), sizes, lenet, seed),
        *pipeline_methods(models),
    ]
    robustness = judge_robustness(methods, test, seed)
    others, absent = other_datasets(sizes.transfer, dataset.name, folder)
    transfers = [judge_transfer(methods, dataset, other) for other in others]
    facts = {
        "dataset": dataset.name,
        "training": len(training),
        "copies": sizes.copies,
        "test": len(test),
        "absent": absent,
    }
    return Experiment(judge(methods, robustness, transfers, seed, facts), methods, test)

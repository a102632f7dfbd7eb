"""The whole experiment: from a data set and the pipeline's models to a finding."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnpipe.data.dataset import Dataset, Split, split_validation
from cnnpipe.findings.finding import Finding
from cnnpipe.handcrafted.draws import Conditions, judged_draws
from cnnpipe.handcrafted.methods import Method, handcrafted_methods, matched_lenet, network_method
from cnnpipe.handcrafted.other_data import other_datasets, subset
from cnnpipe.handcrafted.robustness import judge_robustness, judge_transfer
from cnnpipe.handcrafted.verdict import judge
from cnnpipe.models import TrainedNetwork
from cnnpipe.params.handcrafted import HandcraftedParams
from cnnpipe.params.models import ModelParams


@dataclass(frozen=True)
class Experiment:
    finding: Finding
    methods: Sequence[Method]
    test: Split
    """The images that all were judged on."""


def experiment(
    dataset: Dataset,
    networks: Sequence[TrainedNetwork],
    sizes: HandcraftedParams,
    lenet: ModelParams,
    folder: Path,
    *,
    validation: float,
    seed: int,
    kept: Path | None = None,
) -> Experiment:
    """All methods on one draw, for tables and figures; the judged ones on many, for the verdict.

    Args:
        dataset, networks: the pipeline's models, and the data set that they were trained on.
        sizes: of the experiment.
        lenet, validation: settings of the LeNet-5 that is trained on the same images, and the
            fraction of the training images that its training is watched with.
        folder: where other data sets lie, each in a folder of its name.
        seed: of everything random.
        kept: folder for the tables of finished draws.
    """
    training, held_out = split_validation(dataset.train, validation, seed)
    training = subset(training, sizes.training, seed)
    test = subset(dataset.test, sizes.test, seed)
    methods = [
        *handcrafted_methods(training, sizes, lenet.augment, seed),
        *matched_lenet(training, held_out, len(dataset.classes), sizes, lenet, seed),
        *(network_method(network, "pipeline") for network in networks),
    ]
    robustness = judge_robustness(methods, test, seed)
    others, absent = other_datasets(sizes.transfer, dataset.name, folder)
    draws = judged_draws(Conditions(dataset, others, sizes, lenet, validation, seed, kept))
    transfers = [judge_transfer(methods, dataset, other) for other in others]
    facts = {
        "dataset": dataset.name,
        "training": len(training),
        "copies": sizes.copies,
        "test": len(test),
        "draws": sizes.draws,
        "draw_training": sizes.draw_training,
        "draw_test": sizes.draw_test,
        "absent": absent,
    }
    return Experiment(judge(draws, methods, robustness, transfers, seed, facts), methods, test)

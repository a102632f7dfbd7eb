"""The whole experiment: from a data set and the pipeline's models to a finding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from cnnpipe.data.dataset import Dataset, Split, split_validation
from cnnpipe.findings.finding import Finding
from cnnpipe.handcrafted.draws import Conditions, judged_draw
from cnnpipe.handcrafted.methods import Method, handcrafted_methods, matched_lenet, network_method
from cnnpipe.handcrafted.other_data import other_datasets
from cnnpipe.handcrafted.robustness import Robustness, Transfer, judge_robustness, judge_transfer
from cnnpipe.handcrafted.verdict import judge
from cnnpipe.models import TrainedNetwork
from cnnpipe.params.handcrafted import HandcraftedParams
from cnnpipe.params.models import ModelParams
from cnnpipe.system.parallel import side_by_side


@dataclass(frozen=True)
class Comparison:
    """All methods on one draw, for tables and figures."""

    training: int
    """Images."""
    test: Split
    """The images that all were judged on."""
    methods: Sequence[Method]
    robustness: Robustness
    transfers: Sequence[Transfer]


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
) -> tuple[Finding, Comparison]:
    """All methods on one draw; the judged ones on many, for the verdict; a process for each core.

    Args:
        dataset, networks: the pipeline's models, and the data set that they were trained on.
        sizes: of the experiment.
        lenet, validation: settings of the LeNet-5 that is trained on the same images, and the
            fraction of the training images that its training is watched with.
        folder: where other data sets lie, each in a folder of its name.
        seed: of everything random.
        kept: folder for the tables of finished draws.

    Returns:
        the finding, and the draw that its tables of all methods are of.
    """
    others, absent = other_datasets(sizes.transfer, dataset.name, folder)
    conditions = Conditions(dataset, others, sizes, lenet, validation, seed, kept)
    calls: list[Callable[[], Comparison | pd.DataFrame]] = [partial(compare, conditions, networks)]
    calls += [partial(judged_draw, conditions, number) for number in range(sizes.draws)]
    results = list(side_by_side(calls))
    (shown,) = (result for result in results if isinstance(result, Comparison))
    drawn = [result for result in results if isinstance(result, pd.DataFrame)]
    drawn.sort(key=lambda table: int(table["run"].iloc[0]))
    draws: pd.DataFrame = pd.concat(drawn, ignore_index=True)
    facts = {
        "dataset": dataset.name,
        "training": shown.training,
        "copies": sizes.copies,
        "test": len(shown.test),
        "draws": sizes.draws,
        "draw_training": sizes.draw_training,
        "draw_test": sizes.draw_test,
        "absent": absent,
    }
    finding = judge(draws, shown.methods, shown.robustness, shown.transfers, seed, facts)
    return finding, shown


def compare(conditions: Conditions, networks: Sequence[TrainedNetwork]) -> Comparison:
    """Train every method on one draw of images, and judge it."""
    dataset, sizes, lenet = conditions.dataset, conditions.sizes, conditions.lenet
    seed = conditions.seed
    training, held_out = split_validation(dataset.train, conditions.validation, seed)
    training = training.drawn(sizes.training, seed)
    test = dataset.test.drawn(sizes.test, seed)
    methods = [
        *handcrafted_methods(training, sizes, lenet.augment, seed),
        *matched_lenet(training, held_out, len(dataset.classes), sizes, lenet, seed),
        *(network_method(network, "pipeline") for network in networks),
    ]
    robustness = judge_robustness(methods, test, seed)
    transfers = [judge_transfer(methods, dataset, other) for other in conditions.others]
    return Comparison(len(training), test, methods, robustness, transfers)

"""The study that the tests of the principles share: small strokes, networks of random weights."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import pandas as pd
import torch

from cnnpipe.data.dataset import Dataset, Split
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.findings.finding import Finding
from cnnpipe.models import build_model
from cnnpipe.params.principles import PrinciplesParams
from cnnpipe.params.section import Section
from cnnpipe.principles.claim import Experiment
from cnnpipe.principles.parallel import measure_all
from cnnpipe.principles.scrambled import scrambled
from cnnpipe.principles.study import Study


def strokes(count: int, seed: int) -> Split:
    """Upright strokes (label 0) and level ones (label 1) of 3 by 9 pixels, anywhere, on noise."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 40, (count, 28, 28), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 2, (count,), generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        height, width = (9, 3) if label == 0 else (3, 9)
        top = int(torch.randint(0, 28 - height, (), generator=generator))
        left = int(torch.randint(0, 28 - width, (), generator=generator))
        image[top : top + height, left : left + width] = 255
    return Split(images, labels)


def tiny_study(*, train: int = 64, test: int = 32, seed: int = 0, **sections: Section) -> Study:
    """A study whose parameters are the sections given, each by its claim's name, and no others."""
    dataset = Dataset("strokes", ("upright", "level"), strokes(train, 1), strokes(test, 2))
    torch.manual_seed(seed)
    models = {
        "lenet5": build_model("lenet5", classes=2).eval(),
        "vgg": build_model("vgg", blocks=((4, 4), (8,)), hidden=16, classes=2).eval(),
    }
    return Study(
        dataset=dataset,
        normalization=Normalization.of(dataset.train.images),
        models=models,
        params=PrinciplesParams.model_construct(**sections),
        seed=seed,
    )


MOVED = {"runs": 2, "test_images": 32, "steps": 2, "batch_size": 16, "lr": [0.01]}
REPLICAS = MOVED | {"lr": 0.01}
BUDGETS = PrinciplesParams.model_validate(
    {
        "equivalence": {"steps": 6, "batch_size": 8, "test_images": 16},
        "output_size": {"size": 6, "kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2},
        "locality": {"images": 20, "runs": 2},
        "sharing": MOVED | {"train_images": 64, "judged_shift": 1, "largest_shift": 1},
        "translation": MOVED | {"train_images": 64, "judged_shift": 2, "largest_shift": 3},
        "pooling": MOVED
        | {"map_images": 16, "train_images": 64, "judged_shift": 1, "largest_shift": 2},
        "hierarchy": REPLICAS | {"images": 50, "test_images": 100, "filters": 2, "patches": 2},
        "activation": MOVED | {"depth": 12, "trained_depth": 2, "channels": 8},
        "sparsity": REPLICAS,
        "inductive_bias": MOVED | {"sizes": [30, 100]},
        "filters": REPLICAS | {"draws": 400},
    }
)
"""The smallest budgets with which every experiment runs as a whole."""

TINY = tiny_study(train=100, test=100, **dict(BUDGETS))


def with_scrambled_pixels(study: Study) -> Study:
    """The study with the pixels of every image in the same random order."""

    def scramble(split: Split) -> Split:
        return Split(scrambled(split.images, seed=5), split.labels)

    dataset = study.dataset
    other = replace(dataset, train=scramble(dataset.train), test=scramble(dataset.test))
    return replace(study, dataset=other)


def accuracies_on_moved(reached: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """What `train_and_move` gives if each network reaches so much by shift, in either run."""
    rows = [
        (name, 100, run, shift, fraction + run / 1000 * (1 + shift / 10))
        for name, fractions in reached.items()
        for run in (0, 1)
        for shift, fraction in enumerate(fractions)
    ]
    return pd.DataFrame(rows, columns=["network", "parameters", "run", "shift", "accuracy"])


@cache
def measured(experiment: Experiment) -> Finding:
    """What a claim's experiment finds in `TINY`; measured once, so leave it as it is."""
    (finding,) = measure_all(TINY, [experiment], processes=1)
    return finding

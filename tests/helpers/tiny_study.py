"""The study that the tests of the principles share: small strokes, networks of random weights."""

import torch

from cnnpipe.data.dataset import Dataset, Split
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.models import build_model
from cnnpipe.params.principles import PrinciplesParams
from cnnpipe.params.section import Section
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

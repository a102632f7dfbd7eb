"""The figures of one model, with the facts noted beside them."""

import pandas as pd
import pytest
import torch

from cnnpipe.data.dataset import Dataset, Split
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.models import TrainedNetwork, build_model
from cnnpipe.visualize.figures import result_figures, sample_figures

CLASSES = tuple("0123456789")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (5, 28, 28), dtype=torch.uint8, generator=generator)
    split = Split(images, torch.tensor([7, 2, 1, 0, 4]))
    return Dataset("mnist", CLASSES, split, split)


PREDICTIONS = pd.DataFrame(
    {
        "index": [0, 1, 2, 3, 4],
        "label": [7, 2, 1, 0, 4],
        "prediction": [7, 3, 5, 6, 4],
        "confidence": [0.9, 0.6, 0.8, 0.8, 0.99],
        "probability_of_label": [0.9, 0.3, 0.1, 0.2, 0.99],
    }
)


@pytest.mark.parametrize("overrides", [{}, {"activation": "tanh", "pooling": "avg"}])
def test_chosen_images_are_followed_through_every_layer(dataset, overrides):
    torch.manual_seed(0)
    model = build_model("lenet5", **overrides).eval()
    network = TrainedNetwork("lenet5", model, Normalization(0.1, 0.3))
    journey, *maps = sample_figures(network, dataset, [3, 0])
    assert journey.facts["stops"] == ["c1", "s2", "c3", "s4", "c5", "f6", "output"]
    assert [illustration.name for illustration in maps] == ["feature_maps_0", "feature_maps_1"]
    facts = maps[1].facts
    assert (facts["index"], facts["label"]) == (0, "7")
    assert facts["prediction"] in CLASSES
    layers = {layer["layer"]: layer for layer in facts["layers"]}
    assert list(layers) == [
        *("c1", "c1_act", "s2", "c3", "c3_act", "s4"),
        *("c5", "c5_act", "f6", "f6_act", "output"),
    ]
    assert layers["c3"]["shape"] == [16, 10, 10]
    assert layers["c3"]["lowest"] < 0 < layers["c3"]["highest"]


def test_a_convolution_is_drawn_behind_its_batch_normalisation(dataset):
    model = build_model("vgg", blocks=[[4], [8]], hidden=8).eval()
    network = TrainedNetwork("vgg", model, Normalization(0.1, 0.3))
    _, maps = sample_figures(network, dataset, [0])
    names = [layer["layer"] for layer in maps.facts["layers"]]
    assert names == [
        *("block1_norm1", "block1_relu1", "block1_pool"),
        *("block2_norm1", "block2_relu1", "block2_pool"),
        *("hidden", "hidden_relu", "output"),
    ]


def test_result_figures_name_classes(dataset):
    curves = pd.DataFrame(
        {"epoch": [1], "train_loss": [1.0], "train_accuracy": [0.5]}
        | {"validation_loss": [1.0], "validation_accuracy": [0.5]}
    )
    bins = [{"low": 0.8, "high": 1.0, "images": 5, "confidence": 0.9, "accuracy": 0.8}]
    bins[0]["interval"] = [0.4, 0.97]
    scores = {"confusion": torch.eye(10, dtype=torch.int64).tolist(), "ece": 0.1}
    scores |= {"reliability": bins}
    figures = result_figures("LeNet-5", curves, scores, PREDICTIONS, dataset, most_mistakes=1)
    *_, mistakes = figures
    assert mistakes.facts["mistakes"] == [
        {
            "index": 2,
            "label": "1",
            "prediction": "5",
            "confidence": 0.8,
            "probability_of_label": 0.1,
        }
    ]

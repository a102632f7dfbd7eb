"""The map of the test set, and the neighbours that familiarity is judged by."""

import numpy as np
import pandas as pd
import pytest
import torch
from threadpoolctl import threadpool_limits

from cnnpipe.data.dataset import split_validation
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.explain.embedding import SHOWN, embed, fit, project
from cnnpipe.explain.familiarity import NEIGHBOURS, Familiarity, directions, farthest
from cnnpipe.handcrafted.other_data import digits
from cnnpipe.models import TrainedNetwork, build_model


def test_each_class_comes_to_its_place_on_the_circle():
    """Four classes, each a direction of its own, and one neuron that is dead."""
    labels = torch.arange(4).repeat(50)
    noise = torch.rand(200, 4, generator=torch.Generator().manual_seed(0))
    features = torch.cat([torch.eye(4)[labels] + 0.05 * noise, torch.zeros(200, 1)], dim=1)
    axes = fit(features, labels, classes=4)
    assert axes.shape == (6, 2)
    middles = torch.stack([project(features[labels == k], axes).mean(0) for k in range(4)])
    top_right_bottom_left = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    np.testing.assert_allclose(middles, top_right_bottom_left, atol=0.01)
    assert axes[4].tolist() == [0, 0]


def test_axes_do_not_depend_on_the_number_of_threads():
    """Not even those of dead neurons, whose weights are rounding."""
    features = torch.randn(1000, 128, generator=torch.Generator().manual_seed(0)).relu()
    features[:, ::6] = 0
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(fit(features, torch.arange(1000) % 10, classes=10))
    assert torch.equal(*found)


def test_the_farthest_points_leave_none_far_away():
    points = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    points /= points.norm(dim=1, keepdim=True)
    chosen = farthest(points, 40)
    assert len(set(chosen)) == 40
    uncovered = (points @ points[chosen].T).amax(1).min()
    assert uncovered > (points @ points[:40].T).amax(1).min()
    assert sorted(farthest(points[:3], 10)) == [0, 1, 2]


def random_network():
    torch.manual_seed(0)
    return TrainedNetwork("lenet5", build_model("lenet5").eval(), Normalization(0.1, 0.3))


def test_mistakes_are_on_the_map_and_places_are_those_of_the_network():
    network, dataset = random_network(), digits()
    test, count = dataset.test, len(dataset.test)
    predictions = pd.DataFrame(
        {"index": range(count), "label": test.labels, "prediction": test.labels, "confidence": 1.0}
    )
    predictions.loc[[7, 77], "prediction"] = (predictions.loc[[7, 77], "label"] + 1) % 10
    splits = split_validation(dataset.train, 0.2, seed=1)
    tensors = embed(network, dataset, splits, predictions)
    assert {7, 77} <= set(tensors["images"].tolist())
    assert len(tensors["images"]) <= SHOWN + 2
    places = project(directions(network, test.images[tensors["images"]]), tensors["axes"])
    assert torch.equal(places, tensors["places"])
    assert tensors["neighbours"].shape == (NEIGHBOURS, 84)
    again = Familiarity(network, tensors["neighbours"], float(tensors["usual"]))
    assert again.is_familiar(splits[1].images).float().mean() == pytest.approx(0.99, abs=0.005)


def test_a_network_in_double_precision_has_the_same_features():
    network = random_network()
    images = torch.randint(0, 256, (3, 28, 28), dtype=torch.uint8)
    expected = directions(network, images)
    network.model.double()
    torch.testing.assert_close(directions(network, images), expected)

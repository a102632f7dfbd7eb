"""What filters are worth, when they are silent, what excites them: compared with plain ways."""

import pytest
import torch
from torch import nn

from cnnpipe.data.preprocessing import Normalization
from cnnpipe.explain.filters import describe_filters, evenly_spread, exciting_patches, removals
from cnnpipe.inspection.activations import capture_activations
from cnnpipe.inspection.responses import strongest
from cnnpipe.inspection.structure import hidden_convolutions
from cnnpipe.models import TrainedNetwork, build_model
from tests.helpers.tiny_study import strokes

SPLIT = strokes(60, seed=3)
NORMALIZATION = Normalization.of(SPLIT.images)


def networks():
    torch.manual_seed(0)
    yield undecided(build_model("lenet5", classes=2))
    yield undecided(build_model("lenet5", classes=2, activation="tanh", pooling="avg"))
    yield undecided(build_model("vgg", blocks=((4, 3), (5,)), hidden=8, classes=2))


def trained(model):
    return TrainedNetwork("lenet5", model, NORMALIZATION)


@torch.no_grad()
def undecided(model):
    """Move the last bias so that each class is the answer to half of the images."""
    logits = model.eval()(NORMALIZATION(SPLIT.images))
    model.output.bias[0] -= (logits[:, 0] - logits[:, 1]).median()
    return model


@pytest.mark.parametrize("number", range(3), ids=["relu", "tanh", "vgg"])
def test_removing_a_filter_is_setting_its_response_to_zero(number):
    model = [*networks()][number]
    inputs, labels = NORMALIZATION(SPLIT.images), SPLIT.labels
    counted = removals(model, inputs, labels)
    changed = 0
    with torch.inference_mode():
        with capture_activations(model) as activations:
            before = model(inputs).argmax(dim=1) == labels
        for name, layer in hidden_convolutions(model).items():
            layers = list(model)
            rest = nn.Sequential(*layers[layers.index(layer.response.module) + 1 :])
            for channel, (wrong, right) in enumerate(zip(*counted[name], strict=True)):
                silenced = activations[layer.response.name].clone()
                silenced[:, channel] = 0
                after = rest(silenced).argmax(dim=1) == labels
                assert wrong == (before & ~after).sum()
                assert right == (after & ~before).sum()
                changed += int((before != after).sum())
    assert changed > 0


def test_a_filter_behind_a_negative_bias_is_dead_and_worth_nothing():
    model = next(networks())
    model.c3.weight.data[7] = 0
    model.c3.bias.data[7] = -1
    responses = strongest(model, NORMALIZATION(SPLIT.images))
    table = describe_filters(trained(model), responses, SPLIT, 30)
    assert table.groupby("layer", sort=False).size().to_dict() == {"c1": 6, "c3": 16, "c5": 120}
    row = table[(table["layer"] == "c3") & (table["filter"] == 7)].iloc[0]
    assert (row["silent"], row["norm"], row["accuracy_lost"], row["images"]) == (1, 0, 0, 30)
    assert row["low"] < 0 < row["high"]
    patches = exciting_patches(model, responses, 3)
    assert not ((patches["layer"] == "c3") & (patches["filter"] == 7)).any()


def test_silence_is_not_defined_without_zeros():
    _, model, _ = networks()
    responses = strongest(model, NORMALIZATION(SPLIT.images))
    assert describe_filters(trained(model), responses, SPLIT, 20)["silent"].isna().all()


def test_patches_are_of_different_images_and_hold_the_response():
    model = next(networks())
    inputs = NORMALIZATION(SPLIT.images)
    patches = exciting_patches(model, strongest(model, inputs), 4)
    of_filter = patches[(patches["layer"] == "c1") & (patches["filter"] == 2)]
    assert of_filter["image"].is_unique
    assert of_filter["response"].is_monotonic_decreasing
    first = of_filter.iloc[0]
    with torch.inference_mode():
        maps = model.c1_act(model.c1(inputs))[:, 2]
    assert first["response"] == pytest.approx(maps.max().item())
    image, rest = divmod(int(maps.argmax()), 28 * 28)
    # c1 is padded by 2: response (r, c) sees the 5×5 pixels from (r − 2, c − 2)
    assert (first["image"], first["top"], first["left"]) == (image, rest // 28 - 2, rest % 28 - 2)
    assert first["size"] == 5


def test_images_are_spread_evenly():
    assert evenly_spread(10, 4).tolist() == [0, 2, 5, 7]
    assert evenly_spread(3, 10).tolist() == [0, 1, 2]

"""Figures of filters and attributions, with the facts noted beside them."""

import pytest
import torch

from cnnpipe.explain.attribution import attribute
from cnnpipe.explain.figures import attribution_figure, filter_figures
from cnnpipe.explain.filters import describe_filters, exciting_patches
from cnnpipe.inspection.responses import strongest
from cnnpipe.models import TrainedNetwork, build_model
from cnnpipe.params.explain import AttributionParams
from tests.helpers.tiny_study import TINY


def test_every_convolution_has_figures_of_its_kernels_and_of_what_excites_them():
    torch.manual_seed(0)
    model = build_model("vgg", blocks=[[4], [8, 8]]).eval()
    model.block2_norm2.weight.data[3] = 0
    model.block2_norm2.bias.data[3] = -1  # filter 3 never gets through ReLU
    dataset, network = TINY.dataset, TrainedNetwork("vgg", model, TINY.normalization)
    responses = strongest(model, TINY.normalization(dataset.test.images))
    filters = describe_filters(network, responses, dataset.test, 5)
    patches = exciting_patches(model, responses, 2)
    illustrations = list(filter_figures("VGG", model, filters, patches, dataset.test.images))
    assert [illustration.name for illustration in illustrations] == [
        *("filters_block1_conv1", "patches_block1_conv1"),
        *("filters_block2_conv1", "patches_block2_conv1"),
        *("filters_block2_conv2", "patches_block2_conv2"),
    ]
    facts = illustrations[4].facts
    weights = model.block2_conv2.weight
    assert facts["shape"] == [8, 8, 3, 3]
    assert facts["limit"] == pytest.approx(weights.abs().max().item())
    assert facts["std"] == pytest.approx(weights.std(unbiased=False).item(), rel=1e-5)
    assert facts["dead"] == [3]
    assert [illustrations[k].facts["field"] for k in (1, 3, 5)] == [3, 8, 12]
    texts = [text.get_text() for text in illustrations[5].figure.texts]
    assert texts.count("dead") == 1


def test_attribution_figure_names_label_and_wrong_answer():
    params = AttributionParams(images=10, networks=1, window=14)
    dataset = TINY.dataset
    network = TrainedNetwork("vgg", TINY.models["vgg"], TINY.normalization)
    found = attribute(network, dataset, [3, 0], params, 0)
    labels = dataset.test.labels[[3, 0]]
    answers = torch.stack([labels[0], 1 - labels[1]])
    illustration = attribution_figure("VGG", found, dataset, [3, 0], answers)
    right, wrong = illustration.facts["images"]
    assert right["label"] == right["prediction"] == dataset.classes[labels[0]]
    assert {wrong["label"], wrong["prediction"]} == set(dataset.classes)
    texts = [text.get_text() for text in illustration.figure.texts]
    assert f"0: “{wrong['label']}” as “{wrong['prediction']}”" in texts
    assert f"3: “{right['label']}”" in texts


def test_the_patches_of_a_layer_that_never_responds_have_a_size():
    torch.manual_seed(0)
    model = build_model("lenet5", classes=2).eval()
    model.c3.weight.data.zero_()
    model.c3.bias.data.fill_(-1)
    split, network = TINY.dataset.test, TrainedNetwork("lenet5", model, TINY.normalization)
    responses = strongest(model, TINY.normalization(split.images))
    filters = describe_filters(network, responses, split, 5)
    patches = exciting_patches(model, responses, 2)
    fields = {
        illustration.facts["layer"]: illustration.facts["field"]
        for illustration in filter_figures("LeNet-5", model, filters, patches, split.images)
        if illustration.kind == "patches"
    }
    assert fields == {"c1": 5, "c3": 14, "c5": 32}

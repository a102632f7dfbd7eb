"""The networks: their tables, their size, and that both backends are one network."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from cnnpipe.data.preprocessing import Normalization
from cnnpipe.inspection.structure import layers_of
from cnnpipe.models import (
    TrainedNetwork,
    build_model,
    load_model,
    loss_function,
    predict,
    save_model,
)
from cnnpipe.system.errors import InputError

BOTH = pytest.mark.parametrize("name", ["lenet5", "vgg"])


def parameter_count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_lenet5_has_the_parameters_of_the_table():
    # c1 6·(1·25 + 1)  c3 16·(6·25 + 1)  c5 120·(16·25 + 1)  f6 84·(120 + 1)  output 10·(84 + 1)
    assert 156 + 2_416 + 48_120 + 10_164 + 850 == 61_706
    assert parameter_count(build_model("lenet5")) == 61_706


def test_vgg_has_the_parameters_of_its_plan():
    convolutions = 9 * (1 * 16 + 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
    norms = 2 * 2 * (16 + 32 + 64)
    linear = (64 * 3 * 3 + 1) * 128 + (128 + 1) * 10
    assert parameter_count(build_model("vgg")) == convolutions + norms + linear == 147_162


@BOTH
def test_backends_start_from_the_same_weights(name):
    torch.manual_seed(3)
    scratch = build_model(name).state_dict()
    torch.manual_seed(3)
    reference = build_model(name, backend="torch").state_dict()
    assert list(scratch) == list(reference)
    for key, value in reference.items():
        assert torch.equal(scratch[key], value), key


@BOTH
def test_scratch_model_is_built_without_torchs_operators(name):
    own = {type(layer).__module__ for layer in build_model(name).children()}
    borrowed = {
        type(layer).__name__
        for layer in build_model(name).children()
        if not type(layer).__module__.startswith("cnnpipe.")
    }
    assert "cnnpipe.layers" in own
    assert borrowed <= {"Flatten"}


FLAVOURS = itertools.product(["relu", "tanh", "sigmoid"], ["max", "avg"])


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("vgg", {"dropout": 0.0}),  # masks are drawn differently
        *(("lenet5", {"activation": kind, "pooling": pooling}) for kind, pooling in FLAVOURS),
    ],
)
def test_backends_agree_step_by_step(name, overrides):
    """Ten optimiser steps in double precision: rounding alone may tell the two apart."""
    torch.manual_seed(0)
    images, labels = torch.randn(16, 1, 28, 28).double(), torch.randint(10, (16,))
    losses = {}
    for backend in ("scratch", "torch"):
        torch.manual_seed(1)
        model = build_model(name, backend=backend, **overrides).double()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        losses[backend] = []
        for _ in range(10):
            loss = loss_function(backend)(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[backend].append(loss.item())
    assert losses["scratch"][-1] < losses["scratch"][0]
    assert losses["scratch"] == pytest.approx(losses["torch"], rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "alexnet"}, "model: got 'alexnet'; expected 'lenet5' or 'vgg'"),
        (
            {"name": "vgg", "backend": "jax"},
            "backend: got 'jax'; expected 'scratch' or 'torch'",
        ),
        ({"name": "lenet5", "activation": "gelu"}, "activation: got 'gelu'"),
        ({"name": "lenet5", "pooling": "min"}, "pooling: got 'min'; expected one of max, avg"),
        (
            {"name": "vgg", "blocks": [[4]] * 5},
            r"^blocks: got .*; expected a list of length ≥ 1 and of length ≤ 4$",
        ),
        ({"name": "vgg", "blocks": []}, r"blocks: got \[\]; expected a list of length ≥ 1"),
        ({"name": "vgg", "kernel_size": 2}, "kernel_size: got 2; expected one of 1, 3, 5, 7"),
    ],
)
def test_build_model_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_model(**arguments)


def test_build_model_refuses_an_override_of_another_network():
    with pytest.raises(TypeError, match="dropout"):
        build_model("lenet5", dropout=0.5)


def test_a_saved_model_comes_back_with_its_plan_and_normalisation(tmp_path):
    torch.manual_seed(0)
    plan = {"blocks": [[4], [8]], "hidden": 16, "dropout": 0.1}
    model, normalization = build_model("vgg", **plan), Normalization(0.125, 0.25)
    images = torch.randint(256, (5, 28, 28), dtype=torch.uint8)
    save_model(tmp_path / "vgg.safetensors", model, "vgg", plan, normalization)
    for backend in ("scratch", "torch"):
        loaded = TrainedNetwork.load(tmp_path / "vgg.safetensors", backend=backend)
        assert loaded.name == "vgg"
        assert not loaded.model.training
        assert loaded.normalization == normalization
        torch.testing.assert_close(loaded.predict(images), predict(model, images, normalization))
        assert loaded.classes == tuple("0123456789")
    renamed = (tmp_path / "vgg.safetensors").rename(tmp_path / "any name")
    pair = load_model(str(renamed))
    assert torch.equal(predict(pair[0], images, pair[1]), predict(model, images, normalization))


def test_names_of_classes_that_are_no_numbers_are_saved(tmp_path):
    path, plain = tmp_path / "model", Normalization(0.1, 0.3)
    model = build_model("lenet5", classes=3)
    for classes in (("cat", "dog", "Ünal"), ("0", "1", "2")):
        save_model(path, model, "lenet5", {"classes": 3}, plain, classes)
        assert TrainedNetwork.load(path).classes == classes
    numbers = path.read_bytes()
    save_model(path, model, "lenet5", {"classes": 3}, plain)
    assert path.read_bytes() == numbers
    save_model(path, model, "lenet5", {"classes": 3}, plain, ("cat", "dog"))
    with pytest.raises(InputError, match="2 names for 3 classes"):
        load_model(path)


@pytest.mark.parametrize(
    ("name", "built", "written", "message"),
    [
        ("lenet5", {}, {"activation": "gelu"}, "activation: got 'gelu'"),
        ("lenet5", {}, {"classes": 11}, r"size mismatch for output\.weight"),
        ("vgg", {"blocks": [[4]], "hidden": 16}, {"hidden": 17}, r"size mismatch for hidden"),
    ],
)
def test_load_model_says_in_one_line_what_does_not_fit(tmp_path, name, built, written, message):
    path = tmp_path / "lenet5.safetensors"
    save_model(path, build_model(name, **built), name, built | written, Normalization(0, 1))
    with pytest.raises(InputError, match=rf"lenet5\.safetensors: .*{message}") as raised:
        load_model(path)
    assert str(raised.value).isprintable()


def test_predict_evaluates_and_each_layer_keeps_its_mode():
    model = build_model("vgg").train()
    model.block1_norm1.eval()  # frozen
    modes = [layer.training for layer in model.modules()]
    images = torch.randint(256, (3, 28, 28), dtype=torch.uint8)
    first = predict(model, images, Normalization(0.1, 0.3))
    assert torch.equal(first, predict(model, images, Normalization(0.1, 0.3)))  # no dropout
    assert model.block1_norm1.num_batches_tracked == 0
    with pytest.raises(ValueError, match="input: expected shape"):
        layers_of(model, (1, 9, 9))
    layers_of(model)
    assert [layer.training for layer in model.modules()] == modes


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.rand(2, 28, 28), TypeError, "got torch.float32; expected a tensor of torch.uint8"),
        (np.zeros((2, 28, 28)), TypeError, "got float64; expected"),
        ([[0]], TypeError, "got list; expected"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), ValueError, r"got shape \(2, 1, 28, 28\)"),
        (torch.zeros(28, 28, dtype=torch.uint8), ValueError, r"expected \(N, 28, 28\)"),
        (torch.zeros(2, 9, 28, dtype=torch.uint8), ValueError, r"got shape \(2, 9, 28\)"),
    ],
)
def test_predict_refuses(images, error, message):
    with pytest.raises(error, match=message):
        predict(build_model("lenet5"), images, Normalization(0.1, 0.3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_a_saved_model_keeps_its_dtype(tmp_path, dtype):
    model, normalization = build_model("lenet5").to(dtype), Normalization(0.1, 0.3)
    save_model(tmp_path / "lenet5.safetensors", model, "lenet5", {}, normalization)
    loaded = TrainedNetwork.load(tmp_path / "lenet5.safetensors")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {dtype}
    images = torch.randint(256, (3, 28, 28), dtype=torch.uint8)
    assert torch.equal(loaded.predict(images), predict(model, images, normalization))


@pytest.mark.parametrize("wrap", [nn.DataParallel, partial(torch.compile, backend="eager")])
def test_a_model_is_saved_out_of_its_wrapper(tmp_path, wrap):
    model = build_model("lenet5")
    save_model(tmp_path / "lenet5.safetensors", wrap(model), "lenet5", {}, Normalization(0, 1))
    loaded, _ = load_model(tmp_path / "lenet5.safetensors")
    assert torch.equal(loaded.c1.weight, model.c1.weight)


@pytest.mark.parametrize("name", ["lenet5", "vgg"])
def test_a_slice_of_a_network_is_its_layers(name):
    model = build_model(name).eval()
    images = torch.zeros(2, 1, 28, 28)
    assert list(dict(model[:3].named_children())) == list(dict(model.named_children()))[:3]
    assert torch.equal(model[3:](model[:3](images)), model(images))
    assert model[-1] is model.output

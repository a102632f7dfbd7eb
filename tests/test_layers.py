from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnpipe import layers
from cnnpipe.functional import CONV2D_ALGORITHMS, conv2d

CONVOLUTIONS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((3, 6, 5), {}),
    ((4, 8, (3, 2)), {"stride": (1, 2), "padding": (2, 1), "groups": 4, "bias": False}),
    ((2, 2, 3), {"padding": "same", "dilation": 2}),
    ((2, 4, 1), {"padding": "valid", "dtype": torch.float64}),
]
LINEAR: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((8, 3), {}),
    ((8, 5, False), {"dtype": torch.float64}),
]
WITHOUT_WEIGHTS: list[tuple[str, tuple[Any, ...]]] = [
    ("MaxPool2d", (2,)),
    ("MaxPool2d", (3, 2, 1, 2, True, True)),
    ("AvgPool2d", (2,)),
    ("AvgPool2d", (3, (2, 1), 1, True, False, 5)),
    ("ReLU", ()),
    ("ReLU", (True,)),  # in place
    ("Sigmoid", ()),
    ("Tanh", ()),
    ("Dropout", (0.0,)),
    ("Dropout", (1.0, True)),  # in place
]


@pytest.mark.parametrize(
    ("name", "arguments", "keywords"),
    [
        *(("Conv2d", *how) for how in CONVOLUTIONS),
        *(("Linear", *how) for how in LINEAR),
    ],
)
def test_layer_with_weights_is_that_of_torch(
    name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> None:
    torch.manual_seed(3)
    theirs = getattr(nn, name)(*arguments, **keywords)
    after_theirs = torch.rand(1)
    torch.manual_seed(3)
    ours = getattr(layers, name)(*arguments, **keywords)
    assert torch.rand(1) == after_theirs  # the same number of draws
    assert list(ours.state_dict()) == list(theirs.state_dict())
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    channels = arguments[0] if name == "Conv2d" else 2
    x = torch.randn(2, channels, 9, 8, dtype=theirs.weight.dtype)
    torch.testing.assert_close(ours(x), theirs(x))
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize(("name", "arguments"), WITHOUT_WEIGHTS)
def test_layer_without_weights_is_that_of_torch(name: str, arguments: tuple[Any, ...]) -> None:
    ours, theirs = getattr(layers, name)(*arguments), getattr(nn, name)(*arguments)
    x = torch.randn(2, 3, 9, 8)
    torch.testing.assert_close(ours(x.clone()), theirs(x.clone()))
    assert repr(ours) == repr(theirs)
    assert not ours.state_dict()


def test_relu_in_place_returns_its_input() -> None:
    x = torch.tensor([-1.0, 2])
    assert layers.ReLU(inplace=True)(x) is x


@pytest.mark.parametrize("algorithm", CONV2D_ALGORITHMS)
def test_algorithm_reaches_the_operator(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(layers, "conv2d", lambda *_, algorithm: called.append(algorithm))
    monkeypatch.setattr(layers, "can_fuse", lambda *_: False)
    layer = layers.Conv2d(1, 2, 3, algorithm=algorithm)
    layer(torch.zeros(1, 1, 4, 4))
    assert called == [algorithm]
    assert f"algorithm='{algorithm}'" in repr(layer)


def test_device_is_where_the_weights_are() -> None:
    assert layers.Conv2d(1, 2, 3, device="meta").weight.is_meta


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ((0, 2, 3), {}, ValueError, "in_channels: expected an int ≥ 1, got 0"),
        ((1, 2.0, 3), {}, TypeError, "out_channels: expected an int, got 2.0"),
        ((1, 2, 0), {}, ValueError, "kernel_size: expected an int ≥ 1, got 0"),
        ((1, 2, 3), {"stride": 0}, ValueError, "stride: expected an int ≥ 1, got 0"),
        ((1, 2, 3), {"padding": -1}, ValueError, "padding: expected an int ≥ 0, got -1"),
        ((1, 2, 3), {"padding": "full"}, ValueError, "'same' or 'valid', got 'full'"),
        ((1, 2, 3, 2), {"padding": "same"}, ValueError, r"expects stride 1, got .*\(2, 2\)"),
        ((1, 2, 3), {"dilation": 0}, ValueError, "dilation: expected an int ≥ 1, got 0"),
        ((4, 6, 3), {"groups": 4}, ValueError, "a divisor of in_channels 4 and out_channels 6"),
        ((4, 6, 3), {"groups": 0}, ValueError, "groups: expected an int ≥ 1, got 0"),
        (
            (1, 2, 3),
            {"padding_mode": "mirror"},
            ValueError,
            "expected one of zeros, .*, got 'mirror'",
        ),
        ((1, 2, 3), {"algorithm": "fastest"}, ValueError, "one of auto, .*, got 'fastest'"),
    ],
)
def test_convolution_refuses(
    arguments: tuple[Any, ...], keywords: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        layers.Conv2d(*arguments, **keywords)


@pytest.mark.parametrize("pool", [layers.MaxPool2d, layers.AvgPool2d])
def test_pooling_refuses(pool: Any) -> None:
    with pytest.raises(ValueError, match="kernel_size: expected an int ≥ 1, got 0"):
        pool(0)
    with pytest.raises(ValueError, match="stride: expected an int ≥ 1, got 0"):
        pool(2, 0)
    with pytest.raises(ValueError, match=r"padding: expected at most half .* \(2, 2\)"):
        pool(3, padding=2)


def test_weight_gradient_of_each_batch_for_one_upstream_gradient() -> None:
    layer = layers.Conv2d(2, 4, 3, bias=False)
    batches, upstream = torch.randn(3, 2, 2, 6, 6), torch.randn(2, 4, 4, 4)

    def gradient(images: Tensor) -> Tensor:
        _, pull_back = torch.func.vjp(lambda w: conv2d(images, w), layer.weight.detach())
        return pull_back(upstream)[0]

    expected = torch.stack([gradient(images) for images in batches])
    torch.testing.assert_close(torch.func.vmap(gradient)(batches), expected)

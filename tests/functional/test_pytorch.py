"""The operators within the rest of PyTorch: compilers, exporters, tracers, transforms, counters."""

import functools
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, jacfwd, jacrev, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import UninitializedParameter
from torch.utils.flop_counter import FlopCounterMode

from cnnpipe.functional import (
    CONV2D_ALGORITHMS,
    avg_pool2d,
    batch_norm,
    conv2d,
    cross_entropy,
    linear,
    max_pool2d,
    operator,
    relu,
    sigmoid,
    tanh,
)
from cnnpipe.layers import AvgPool2d, BatchNorm2d, Conv2d, Linear, MaxPool2d, ReLU, Sigmoid
from cnnpipe.models import build_model
from tests.helpers.operators import operators
from tests.helpers.oracle import randn

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

ONE = torch.ones(1, 1, 1, 1)
ALGORITHMS = ("auto", *CONV2D_ALGORITHMS[:-1])  # the last one is for GPUs


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch.compiler.reset()


def compiled(function: Callable[..., Any], backend: str = "eager") -> Callable[..., Any]:
    return torch.compile(function, backend=backend, fullgraph=True)


# A compiler sees one operator and does not look inside, so all other algorithms are as these two.
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("algorithm", ["auto", "winograd"])
def test_compiled_gradient(algorithm: str, backend: str) -> None:
    gradients = grad(lambda x, w, b: conv2d(x, w, b, algorithm=algorithm).sum(), argnums=(0, 1, 2))
    found = compiled(gradients, backend)(ONE, 2 * ONE, torch.ones(1))
    assert [gradient.item() for gradient in found] == [2, 1, 1]


def test_compiled_jacobian() -> None:
    function = jacrev(lambda x: conv2d(x, 2 * ONE))
    assert compiled(function)(ONE).item() == function(ONE).item() == 2


def test_compiled_gradient_of_a_network() -> None:
    network, images = build_model("lenet5").double(), randn(2, 1, 28, 28)
    weights = {name: weight.detach() for name, weight in network.named_parameters()}
    gradients = grad(lambda w: functional_call(network, w, (images,)).sin().sum())
    torch.testing.assert_close(compiled(gradients)(weights), gradients(weights))


def test_compiled_vmap_has_a_gradient() -> None:
    images = torch.ones(2, 1, 1, 1, requires_grad=True)
    compiled(vmap(lambda image: conv2d(image[None], 3 * ONE)[0]))(images).sum().backward()
    assert images.grad is not None
    assert images.grad.flatten().tolist() == [3, 3]


@pytest.mark.parametrize("algorithm", ["auto", "winograd"])
def test_a_compiler_computes_by_the_same_algorithm(algorithm: str) -> None:
    """A compiled network must not be another one.

    Traced, winograd's writes into overlapping views come out wrong, without an error.
    """
    function = functools.partial(conv2d, padding=1, algorithm=algorithm)
    results = []
    for how in (function, compiled(function, "aot_eager")):
        operands = [randn(*shape).requires_grad_() for shape in ((2, 8, 9, 8), (8, 8, 3, 3))]
        output = how(*operands)
        results.append((output, *torch.autograd.grad(output.sin().sum(), operands)))
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_training_keeps_its_running_statistics(backend: str) -> None:
    results = []
    for how in (lambda network: network, lambda network: compiled(network, backend)):
        torch.manual_seed(0)
        network = build_model("vgg", blocks=[[2], [3]], hidden=4, dropout=0.0).double()
        step = how(network)
        for seed in range(2):
            step(randn(4, 1, 28, 28, seed=seed)).sin().sum().backward()
        gradients = [weight.grad for weight in network.parameters()]
        results.append((gradients, network.state_dict()))
    torch.testing.assert_close(*results)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolution": (
        lambda: nn.Sequential(Conv2d(1, 1, 1), nn.Flatten(), Linear(4, 1)),
        (1, 2, 2),
    ),
    "pooling behind linear": (lambda: nn.Sequential(Linear(4, 4), MaxPool2d(2)), (4, 4)),
    "sigmoid behind linear": (lambda: nn.Sequential(Linear(2, 2), Sigmoid()), (2,)),
    "LeNet-5": (lambda: build_model("lenet5"), (1, 28, 28)),
    "LeNet-5 of 1998": (
        lambda: build_model("lenet5", activation="tanh", pooling="avg"),
        (1, 28, 28),
    ),
    "VGG": (lambda: build_model("vgg").eval(), (1, 28, 28)),
    "batch normalisation in training": (lambda: BatchNorm2d(2), (2, 2, 2)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_exported_network_computes_and_learns_alike(name: str) -> None:
    build, shape = NETWORKS[name]
    network = build().double()
    batch = torch.export.Dim("batch", min=1, max=512)
    program = torch.export.export(network, (randn(2, *shape),), dynamic_shapes=({0: batch},))
    exported, images = program.module(), randn(3, *shape)
    actual, expected = exported(images), network(images)
    torch.testing.assert_close(actual, expected)
    actual.sin().sum().backward()
    expected.sin().sum().backward()
    gradients = {name: weight.grad for name, weight in network.named_parameters()}
    assert None not in gradients.values()
    found = {name: weight.grad for name, weight in exported.named_parameters()}
    torch.testing.assert_close(found, gradients)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", NETWORKS)
def test_traced_network_computes_and_learns_alike(name: str) -> None:
    build, shape = NETWORKS[name]
    network = build().double()
    traced = torch.jit.trace(network, randn(2, *shape))
    images = randn(3, *shape).requires_grad_()
    torch.testing.assert_close(traced(images), network(images))
    weights = [images, *network.parameters()]
    gradients = torch.autograd.grad(network(images).sin().sum(), weights)
    torch.testing.assert_close(torch.autograd.grad(traced(images).sin().sum(), weights), gradients)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("lenet5", {"activation": "tanh", "pooling": "avg"}),
        ("vgg", {}),
    ],
)
@pytest.mark.filterwarnings("ignore")  # of the exporter, about itself
def test_onnx(name: str, overrides: dict[str, str], tmp_path: Path) -> None:
    network = build_model(name, **overrides).eval()
    program = torch.onnx.export(
        network,
        (torch.zeros(2, 1, 28, 28),),
        dynamo=True,
        verbose=False,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    assert program is not None
    assert {node.domain for node in program.model.graph} == {""}  # ONNX's own operators
    program.save(tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    images = torch.randn(5, 1, 28, 28)
    [logits] = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), network(images), rtol=1e-4, atol=1e-5)


class Loss(nn.Module):
    """Of images whose classes are known."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("targets", torch.tensor([3, 0]))

    def forward(self, images: Tensor) -> Tensor:
        return cross_entropy(images.flatten(1), self.targets, 0.1)


class Layers(nn.Module):
    """Kinds of arguments, all of one input: the exporter takes a second for each program."""

    def __init__(self) -> None:
        super().__init__()
        self.all = nn.ModuleList(
            [
                Conv2d(2, 4, (3, 2), stride=2, padding=(1, 0), dilation=(1, 2), groups=2),
                Conv2d(2, 2, 4, padding="same"),
                MaxPool2d(3, 2, 1),
                MaxPool2d(3, 2, 1, dilation=2),
                MaxPool2d(2, ceil_mode=True),
                AvgPool2d(3, 2, 1, ceil_mode=True),
                AvgPool2d(3, 2, 1, count_include_pad=False),
                BatchNorm2d(2).eval(),
                BatchNorm2d(2, affine=False, track_running_stats=False),
                Linear(9, 4),
                Linear(9, 4, bias=False),
                Sigmoid(),
                Loss(),
            ]
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        return [layer(images) for layer in self.all]


@pytest.mark.filterwarnings("ignore")  # of the exporter, about itself
def test_onnx_of_layers(tmp_path: Path) -> None:
    layers, images = Layers(), torch.randn(2, 2, 9, 9)
    program = torch.onnx.export(layers, (images,), dynamo=True, verbose=False)
    assert program is not None
    assert {node.domain for node in program.model.graph} == {""}  # ONNX's own operators
    program.save(tmp_path / "layers.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "layers.onnx")
    outputs = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    for layer, output, expected in zip(layers.all, outputs, layers(images), strict=True):
        message = f"{layer}: {{}}".format
        torch.testing.assert_close(
            torch.from_numpy(output), expected, rtol=1e-4, atol=1e-5, msg=message
        )


@pytest.mark.parametrize("name", ["lenet5", "vgg"])
def test_meta_tensors(name: str) -> None:
    network = build_model(name).to("meta")
    network(torch.empty(2, 1, 28, 28, device="meta")).sum().backward()
    assert {weight.grad.shape == weight.shape for weight in network.parameters()} == {True}


@pytest.mark.parametrize("name", ["lenet5", "vgg"])
def test_fake_tensors(name: str) -> None:
    with FakeTensorMode():
        network = build_model(name)
        network(torch.randn(2, 1, 28, 28)).sum().backward()
        assert {weight.grad.shape == weight.shape for weight in network.parameters()} == {True}


@pytest.mark.parametrize("mode", ["real", "symbolic"])  # the latter of fake tensors
def test_make_fx(mode: Any) -> None:
    network = build_model("lenet5").double()
    weights = dict(network.named_parameters())

    def gradients(weights: dict[str, Tensor], images: Tensor) -> tuple[Tensor, ...]:
        logits = functional_call(network, weights, (images,))
        return torch.autograd.grad(logits.sin().sum(), list(weights.values()))

    graph = make_fx(gradients, tracing_mode=mode)(weights, randn(2, 1, 28, 28))
    images = randn(2, 1, 28, 28)
    torch.testing.assert_close(graph(weights, images), gradients(weights, images))


OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": relu,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "max_pool2d": lambda x: max_pool2d(x, 2, 1, 1),
    "avg_pool2d": lambda x: avg_pool2d(x, 2, 1, 1),
    "batch_norm": lambda x: batch_norm(x, weight=x[0, :, 0, 0], bias=x[1, :, 0, 0], training=True),
    "batch_norm in evaluation": lambda x: batch_norm(
        x, torch.ones(1).to(x), 2 * torch.ones(1).to(x), weight=x[0, :, 0, 0]
    ),
    "linear": lambda x: linear(x, torch.arange(8.0, dtype=x.dtype).view(2, 4) / 8),
    "cross_entropy": lambda x: cross_entropy(x.flatten(1), torch.tensor([3, 0]), 0.1).view(1),
    **{
        algorithm: lambda x, algorithm=algorithm: conv2d(
            x, torch.arange(1.0, 9, dtype=x.dtype).view(2, 1, 2, 2) / 8, algorithm=algorithm
        )
        for algorithm in ALGORITHMS
    },
}


@pytest.mark.parametrize("name", OPERATORS)
def test_derivatives_of_batches_and_forward(name: str) -> None:
    """Batched gradients, forward derivatives, and both in one another."""
    x = randn(2, 1, 3, 4).requires_grad_()
    assert gradcheck(
        OPERATORS[name],
        x,
        check_batched_grad=True,
        check_forward_ad=True,
        check_batched_forward_grad=True,
    )
    assert gradgradcheck(OPERATORS[name], x, check_batched_grad=True, check_fwd_over_rev=True)
    y = OPERATORS[name](x)
    many = torch.stack([torch.ones_like(y), 2 * torch.ones_like(y)])
    [batched] = torch.autograd.grad(y, x, many, is_grads_batched=True, retain_graph=True)
    torch.testing.assert_close(batched[1], 2 * torch.autograd.grad(y.sum(), x)[0])
    for strategy in ("reverse-mode", "forward-mode"):
        jacobian = torch.autograd.functional.jacobian(
            OPERATORS[name], x, vectorize=True, strategy=strategy
        )
        torch.testing.assert_close(jacobian.sum(dim=tuple(range(y.ndim))), batched[0])


@pytest.mark.parametrize("name", OPERATORS)
def test_forward_derivatives_of_forward_derivatives(name: str) -> None:
    """Those of an `autograd.Function` are zero."""
    x = randn(2, 1, 2, 4)
    function = lambda x: OPERATORS[name](x).sin().sum()  # noqa: E731
    expected = jacrev(jacrev(function))(x)
    assert expected.any()
    torch.testing.assert_close(jacfwd(jacfwd(function))(x), expected)
    torch.testing.assert_close(jacfwd(jacrev(function))(x), expected)
    torch.testing.assert_close(jacrev(jacfwd(function))(x), expected)


TARGETS = torch.tensor([0, 3, 1, 1, 2])
CALLS: dict[str, tuple[Any, ...]] = {
    "conv2d": (randn(2, 4, 6, 5), randn(6, 2, 3, 2), randn(6)),
    "conv2d_input_gradient": (randn(2, 6, 3, 4), randn(6, 2, 3, 2)),
    "conv2d_weight_gradient": (randn(2, 4, 6, 5), randn(2, 6, 3, 4)),
    "conv2d_bias_gradient": (randn(2, 6, 3, 4),),
    "max_pool2d": (randn(2, 3, 6, 5),),
    "max_pool2d_to_winner": (randn(2, 3, 3, 4), randn(2, 3, 6, 5)),
    "max_pool2d_from_winner": (randn(2, 3, 6, 5), randn(2, 3, 6, 5)),
    "max_pool2d_indices": (randn(2, 3, 6, 5),),
    "window_sum": (randn(2, 3, 6, 5),),
    "window_spread": (randn(2, 3, 3, 4),),
    "relu": (randn(2, 3, 4),),
    "gate": (randn(2, 3, 4), relu(randn(2, 3, 4))),
    "sigmoid": (randn(2, 3, 4),),
    "tanh": (randn(2, 3, 4),),
    "batch_statistics": (randn(2, 3, 4),),
    "batch_norm": (randn(2, 3, 4), randn(2, 3).abs(), randn(3), randn(3)),
    "batch_norm_sums": (randn(2, 3, 4), randn(2, 3, 4), randn(2, 3).abs()),
    "batch_norm_input_gradient": (
        *(randn(2, 3, 4), randn(2, 3, 4), randn(2, 3).abs()),
        *(randn(3), randn(2, 3)),
    ),
    "linear": (randn(5, 4), randn(3, 4), randn(3)),
    "linear_input_gradient": (randn(5, 3), randn(3, 4)),
    "linear_weight_gradient": (randn(5, 4), randn(5, 3)),
    "linear_bias_gradient": (randn(5, 3),),
    "cross_entropy": (randn(5, 4), TARGETS, 0.1),
    "cross_entropy_gradient": (randn(5, 4), TARGETS, 0.1, randn()),
}
"""An operand list for each operator of the library; windows are 3×2, stride 2×1, padding 1×0."""
CONSTANT = (
    *("max_pool2d_indices", "batch_statistics"),
    *("batch_norm_sums", "batch_norm_input_gradient"),
)
"""Operators without a derivative of their own."""
NUMBERS = [6, 5, 3, 2, 2, 1, 1, 1, 0, 0, 1, 1]
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda tensor: tensor.clone(),
    "channels last": lambda tensor: tensor.movedim(1, -1).contiguous().movedim(-1, 1),
    "every second": lambda tensor: tensor.repeat_interleave(2, -1)[..., ::2],
}


@pytest.mark.filterwarnings("ignore")  # of the check, about itself
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", operators())
def test_what_pytorch_is_told_is_true(name: str, layout: str) -> None:
    """opcheck: schema, no aliases, shapes and strides of fakes, derivatives under AOTAutograd."""
    operands = [
        LAYOUTS[layout](value) if isinstance(value, Tensor) and value.ndim > 1 else value
        for value in CALLS[name]
    ]
    for value in operands:
        if isinstance(value, Tensor) and value.is_floating_point():
            value.requires_grad_(name not in CONSTANT)
    if "conv2d" in name and "bias" not in name:
        operands += [[*NUMBERS, 2], "im2col"]
    elif "pool" in name or "window" in name:
        operands.append(NUMBERS)
    elif "batch_norm" in name:
        operands += [0.25] if "sums" in name else [0.25, True]
    torch.library.opcheck(getattr(torch.ops.cnnpipe, name).default, tuple(operands))


@pytest.mark.parametrize("name", ["lenet5", "vgg"])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_flops_are_counted_as_those_of_torch(name: str, device: str) -> None:
    counts = []
    for backend in ("scratch", "torch"):
        network = build_model(name, backend=backend).to(device)
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(2, 1, 28, 28, device=device)).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]


def test_a_counter_made_before_the_first_call_counts() -> None:
    code = (
        "import torch; from cnnpipe.models import build_model;"
        "from torch.utils.flop_counter import FlopCounterMode as Counter\n"
        "network = build_model('lenet5')\n"
        "with Counter(display=False) as counter: network(torch.zeros(1, 1, 28, 28))\n"
        "print(counter.get_total_flops())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert int(result.stdout) == 2 * 416_520  # its multiply-adds


@pytest.mark.parametrize("change", [lambda y: y.mul_(2), ReLU(inplace=True)], ids=["mul_", "ReLU"])
def test_maximum_may_be_overwritten(change: Callable[[Tensor], Tensor]) -> None:
    gradients = []
    for pool in (max_pool2d, nn.functional.max_pool2d):
        x = torch.ones(1, 1, 2, 2, requires_grad=True)
        change(pool(x * 1, 2)).sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)


def test_refused_relu_in_place_changes_nothing() -> None:
    leaf = torch.tensor([-1.0, 1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        relu(leaf, inplace=True)
    assert leaf.tolist() == [-1, 1]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_gradients_can_be_viewed(algorithm: str, layout: str) -> None:
    """As their tensors can."""
    operands = [LAYOUTS[layout](randn(2, 3, 6, 6)), randn(4, 3, 3, 3)]
    for tensor in operands:
        tensor.requires_grad_()
    for tensor, gradient in zip(
        operands,
        torch.autograd.grad(conv2d(*operands, algorithm=algorithm).sum(), operands),
        strict=True,
    ):
        if tensor.is_contiguous():
            assert gradient.view(-1).shape == (tensor.numel(),)


@pytest.mark.parametrize("arguments", [{"stride": [2]}, {"padding": (1,)}, {"dilation": [2]}])
def test_one_number_in_a_sequence(arguments: dict[str, Any]) -> None:
    x, w = randn(1, 2, 6, 6), randn(3, 2, 2, 2)
    expected = nn.functional.conv2d(x, w, **arguments)
    torch.testing.assert_close(conv2d(x, w, **arguments), expected)


def test_empty_stride_of_a_pooling_is_its_kernel() -> None:
    x = randn(1, 2, 6, 6)
    assert torch.equal(max_pool2d(x, 2, stride=()), nn.functional.max_pool2d(x, 2, stride=()))


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64], ids=str
)
@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col"])
def test_integer_convolution(dtype: torch.dtype, algorithm: str) -> None:
    least, most = torch.iinfo(dtype).min, torch.iinfo(dtype).max
    x = torch.randint(least, most, (2, 2, 6, 6)).to(dtype)  # sums wrap around
    w = torch.randint(least, most, (3, 2, 2, 2)).to(dtype)
    assert torch.equal(conv2d(x, w, algorithm=algorithm), nn.functional.conv2d(x, w))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32], ids=str)
def test_sums_of_narrow_integers_do_not_overflow(dtype: torch.dtype) -> None:
    x = torch.full((1, 1, 16, 16), torch.iinfo(dtype).max, dtype=dtype)
    assert avg_pool2d(x, 16).item() == torch.iinfo(dtype).max


def test_vmap_over_images_alone_stays_one_group() -> None:
    images, kernels = randn(3, 2, 4, 9, 9), randn(4, 4, 3, 3)
    graph = make_fx(vmap(lambda image: conv2d(image, kernels)))(images)
    [call] = [node for node in graph.graph.nodes if "conv2d" in str(node.target)]
    assert call.args[3][-1] == 1
    torch.testing.assert_close(graph(images)[2], conv2d(images[2], kernels))


def test_a_traced_network_refuses_images_of_another_size() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(
            nn.Sequential(Conv2d(1, 1, 3), MaxPool2d(2)), randn(1, 1, 8, 8, dtype=torch.float32)
        )
    with pytest.raises(RuntimeError, match="traced with images of 8×8 pixels"):
        traced(randn(1, 1, 12, 12, dtype=torch.float32))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_traced_layer_keeps_no_dtype() -> None:
    image = randn(1, 1, 8, 8, dtype=torch.float32)
    traced = torch.jit.trace(Conv2d(1, 1, 3), image)
    assert traced.double()(image.double()).dtype == torch.float64


def test_maximum_of_booleans() -> None:
    x = torch.tensor([[[True, False], [False, False]]])
    assert max_pool2d(x, (1, 2)).tolist() == [[[True], [False]]]


@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col"])
def test_complex_convolution(algorithm: str) -> None:
    def complex_numbers(*shape: int) -> Tensor:
        return torch.complex(randn(*shape), randn(*shape)).requires_grad_()

    operands = complex_numbers(2, 4, 5, 5), complex_numbers(6, 2, 3, 3), complex_numbers(6)
    how = {"groups": 2, "padding": 1, "stride": 2}
    actual = conv2d(*operands, **how, algorithm=algorithm)
    expected = nn.functional.conv2d(*operands, **how)
    torch.testing.assert_close(actual, expected)
    upstream = complex_numbers(*actual.shape)
    torch.testing.assert_close(
        torch.autograd.grad(actual, operands, upstream),
        torch.autograd.grad(expected, operands, upstream),
    )
    small = complex_numbers(1, 2, 3, 3), complex_numbers(2, 1, 2, 2), complex_numbers(2)
    function: Any = lambda *tensors: conv2d(*tensors, groups=2, algorithm=algorithm)  # noqa: E731
    assert gradcheck(function, small, check_forward_ad=True)
    assert gradgradcheck(function, small)


@pytest.mark.parametrize("algorithm", ["auto", "im2col"])
@pytest.mark.parametrize("kernel_size", [(3, 3), (5, 5), (7, 7)])
@pytest.mark.parametrize("channels", [(1, 6), (6, 16), (16, 16), (130, 130)])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_go_where_the_formula_says(
    value: float, channels: tuple[int, int], kernel_size: tuple[int, int], algorithm: str
) -> None:
    C, O = channels  # noqa: E741
    for spoilt in ("x", "w", "g"):
        x = randn(2, C, 9, 9, dtype=torch.float32)
        w = randn(O, C, *kernel_size, dtype=torch.float32)
        y = nn.functional.conv2d(x, w)
        g = torch.randn_like(y)
        {"x": x, "w": w, "g": g}[spoilt][0, 0, 1, 1] = value
        results = []
        for how in (algorithm, "direct"):
            leaves = [tensor.clone().requires_grad_() for tensor in (x, w)]
            output = conv2d(*leaves, algorithm=how)
            results.append([output, *torch.autograd.grad(output, leaves, g)])
        actual, expected = results
        if spoilt == "w":  # zeros around the gradient are none of the formula's
            leaf = x.clone().requires_grad_()
            [expected[1]] = torch.autograd.grad(
                nn.functional.unfold(leaf, kernel_size),
                leaf,
                torch.einsum("nol,ok->nkl", g.flatten(2), w.flatten(1)),
            )
        for a, b in zip(actual, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3, equal_nan=True)


def test_a_tensor_is_plain_if_its_numbers_stand_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator, "_PLAIN", {})
    weight = nn.Parameter(ONE)
    with torch.inference_mode():
        assert operator.are_plain(weight, torch.empty(1), None)
    with FakeTensorMode():
        assert not operator.are_plain(torch.empty(1))
    assert operator.are_plain(weight, ONE.double(), torch.zeros(1, dtype=torch.int64))
    complex_ones = torch.ones(1, dtype=torch.complex64)
    views = (complex_ones.conj(), complex_ones.conj().imag)
    for strange in (ONE.to("meta"), ONE[0, 0].to_sparse(), UninitializedParameter(), *views):
        assert not operator.are_plain(weight, strange)

    def check(x: Tensor) -> Tensor:
        assert not operator.are_plain(x)
        return x

    vmap(check)(ONE)

"""Weight sharing: exact counts, a layer without it, and what it is worth."""

import pytest
import torch

from cnnpipe.functional import conv2d
from cnnpipe.layers import Conv2d
from cnnpipe.principles import sharing
from cnnpipe.principles.networks import FORMS, HEADS, LocallyConnected2d, twin
from cnnpipe.principles.sharing import FEATURE_MAPS, count_weights, judge, name_of
from tests.helpers.tiny_study import TINY, accuracies_on_moved, measured


def judged(shared, local, weights=None):
    """The finding when moves leave the two forms, with either head, so much of 0.9."""
    reached = {
        name_of(form, head): [0.9, moved]
        for form, moved in (("shared", shared), ("local", local))
        for head in HEADS
    }
    counts = count_weights(FEATURE_MAPS) if weights is None else weights
    return judge(accuracies_on_moved(reached), counts, TINY)


def test_weights_are_counted_exactly():
    table = count_weights(FEATURE_MAPS).set_index("side")
    assert set(table["shared"]) == {36_864}  # 64·64·3·3
    assert table.loc[1, "full"] == 4_096  # 64·64: fewer than the convolution
    assert table.loc[7, "full"] == 9_834_496  # (64·7·7)²
    assert table.loc[28, "full"] == 2_517_630_976  # (64·28·28)²
    assert table.loc[224, "full"] == 10_312_216_477_696  # (64·224·224)²
    assert table.loc[28, "local"] == 28_901_376  # 28·28·36,864


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1)])
def test_locally_connected_layer_begins_as_its_convolution(stride, padding):
    torch.manual_seed(0)
    convolution = Conv2d(2, 3, 3, stride=stride, padding=padding)
    local = LocallyConnected2d(convolution, (7, 6))
    images = torch.randn(4, 2, 7, 6)
    torch.testing.assert_close(local(images), convolution(images))
    positions = convolution(images)[0, 0].numel()
    assert local.weight.numel() == positions * convolution.weight.numel()


def test_each_position_has_weights_of_its_own():
    local = LocallyConnected2d(Conv2d(1, 1, 2), (3, 3))  # 2×2 positions
    kernels = torch.randn(4, 1, 1, 2, 2)
    with torch.no_grad():
        local.weight.copy_(kernels.reshape(4, 1, 4))
        local.bias.zero_()
    images = torch.randn(1, 1, 3, 3)
    expected = [conv2d(images, kernel).flatten()[p] for p, kernel in enumerate(kernels)]
    torch.testing.assert_close(local(images).flatten(), torch.stack(expected))


def test_gradients_of_the_convolution_are_those_of_the_positions_added_up():
    torch.manual_seed(0)
    convolution = Conv2d(1, 2, 3)
    local = LocallyConnected2d(convolution, (6, 6))
    images = torch.randn(2, 1, 6, 6)
    for layer in (convolution, local):
        layer(images).square().sum().backward()
    summed = local.weight.grad.sum(0).reshape_as(convolution.weight)
    torch.testing.assert_close(summed, convolution.weight.grad)


def test_padding_by_name_is_refused():
    with pytest.raises(ValueError, match="convolution: expected padding in pixels and a bias"):
        LocallyConnected2d(Conv2d(1, 1, 3, padding="same"), (6, 6))


def test_both_forms_begin_as_the_same_function():
    images = torch.randn(3, 1, 28, 28)
    for head in HEADS:
        outputs = []
        for form in FORMS:
            torch.manual_seed(3)
            outputs.append(twin(form, head, 10)(images))
        torch.testing.assert_close(*outputs)


def test_all_runs_are_there():
    finding = measured(sharing)
    assert len(finding.tables["runs"]) == 2 * 2 * 2 * 2  # runs, forms, heads, shifts


@pytest.mark.parametrize(
    ("shared", "local", "verdict"),
    [(0.85, 0.7, "shown"), (0.8, 0.79, "not decided"), (0.8, 0.8, "shown not to hold")],
)
def test_the_verdict_follows_what_sharing_saves(shared, local, verdict):
    finding = judged(shared, local)
    assert finding.verdict == verdict
    assert finding.number == pytest.approx(100 * (shared - local))


def test_a_layer_that_shares_and_has_more_weights_refutes_it():
    weights = count_weights([2, 28]).assign(full=[1, 2])
    assert judged(0.85, 0.7, weights).verdict == "shown not to hold"

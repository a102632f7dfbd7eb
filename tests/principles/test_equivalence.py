"""Cross-correlation and convolution: equal up to the flip, and only then."""

import pytest
import torch

from cnnpipe.functional import convolve2d
from cnnpipe.principles import equivalence
from tests.helpers.tiny_study import TINY, measured


@pytest.fixture
def finding():
    return measured(equivalence)


def test_flip_turns_each_kernel_by_half_a_turn():
    kernel = torch.tensor([[[[1, 2], [3, 4]]]])
    assert equivalence.flip(kernel).tolist() == [[[[4, 3], [2, 1]]]]


def test_convolution_of_an_impulse_is_the_kernel_itself():
    """Cross-correlation gives the flipped kernel, so this distinguishes the two."""
    impulse = torch.zeros(1, 1, 5, 5)
    impulse[0, 0, 2, 2] = 1
    kernel = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert torch.equal(convolve2d(impulse, kernel), kernel)


def test_the_claim_holds_and_the_control_is_another_network(finding):
    assert finding.verdict == "verified"
    assert finding.number < 1e-9
    assert finding.details["output_error_in_rounding_bounds"] <= 1
    assert (finding.tables["training"]["moved"].iloc[1:] > 0).all()
    assert finding.details["control"] > 0.1 * finding.details["moved"]
    assert finding.number < finding.details["apart_in_single_precision"] < 1e-3


def test_all_outputs_are_compared(finding):
    outputs = finding.tables["outputs"]
    assert len(outputs) == 3 * 2 * 2 * 2 * 2
    assert outputs["error"].notna().all()
    assert outputs["scipy_error"].notna().sum() == 3 * 2  # kernels × padding


def test_an_operator_that_flips_one_axis_refutes_it():
    def one_axis(input, weight, *arguments, **options):
        return convolve2d(input, weight.flip(2), *arguments, **options)

    finding = equivalence.measure(TINY, one_axis)
    assert finding.verdict == "shown not to hold"
    assert finding.details["output_error_in_rounding_bounds"] > 1
    assert finding.number > 0.01
    assert "do not stay mirror images" in finding.statement


def test_figure_shows_the_kernels(finding):
    figure = equivalence.CLAIM.draw(finding.tables, finding.details)
    assert len(figure.axes) == 3 * 6 + 2  # kernels, colour bar, curves
    first, turned = figure.axes[0].images[0], figure.axes[12].images[0]
    assert (abs(first.get_array() - turned.get_array()) < 1e-5).all()

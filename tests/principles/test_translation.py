"""Claim 5: each of its two words can be refuted."""

from functools import cache

import pytest
import torch

from cnnpipe.principles import translation
from cnnpipe.principles.networks import MAX, MLP
from cnnpipe.principles.translation import DROPPED, MAX_ON_MOVED
from tests.helpers.tiny_study import TINY, accuracies_on_moved

IMAGES, _ = TINY.test_examples(4)


@cache
def equivariance(stride):
    """The table of errors when the judged convolution has a stride; it is not changed."""
    lenet5 = TINY.models["lenet5"]
    operations = translation.operations_of(lenet5, stride)
    return translation.equivariance_errors(operations, IMAGES, TINY.normalization.background)


def accuracies(moved_by_two):
    networks = (MAX, MLP, DROPPED, MAX_ON_MOVED)
    return accuracies_on_moved({name: [0.9, 0.9, moved_by_two] for name in networks})


def test_a_convolution_moves_with_the_image_and_strides_only_at_their_multiples():
    errors = equivariance(stride=1)
    assert translation.judged_operation(errors)["error"].max() <= translation.ROUNDING
    jumps = errors.groupby("operation")["jump"].first()
    assert jumps["LeNet-5 to its last pooling"] == 4
    strided = errors[errors["jump"] > 1]
    multiple = strided["shift"] % strided["jump"] == 0
    assert strided.loc[multiple, "error"].max() <= translation.ROUNDING
    assert strided.loc[~multiple, "error"].min() > 0.01


def test_the_error_worked_by_hand():
    outputs = torch.tensor([[[[0.0, 3, 4, 0, 0]]]]).repeat(1, 1, 3, 1)
    moved = outputs.roll(1, dims=-1)
    assert translation._difference(moved, outputs, margin=1, offset=1) == 0
    # Columns 1 to 3 of the middle row: (0, 3, 4) against (3, 4, 0).
    expected = ((9 + 1 + 16) / (9 + 16)) ** 0.5
    assert translation._difference(moved, outputs, 1, 0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("stride", "moved_by_two", "verdict", "words"),
    [
        (1, 0.9, "shown", ["Equivariance holds", "Invariance holds"]),
        (1, 0.5, "shown not to hold", ["Equivariance holds", "Invariance does not hold"]),
        (1, 0.89, "not decided", ["Equivariance holds", "Invariance is not decided"]),
        (2, 0.9, "shown not to hold", ["Equivariance fails", "Invariance holds"]),
    ],
)
def test_each_word_is_refuted_by_its_own_case(stride, moved_by_two, verdict, words):
    finding = translation.judge(equivariance(stride), accuracies(moved_by_two), TINY)
    assert finding.verdict == verdict
    assert all(word in finding.statement for word in words)
    assert finding.number == pytest.approx(100 * (0.9 - moved_by_two), abs=0.02)


def test_runs_that_disagree_widely_show_no_invariance():
    table = accuracies(0.9)
    # One run gains: the mean loss is below zero.
    table.loc[(table["shift"] == 2) & (table["run"] == 1), "accuracy"] += 0.05
    finding = translation.judge(equivariance(1), table, TINY)
    assert finding.number < 0
    assert finding.verdict == "not decided"

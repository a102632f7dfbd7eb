"""Claim 5: moved images, and that each of its two words can be refuted."""

from functools import cache

import pandas as pd
import pytest
import torch

from cnnpipe.params.principles import ShiftParams
from cnnpipe.principles import moved_images as shifts
from cnnpipe.principles import translation
from tests.helpers.tiny_study import tiny_study

PARAMS = ShiftParams(
    train_images=64,
    test_images=32,
    seeds=2,
    steps=2,
    batch_size=16,
    lr=0.01,
    judged_shift=2,
    largest_shift=3,
)
STUDY = tiny_study(translation=PARAMS)
IMAGES, _ = STUDY.test_examples(4)


@cache
def equivariance(stride):
    """The table of errors; nothing that it is given to changes it."""
    operations = translation.operations_of(STUDY.models["lenet5"], stride)
    return translation.equivariance_errors(operations, IMAGES, STUDY.normalization.background)


def accuracies(moved_by_two):
    """Both seeds of every network tell 0.9 of the unmoved images, and of the moved as many."""
    rows = [
        (name, 100, seed, shift, fraction + seed / 1000)
        for name in translation.networks(classes=2)
        for seed in (0, 1)
        for shift, fraction in enumerate([0.9, 0.9, moved_by_two, moved_by_two])
    ]
    return pd.DataFrame(rows, columns=["network", "parameters", "seed", "shift", "accuracy"])


def test_moved_worked_by_hand():
    image = torch.tensor([[1, 2], [3, 4]])
    assert shifts.moved(image, 1, 0, fill=9).tolist() == [[9, 9], [1, 2]]
    assert shifts.moved(image, 0, -1, fill=9).tolist() == [[2, 9], [4, 9]]


def test_images_move_right_left_down_and_up_in_turn():
    images = torch.tensor([[1, 2], [3, 4]]).expand(5, 1, 2, 2)
    right, left, down, up, right_again = shifts.moved_in_turn(images, 1, fill=0)[:, 0].tolist()
    assert right == right_again == [[0, 1], [0, 3]]
    assert left == [[2, 0], [4, 0]]
    assert down == [[0, 0], [1, 2]]
    assert up == [[3, 4], [0, 0]]


def test_random_moves_are_whole_within_bounds_and_seeded():
    images = torch.zeros(200, 1, 9, 9)
    images[:, :, 4, 4] = 1
    result = shifts.moved_at_random(images, 2, fill=0, seed=0)
    _, _, rows, columns = result.nonzero(as_tuple=True)
    assert len(rows) == 200
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4, 5, 6}
    assert result.equal(shifts.moved_at_random(images, 2, fill=0, seed=0))
    assert not result.equal(shifts.moved_at_random(images, 2, fill=0, seed=1))


def test_pooling_and_stride_give_networks_of_one_size():
    counts = {
        name: shifts.parameter_count(shifts.convolutional_network(name, classes=10))
        for name in ("max pooling", "average pooling", "strided convolution")
    }
    # (25 + 1)·8 + (8·25 + 1)·16 + (16·4·4 + 1)·10
    assert set(counts.values()) == {208 + 3216 + 2570}


def test_summary_of_two_seeds_worked_by_hand():
    table = pd.DataFrame({"network": "a", "shift": 0, "accuracy": [0.5, 0.6]})
    (row,) = shifts.summarize(table, by=["network", "shift"]).itertuples()
    assert row.accuracy == pytest.approx(0.55)
    assert row.low == 0  # 0.55 − 12.706·0.05 lies below
    assert row.high == 1


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
        (1, 0.9, "supported", ["Equivariance holds", "Invariance holds"]),
        (1, 0.5, "partly supported", ["Equivariance holds", "Invariance does not follow"]),
        (2, 0.9, "partly supported", ["Equivariance fails", "Invariance holds"]),
        (2, 0.5, "not supported", ["Equivariance fails", "Invariance does not follow"]),
    ],
)
def test_each_word_is_refuted_by_its_own_case(stride, moved_by_two, verdict, words):
    finding = translation.conclude(equivariance(stride), accuracies(moved_by_two), STUDY)
    assert finding.verdict == verdict
    assert all(word in finding.statement for word in words)
    assert finding.number == pytest.approx(100 * (0.9 - moved_by_two))


def test_seeds_that_disagree_widely_support_no_invariance():
    table = accuracies(0.9)
    moved = (table["shift"] == 2) & (table["seed"] == 1)
    table.loc[moved, "accuracy"] += 0.05  # one seed gains: the mean loss is below zero
    finding = translation.conclude(equivariance(1), table, STUDY)
    assert finding.number < 0
    assert finding.verdict == "partly supported"

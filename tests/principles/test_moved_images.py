"""Moved images, and the networks that are judged on them."""

import torch

from cnnpipe.data.preprocessing import moved
from cnnpipe.principles.inductive_bias import CNN, FLAT, UNSHARED, networks_of
from cnnpipe.principles.moved_images import moved_at_random, moved_in_turn
from cnnpipe.principles.networks import (
    AVERAGE,
    MAX,
    MLP,
    STRIDE,
    parameter_count,
    pooling_network,
)


def test_moved_worked_by_hand():
    image = torch.tensor([[1, 2], [3, 4]])
    assert moved(image, 1, 0, fill=9).tolist() == [[9, 9], [1, 2]]
    assert moved(image, 0, -1, fill=9).tolist() == [[2, 9], [4, 9]]


def test_images_move_right_left_down_and_up_in_turn():
    images = torch.tensor([[1, 2], [3, 4]]).expand(5, 1, 2, 2)
    right, left, down, up, right_again = moved_in_turn(images, 1, fill=0)[:, 0].tolist()
    assert right == right_again == [[0, 1], [0, 3]]
    assert left == [[2, 0], [4, 0]]
    assert down == [[0, 0], [1, 2]]
    assert up == [[3, 4], [0, 0]]


def test_random_moves_are_whole_within_bounds_and_seeded():
    images = torch.zeros(200, 1, 9, 9)
    images[:, :, 4, 4] = 1
    result = moved_at_random(images, 2, fill=0, seed=0)
    _, _, rows, columns = result.nonzero(as_tuple=True)
    assert len(rows) == 200
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4, 5, 6}
    assert result.equal(moved_at_random(images, 2, fill=0, seed=0))
    assert not result.equal(moved_at_random(images, 2, fill=0, seed=1))


def test_pooling_and_stride_give_networks_of_one_size():
    counts = {parameter_count(pooling_network(name, 10)) for name in (MAX, AVERAGE, STRIDE)}
    # (25 + 1)·8 + (8·25 + 1)·16 + (16·4·4 + 1)·10
    assert counts == {208 + 3216 + 2570}


def test_all_that_differ_in_their_bias_have_about_as_many_parameters():
    counts = {name: parameter_count(build()) for name, build in networks_of(10).items()}
    # (25 + 1)·8 + (8·9 + 1)·16 + (400 + 1)·64 + (64 + 1)·10
    assert counts[CNN] == 208 + 1168 + 25_664 + 650
    assert counts[UNSHARED] > 40_000  # what sharing saves
    for name in (FLAT, MLP):
        assert abs(counts[name] / counts[CNN] - 1) < 0.03

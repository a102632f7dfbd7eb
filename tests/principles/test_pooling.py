"""Claim 6: what each reduction does to small maps by hand, and that each part can be refuted."""

import pandas as pd
import pytest
import torch

from cnnpipe.functional import max_pool2d
from cnnpipe.params.principles import PoolingParams
from cnnpipe.principles import pooling
from tests.helpers.tiny_study import tiny_study

PARAMS = PoolingParams(
    map_images=16,
    train_images=64,
    test_images=32,
    seeds=2,
    steps=2,
    batch_size=16,
    lr=0.01,
    judged_shift=1,
    largest_shift=2,
)
STUDY = tiny_study(pooling=PARAMS)
MAPS = torch.rand(6, 2, 8, 8, generator=torch.Generator().manual_seed(0))
MOVED = MAPS.roll(1, dims=-1)


def accuracies(stride_moved):
    rows = [
        (name, 100, seed, shift, fraction + seed / 1000)
        for name in pooling.WINDOWS
        for seed in (0, 1)
        for shift, fraction in enumerate(
            [0.9, stride_moved if name == pooling.STRIDE else 0.8, 0.5]
        )
    ]
    return pd.DataFrame(rows, columns=["network", "parameters", "seed", "shift", "accuracy"])


def conclude(stride_moved=0.7, **changed):
    reductions = {
        **pooling.REDUCTIONS,
        **{name.replace("_", " "): f for name, f in changed.items()},
    }
    maps = pooling.measure_maps(MAPS, MOVED, reductions)
    example = pooling.example_of(MAPS, reductions)
    return pooling.conclude(maps, example, accuracies(stride_moved), STUDY)


def test_strongest_kept_worked_by_hand():
    before = torch.tensor([[[[4.0, 0], [0, 0]], [[2, 2], [2, 2]], [[0, 0], [0, 0]]]])
    average = before.mean(dim=(2, 3), keepdim=True)
    # 1/4 of the first map's 4, all of the second's 2; the third is zero everywhere.
    assert pooling.strongest_kept(before, average).tolist() == [(0.25 + 1) / 2]


def test_roughness_and_change_worked_by_hand():
    maps = torch.tensor([[[[0.0, 3], [4, 0]]]])
    # below: 4 and 3; beside: 3 and 4
    assert pooling.roughness(maps).tolist() == [3.5]
    moved = torch.tensor([[[[0.0, 0], [4, 4]]]])
    assert pooling.change(maps, moved).tolist() == [1]  # √(3² + 4²) / √(3² + 4²)


def test_the_example_is_the_most_active_map_and_all_its_pixels():
    table = pooling.example_of(MAPS, pooling.REDUCTIONS)
    assert table.groupby("reduction").size().to_dict() == {
        "before": 64,
        "max pooling": 16,
        "average pooling": 16,
        "strided convolution": 16,
    }
    most = MAPS[0, MAPS[0].mean(dim=(1, 2)).argmax()]
    before = table.loc[table["reduction"] == "before", "activation"]
    assert before.tolist() == pytest.approx(most.flatten().tolist(), abs=1e-6)


def test_all_four_parts_hold():
    finding = conclude()
    assert finding.verdict == "supported"
    assert finding.number == pytest.approx(10)
    assert "Pooling buys shift tolerance" in finding.statement


@pytest.mark.parametrize(
    ("changed", "part", "words"),
    [
        (
            {"max_pooling": pooling.REDUCTIONS["average pooling"]},
            "max keeps the strongest",
            "Max pooling does not keep",
        ),
        (
            {"average_pooling": pooling.REDUCTIONS["strided convolution"]},
            "average smooths",
            "Average pooling does not smooth",
        ),
        (
            {"max_pooling": lambda maps: max_pool2d(maps, 2, stride=1)},
            "reduces dimensions",
            "Maps go from 8×8 to 7×7",
        ),
        ({"stride_moved": 0.8}, "buys shift tolerance", "is not shown to buy"),
        ({"stride_moved": 0.9}, "buys shift tolerance", "is not shown to buy"),
    ],
)
def test_each_part_is_refuted_by_its_own_case(changed, part, words):
    finding = conclude(**changed)
    assert [name for name, holds in finding.details["parts"].items() if not holds] == [part]
    assert finding.verdict == "partly supported"
    assert words in finding.statement


def test_smaller_maps_alone_are_not_pooling():
    stride = pooling.REDUCTIONS["strided convolution"]
    finding = conclude(stride_moved=0.9, max_pooling=stride, average_pooling=stride)
    assert finding.details["parts"]["reduces dimensions"]
    assert finding.verdict == "not supported"

"""Claim 6: what each reduction does to small maps by hand, and that each part can be refuted."""

import pytest
import torch

from cnnpipe.functional import max_pool2d
from cnnpipe.principles import pooling
from cnnpipe.principles.networks import AVERAGE, BLUR, MAX, STRIDE
from tests.helpers.tiny_study import TINY, accuracies_on_moved

MAPS = torch.rand(6, 2, 8, 8, generator=torch.Generator().manual_seed(0))
AVERAGED, STRIDED = pooling.REDUCTIONS[AVERAGE], pooling.REDUCTIONS[STRIDE]


def judged(stride_moved=0.7, changed=None):
    """The finding when a strided network reaches so much on moved images, and the others 0.8."""
    reductions = {**pooling.REDUCTIONS, **(changed or {})}
    maps = pooling.measure_maps(MAPS, MAPS.roll(1, dims=-1), reductions)
    reached = {MAX: [0.9, 0.8], AVERAGE: [0.9, 0.8], BLUR: [0.9, 0.87], STRIDE: [0.9, stride_moved]}
    return pooling.judge(maps, pooling.example_of(MAPS), accuracies_on_moved(reached), TINY)


def test_strongest_kept_worked_by_hand():
    before = torch.tensor([[[[4.0, 0], [0, 0]], [[2, 2], [2, 2]], [[0, 0], [0, 0]]]])
    average = before.mean(dim=(2, 3), keepdim=True)
    # 1/4 of the first map's 4, all of the second's 2; the third is zero everywhere.
    assert pooling.strongest_kept(before, average).tolist() == [(0.25 + 1) / 2]


def test_blurred_max_pooling_worked_by_hand():
    maps = torch.zeros(1, 1, 4, 4)
    maps[0, 0, 1, 1] = 16.0
    # Along a side: 0 1 0 0, maxima of neighbours 0 1 1 0 0, their means ½ 1 ½ 0, in pairs ¾ ¼.
    assert pooling.REDUCTIONS[BLUR](maps)[0, 0].tolist() == [[9, 3], [3, 1]]


def test_roughness_and_change_worked_by_hand():
    maps = torch.tensor([[[[0.0, 3], [4, 0]]]])
    # below: 4 and 3; beside: 3 and 4
    assert pooling.roughness(maps).tolist() == [3.5]
    moved = torch.tensor([[[[0.0, 0], [4, 4]]]])
    assert pooling.change(maps, moved).tolist() == [1]  # √(3² + 4²) / √(3² + 4²)


def test_the_example_is_the_most_active_map_and_all_its_pixels():
    table = pooling.example_of(MAPS)
    sizes = table.groupby("reduction").size().to_dict()
    assert sizes == {"before": 64, MAX: 16, AVERAGE: 16, BLUR: 16, STRIDE: 16}
    most = MAPS[0, MAPS[0].mean(dim=(1, 2)).argmax()]
    before = table.loc[table["reduction"] == "before", "activation"]
    assert before.tolist() == pytest.approx(most.flatten().tolist(), abs=1e-6)


def test_all_four_parts_hold():
    finding = judged()
    assert finding.verdict == "shown"
    assert finding.number == pytest.approx(10)
    assert "Pooling buys shift tolerance" in finding.statement
    assert "Blurring saves more than a point of what is left: shown" in finding.statement


@pytest.mark.parametrize(
    ("changed", "part", "words"),
    [
        ({MAX: AVERAGED}, "max keeps the strongest", "Max pooling does not keep"),
        ({AVERAGE: STRIDED}, "average smooths", "Average pooling does not smooth"),
        (
            {MAX: lambda maps: max_pool2d(maps, 2, stride=1)},
            "reduces dimensions",
            "Maps go from 8×8 to 7×7",
        ),
    ],
)
def test_each_part_is_refuted_by_its_own_case(changed, part, words):
    finding = judged(changed=changed)
    assert [name for name, holds in finding.details["parts"].items() if not holds] == [part]
    assert finding.verdict == "shown not to hold"
    assert words in finding.statement


@pytest.mark.parametrize(
    ("stride_moved", "verdict"),
    [(0.8, "shown not to hold"), (0.9, "shown not to hold"), (0.79, "not decided")],
)
def test_pooling_must_save_more_than_a_point(stride_moved, verdict):
    finding = judged(stride_moved)
    assert all(finding.details["parts"].values())
    assert finding.verdict == verdict
    assert "is not shown to buy" in finding.statement

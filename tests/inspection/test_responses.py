"""Which layers answer for a filter, and which pixels it sees."""

from collections import OrderedDict

import torch
from torch import nn

from cnnpipe.inspection.responses import Window, cut, stages, windows
from cnnpipe.layers import AvgPool2d, Conv2d
from cnnpipe.models import build_model


def test_stages_end_before_the_next_layer_of_weights():
    found = [(stage.name, stage.response, stage.output) for stage in stages(build_model("lenet5"))]
    assert found == [
        ("c1", "c1_act", "s2"),
        ("c3", "c3_act", "s4"),
        ("c5", "c5_act", "flatten"),
        ("f6", "f6_act", "f6_act"),
    ]


def test_windows_are_where_a_response_looks():
    torch.manual_seed(0)
    model = nn.Sequential(
        OrderedDict(
            a=Conv2d(1, 2, 3, padding=1),
            pool=AvgPool2d(2),
            b=Conv2d(2, 1, 3, stride=2, padding=1),
        )
    )
    found = windows(model)
    assert found == {"a": Window(3, 1, -1), "b": Window(8, 4, -3)}
    for name, depth, place in [("a", 1, 5), ("b", 3, 2)]:
        image = torch.rand(1, 1, 28, 28).requires_grad_()
        output = model[:depth](image)[0, 0, place, place]
        (gradient,) = torch.autograd.grad(output, image)
        seen = gradient[0, 0].abs().sum(dim=1).nonzero().flatten()
        first = found[name].start + place * found[name].jump
        assert seen.tolist() == list(range(first, first + found[name].size))


def test_patches_are_cut_where_they_are_seen_and_black_beyond_the_edge():
    image = torch.arange(1, 17, dtype=torch.uint8).reshape(4, 4)
    assert cut(image, 1, 2, 2).tolist() == [[7, 8], [11, 12]]
    assert cut(image, -1, 3, 2).tolist() == [[0, 0], [4, 0]]
    assert torch.equal(cut(image, -2, -2, 8), image)

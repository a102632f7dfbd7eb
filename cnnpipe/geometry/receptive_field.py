"""What an output pixel of a chain of layers sees of the input.

Source: Araujo, Norris, Sim: Computing receptive fields of convolutional neural networks
(https://distill.pub/2019/computing-receptive-fields).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from cnnpipe.geometry.windows import window_extent


@dataclass(frozen=True)
class ReceptiveField:
    """What one output pixel of a layer sees of the network's input, along one axis.

    >>> ReceptiveField(size=6, jump=2)  # after LeNet-5's S2
    ReceptiveField(size=6, jump=2)
    """

    size: int
    """Input pixels that can change the output pixel."""
    jump: int
    """Input pixels between the fields of two neighbouring output pixels."""


def receptive_field(layers: Iterable[tuple[int, int, int]]) -> list[ReceptiveField]:
    """Receptive field after each layer of a chain, along one axis.

    size_l = size_{l−1} + dilation·(kernel_size − 1)·jump_{l−1},  jump_l = jump_{l−1}·stride,
    starting from size = jump = 1: an input pixel sees itself.

    Args:
        layers: (kernel_size, stride, dilation) of each layer, first to last.

    Source:
        Araujo, Norris, Sim 2019, equations 1 and 2.

    >>> c1, s2 = (5, 1, 1), (2, 2, 1)  # LeNet-5's first two layers
    >>> receptive_field([c1, s2])  # 1 + (5 − 1)·1 = 5, 5 + (2 − 1)·1 = 6
    [ReceptiveField(size=5, jump=1), ReceptiveField(size=6, jump=2)]
    """
    size, jump = 1, 1
    fields = []
    for kernel_size, stride, dilation in layers:
        size += (window_extent(kernel_size, dilation) - 1) * jump
        jump *= stride
        fields.append(ReceptiveField(size, jump))
    return fields

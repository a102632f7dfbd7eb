"""A network in the style of VGG, at the size of a digit."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from cnnpipe.params.models import ModelParams
from cnnpipe.params.section import Count, Fraction


def _integer(value: object) -> object:
    """Refuse what only equals an integer: True, 1.0."""
    if type(value) is not int:
        raise ValueError("expected an integer")
    return value


Block = Annotated[Sequence[Count], Field(min_length=1)]
OddSize = Annotated[Literal[1, 3, 5, 7], BeforeValidator(_integer)]


class VGG(ModelParams):
    """Blocks of convolutions, each with batch normalisation and ReLU, each block pooled 2×2.

    The paper's idea at the size of a digit: two stacked 3×3 convolutions see 5×5 pixels with 18
    weights instead of 25, and one more ReLU. Batch normalisation is later than the paper; its shift
    makes the convolutions' bias needless.

    Source: Simonyan, Zisserman, "Very deep convolutional networks for large-scale image
    recognition", ICLR 2015; Ioffe, Szegedy, "Batch normalization", ICML 2015.
    """

    title: ClassVar[str] = "VGG"

    blocks: Annotated[Sequence[Block], Field(min_length=1, max_length=4)] = (
        (16, 16),
        (32, 32),
        (64, 64),
    )
    """Output channels of each convolution, block by block. A 2×2 max pooling ends a block: four
    halve 28 pixels to one."""
    kernel_size: OddSize = 3
    """Pixels, the side of every kernel; half of it is padded, so that maps keep their size."""
    hidden: Count = 128
    """Neurons of the fully connected layer before the logits."""
    dropout: Fraction = 0.3
    """Probability with which one of these neurons is silenced in training."""

    def plan(self, layers: Any, classes: int) -> dict[str, Any]:
        plan = {}
        channels, side = 1, 28
        for b, block in enumerate(self.blocks, start=1):
            for c, out_channels in enumerate(block, start=1):
                plan[f"block{b}_conv{c}"] = layers.Conv2d(
                    channels,
                    out_channels,
                    self.kernel_size,
                    padding=self.kernel_size // 2,
                    bias=False,
                )
                plan[f"block{b}_norm{c}"] = layers.BatchNorm2d(out_channels)
                plan[f"block{b}_relu{c}"] = layers.ReLU()
                channels = out_channels
            side //= 2
            plan[f"block{b}_pool"] = layers.MaxPool2d(2)  # (N, channels, side, side)
        plan["flatten"] = layers.Flatten()
        plan["hidden"] = layers.Linear(channels * side * side, self.hidden)
        plan["hidden_relu"] = layers.ReLU()
        plan["dropout"] = layers.Dropout(self.dropout)
        plan["output"] = layers.Linear(self.hidden, classes)
        return plan

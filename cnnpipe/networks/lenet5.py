"""LeNet-5, a list of layers that reads like the paper's table."""

from typing import Any, ClassVar

from cnnpipe.params.models import Activation, ModelParams, Pooling


class LeNet5(ModelParams):
    """LeNet-5: 61,706 parameters; the layers carry the paper's names.

    The paper's C3 joins each map to some of S2's maps only, its S2 and S4 scale and shift, and its
    output measures distances to drawn digits. This is the form in use since: C3 joins all maps,
    pooling has no parameters, the output is linear. `activation="tanh", pooling="avg"` comes
    nearest to 1998.

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
    recognition", Proceedings of the IEEE 86(11), 1998, section II.B.
    """

    title: ClassVar[str] = "LeNet-5"

    activation: Activation = "relu"
    pooling: Pooling = "max"

    def plan(self, layers: Any, classes: int) -> dict[str, Any]:
        act = {"relu": layers.ReLU, "tanh": layers.Tanh, "sigmoid": layers.Sigmoid}[self.activation]
        pool = {"max": layers.MaxPool2d, "avg": layers.AvgPool2d}[self.pooling]
        return {
            # The paper's input is 32×32; here 28×28 pixels are padded.
            "c1": layers.Conv2d(1, 6, 5, padding=2),  # (N, 6, 28, 28)
            "c1_act": act(),
            "s2": pool(2),  # (N, 6, 14, 14)
            "c3": layers.Conv2d(6, 16, 5),  # (N, 16, 10, 10)
            "c3_act": act(),
            "s4": pool(2),  # (N, 16, 5, 5)
            "c5": layers.Conv2d(16, 120, 5),  # (N, 120, 1, 1)
            "c5_act": act(),
            "flatten": layers.Flatten(),  # (N, 120)
            "f6": layers.Linear(120, 84),
            "f6_act": act(),
            "output": layers.Linear(84, classes),
        }

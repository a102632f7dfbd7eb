"""A network that the project does not have, added to a copy of it as CONTRIBUTING.md says."""

from pathlib import Path

from torture.project import edited

NAME, TITLE = "one_convolution", "One convolution"
PLAN = """
from typing import Any, ClassVar

from cnnpipe.params.models import ModelParams
from cnnpipe.params.section import Count


class OneConvolution(ModelParams):
    title: ClassVar[str] = "One convolution"
    channels: Count = 8

    def plan(self, layers: Any, classes: int) -> dict[str, Any]:
        return {
            "conv": layers.Conv2d(1, self.channels, 5, padding=2),
            "act": layers.ReLU(),
            "pool": layers.AvgPool2d(4),
            "flatten": layers.Flatten(),
            "output": layers.Linear(self.channels * 7 * 7, classes),
        }
"""


def add_third_network(folder: Path) -> None:
    """Its file, its line in the list of networks, and its section of params.yaml."""
    networks = folder / "cnnpipe" / "networks"
    (networks / f"{NAME}.py").write_text(PLAN, encoding="utf-8")
    listed = (networks / "__init__.py").read_text(encoding="utf-8")
    listed = listed.replace('"vgg": VGG}', f'"vgg": VGG, "{NAME}": OneConvolution}}')
    listed = listed.replace(
        "from cnnpipe.networks.vgg",
        f"from cnnpipe.networks.{NAME} import OneConvolution\nfrom cnnpipe.networks.vgg",
    )
    (networks / "__init__.py").write_text(listed, encoding="utf-8")
    with edited(folder / "params.yaml") as params:
        params["models"][NAME] = {"channels": 8, "lr": 0.02}

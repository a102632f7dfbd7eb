"""The networks that can be trained. Each is a class in a file of its own: its title, its settings
with their types, limits and defaults, and the plan of its layers.

    lenet5.py   LeNet-5
    vgg.py      blocks of small convolutions, after VGG

To add a network, write such a file, add it to NETWORKS under the file's name, and give its section
under `models` in params.yaml. The pipeline trains what has a section there: the stages in dvc.yaml,
the schema of params.yaml, the figures and the page follow.

Nothing in here imports torch, so that params.yaml is checked without waiting for it.
"""

from typing import TYPE_CHECKING, NotRequired

from pydantic import ConfigDict
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from cnnpipe.networks.lenet5 import LeNet5
from cnnpipe.networks.vgg import VGG
from cnnpipe.params.models import ModelParams
from cnnpipe.system.errors import InputError

NETWORKS: dict[str, type[ModelParams]] = {"lenet5": LeNet5, "vgg": VGG}
MODEL_NAMES = tuple(NETWORKS)
NEEDED = "lenet5"
"""The experiments on the theory's claims and on hand-crafted features are about this one."""

if TYPE_CHECKING:
    ModelsParams = dict[str, ModelParams]
else:
    ModelsParams = TypedDict(
        "ModelsParams",
        {
            name: network if name == NEEDED else NotRequired[network]
            for name, network in NETWORKS.items()
        },
    )
    ModelsParams.__doc__ = "The networks that are trained, by name."
    ModelsParams.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)


def section_of(name: str, models: ModelsParams) -> ModelParams:
    """The section of one network.

    Raises:
        InputError: params.yaml has none, so this network is not trained.
    """
    if name not in models:
        raise InputError(f"models.{name}: missing in params.yaml, which has {', '.join(models)}")
    return models[name]

"""The schema of the whole of params.yaml: every section; its JSON schema for editors."""

from functools import cache
from typing import Any

from cnnpipe.networks import NETWORKS, ModelsParams
from cnnpipe.networks.vgg import VGG
from cnnpipe.params.benchmark import BenchmarkParams
from cnnpipe.params.data import DataParams
from cnnpipe.params.evaluate import EvaluateParams
from cnnpipe.params.explain import ExplainParams
from cnnpipe.params.handcrafted import HandcraftedParams
from cnnpipe.params.principles import PrinciplesParams
from cnnpipe.params.race import RaceParams
from cnnpipe.params.runtime import RuntimeParams
from cnnpipe.params.section import Section, Seed
from cnnpipe.params.train import AugmentParams, TrainParams
from cnnpipe.params.verify import VerifyParams
from cnnpipe.params.visualize import VisualizeParams


class Params(Section):
    """params.yaml."""

    seed: Seed
    data: DataParams
    verify: VerifyParams
    train: TrainParams
    models: ModelsParams
    evaluate: EvaluateParams
    visualize: VisualizeParams
    explain: ExplainParams
    principles: PrinciplesParams
    handcrafted: HandcraftedParams
    benchmark: BenchmarkParams
    race: RaceParams[VGG]
    runtime: RuntimeParams


@cache
def json_schema() -> dict[str, Any]:
    """The JSON schema of params.yaml as it stands in the file.

    There a model's section need not repeat the keys of `train`, nor those of its mappings.
    """
    schema = Params.model_json_schema()
    definitions = schema["$defs"]
    for name, section in definitions.items():
        if name != "ModelsParams":
            section["required"] = list(section["properties"])  # also what has a default in Python
    shared = definitions[TrainParams.__name__]["properties"]
    for network in NETWORKS.values():
        section = definitions[network.__name__]
        section["required"] = [key for key in section["required"] if key not in shared]
        section["properties"]["augment"] = {"$ref": "#/$defs/AugmentOverrides"}
    overrides = {k: v for k, v in definitions[AugmentParams.__name__].items() if k != "required"}
    definitions["AugmentOverrides"] = overrides
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}

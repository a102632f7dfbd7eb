"""The schema of params.yaml: every parameter of the pipeline, its type, its unit, what is allowed.

`load_params` is the only way in. It refuses unknown keys, wrong types, values out of range, NaN and
duplicate keys with one line that names the key, the value and what is allowed.

A model's section overrides the shared `train` section key by key, so `params.models.vgg` holds the
settings of VGG's training run complete, whichever section they came from. So do the race's recipes.

`json_schema` says the same to editors: params.yaml names the file that it is written to.
"""

from __future__ import annotations

import difflib
import reprlib
import textwrap
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from cnnpipe.errors import InputError

DatasetName = Literal["mnist", "fashion_mnist", "kmnist", "digits"]
ModelName = Literal["lenet5", "vgg"]
Backend = Literal["scratch", "torch"]
Algorithm = Literal[
    "auto", "direct", "im2col", "toeplitz", "taps", "winograd", "fft", "implicit_gemm"
]
Activation = Literal["relu", "tanh", "sigmoid"]
Pooling = Literal["max", "avg"]

MODEL_NAMES: tuple[ModelName, ...] = get_args(ModelName)

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1, le=2**16)]


class Section(BaseModel):
    """A mapping of params.yaml: no unknown keys, no silent conversion, no NaN, immutable."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class DataParams(Section):
    name: DatasetName
    validation: Annotated[float, Field(gt=0, lt=1)]
    """Fraction of the training images held out to watch training with."""
    mirrors: list[Annotated[str, Field(pattern=r"^https?://\S+$")]]
    """Where MNIST's files are fetched from, first to last."""
    timeout: Annotated[float, Field(gt=0, le=600)]
    """Seconds without an answer after which a mirror counts as dead."""


class Tolerance(Section):
    """Largest accepted error by dtype, in rounding bounds as derived in `cnnpipe.reference`."""

    float64: Positive
    float32: Positive
    float16: Positive
    bfloat16: Positive


class VerifyParams(Section):
    tolerance: Tolerance
    normwise: dict[Algorithm, Positive]
    """By how much an algorithm that mixes neighbouring outputs (Winograd, FFT) may exceed the
    tolerance, when each element is held against the largest bound among all."""


class AugmentParams(Section):
    """Half-widths of the uniform distributions that the random affine maps are drawn from."""

    degrees: Annotated[float, Field(ge=0, le=180)]
    """Rotation, degrees."""
    translate: Fraction
    """Shift, fraction of the image's side."""
    scale: Fraction
    """Relative change of size."""
    shear: Annotated[float, Field(ge=0, lt=90)]
    """Shear, degrees."""


class TrainParams(Section):
    backend: Backend
    """Whose layers: this project's own, or torch's."""
    algorithm: Algorithm
    """How the convolutions of the scratch backend are computed."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?|mps|xpu)$")]
    precision: Literal["auto", "float32", "bfloat16"]
    """Arithmetic of forward and backward; `auto` is bfloat16 on CUDA GPUs that have it."""
    epochs: Count
    batch_size: Annotated[int, Field(ge=2, le=2**16)]
    lr: Annotated[float, Field(gt=0, le=1)]
    """Learning rate at the peak of the one-cycle schedule."""
    warmup: Annotated[float, Field(gt=0, lt=1)]
    """Fraction of all steps in which the learning rate rises to its peak."""
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    label_smoothing: Fraction
    ema_decay: Fraction
    """Of the exponential moving average of the weights, per step; 0 turns it off."""
    processes: Annotated[int, Field(ge=1, le=1024)]
    """Processes of this machine that share each batch: one per GPU, or several of the CPU."""
    checkpoint: Annotated[float, Field(ge=0, le=86_400)]
    """Seconds between two checkpoints; one more is taken at the end of each epoch."""
    augment: AugmentParams


class ModelParams(TrainParams):
    """A model's own section: what it is built of, and its settings of the training run."""

    def architecture(self) -> dict[str, Any]:
        """What the network is built with: the keys that are no settings of the training run."""
        return self.model_dump(exclude=set(TrainParams.model_fields))


class LeNet5Params(ModelParams):
    activation: Activation
    pooling: Pooling


class VGGParams(ModelParams):
    blocks: Annotated[
        list[Annotated[list[Count], Field(min_length=1)]], Field(min_length=1, max_length=4)
    ]
    """Output channels of each 3×3 convolution, block by block; a 2×2 max pooling ends a block."""
    hidden: Count
    """Neurons of the fully connected layer before the logits."""
    dropout: Fraction


class ModelsParams(Section):
    lenet5: LeNet5Params
    vgg: VGGParams

    def of(self, name: ModelName) -> ModelParams:
        return self.lenet5 if name == "lenet5" else self.vgg


class EvaluateParams(Section):
    """How a trained network is judged."""

    shift: Annotated[int, Field(ge=0, le=3)]
    """Pixels; answers are averaged over the (2·shift + 1)² copies of an image moved by up to so
    many, up or down and left or right. 0 is the image alone."""


class VisualizeParams(Section):
    samples: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=10)]
    """Indices into the test set of the digits that are followed through every layer."""
    mistakes: Annotated[int, Field(ge=1, le=100)]
    """How many of the worst mistakes are shown."""
    worst: Annotated[int, Field(ge=0, le=10)]
    """How many of the worst mistakes are followed through every layer like the chosen digits."""


class AttributionParams(Section):
    """Which pixels an answer rests on, and whether the same would be said of random weights."""

    images: Annotated[int, Field(ge=10, le=10_000)]
    """Test images, spread evenly, whose maps are compared with those of random weights."""
    networks: Annotated[int, Field(ge=1, le=20)]
    """Networks of random weights that they are compared with."""
    window: Annotated[int, Field(ge=2, le=14)]
    """Side of the square that occlusion blackens, pixels; it moves by half of that."""


class ExplainParams(Section):
    """What the filters do and what the answers rest on."""

    removal_images: Annotated[int, Field(ge=20, le=10_000)]
    """Test images, spread evenly, on which each filter is removed."""
    patches: Annotated[int, Field(ge=1, le=8)]
    """Test patches shown of each filter, those that excite it most."""
    attribution: AttributionParams


class HierarchyParams(Section):
    images: Annotated[int, Field(ge=50, le=10_000)]
    """Training images that each linear probe learns from."""
    test_images: Annotated[int, Field(ge=20, le=10_000)]
    """Test images that probes are judged on, and among which filters find what excites them."""
    steps: Count
    """Optimiser steps of the linear classifier of the pixels, the control."""
    filters: Annotated[int, Field(ge=1, le=8)]
    """Filters of each depth whose most exciting patches are drawn."""
    patches: Annotated[int, Field(ge=2, le=8)]
    """Most exciting patches of each of them."""


class ActivationParams(Section):
    depths: Annotated[list[Annotated[int, Field(ge=2, le=64)]], Field(min_length=1)]
    """Convolutions in a stack whose gradients are measured at the start; the deepest is judged."""
    trained_depths: Annotated[list[Annotated[int, Field(ge=2, le=64)]], Field(min_length=1)]
    """Convolutions in a stack that is trained."""
    channels: Count
    """Of every convolution."""
    seeds: Annotated[int, Field(ge=2, le=100)]
    steps: Count
    """Optimiser steps of each training run."""
    batch_size: Annotated[int, Field(ge=2, le=2**16)]
    lr: Annotated[float, Field(gt=0, le=1)]
    """Peak of the one-cycle schedule, the same for all."""
    test_images: Annotated[int, Field(ge=20, le=10_000)]


class SparsityParams(Section):
    test_images: Annotated[int, Field(ge=20, le=10_000)]
    """First images of the test set on which zeros are counted."""


class FiltersParams(Section):
    draws: Annotated[int, Field(ge=100, le=100_000)]
    """Random filters of each size that the learned ones are held against."""


class EquivalenceParams(Section):
    """Cross-correlation against true convolution."""

    steps: Count
    """Optimiser steps that the networks train for."""
    batch_size: Count
    """Images per step."""
    test_images: Count


class OutputSizeParams(Section):
    """The grid of the output-size formula: every combination from the least value to these."""

    size: Annotated[int, Field(ge=1, le=64)]
    """Largest input side, pixels; from 1."""
    kernel_size: Annotated[int, Field(ge=1, le=16)]
    """Largest kernel side; from 1."""
    stride: Annotated[int, Field(ge=1, le=16)]
    """Largest stride; from 1."""
    padding: Annotated[int, Field(ge=0, le=16)]
    """Largest padding on each side; from 0."""
    dilation: Annotated[int, Field(ge=1, le=16)]
    """Largest dilation; from 1."""


class LocalityParams(Section):
    """Receptive fields, by gradients."""

    images: Annotated[int, Field(ge=2, le=2**16)]
    """Test images whose gradients are averaged."""


class SharingParams(Section):
    """A small network with shared weights, and its twin without sharing."""

    train_sizes: Annotated[list[Count], Field(min_length=1, max_length=8)]
    """Training images, smallest first."""
    test_images: Count
    seeds: Annotated[int, Field(ge=2, le=100)]
    steps: Count
    """Optimiser steps of each network."""
    batch_size: Count
    """Images per step."""
    lr: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1, max_length=5)]
    """Peaks of the schedule; each network takes the one that serves it best on held-out images."""


class TranslationParams(Section):
    """Small networks, judged on moved images."""

    train_images: Count
    """Training images, the same for every network."""
    test_images: Count
    seeds: Annotated[int, Field(ge=2, le=100)]
    steps: Count
    """Optimiser steps of each network."""
    batch_size: Count
    """Images per step."""
    lr: Annotated[float, Field(gt=0, le=1)]
    """Peak of the one-cycle schedule."""
    judged_shift: Annotated[int, Field(ge=1, le=14)]
    """Pixels at which the verdict is made, and up to which training images are moved."""
    largest_shift: Annotated[int, Field(ge=1, le=14)]
    """Pixels, up to which accuracy is measured; at least the judged shift."""


class PoolingParams(Section):
    """Small networks that differ in how they make their maps smaller."""

    map_images: Count
    """Test images whose feature maps are measured."""
    train_images: Count
    """Training images, the same for every network."""
    test_images: Count
    seeds: Annotated[int, Field(ge=2, le=100)]
    steps: Count
    """Optimiser steps of each network."""
    batch_size: Count
    """Images per step."""
    lr: Annotated[float, Field(gt=0, le=1)]
    """Peak of the one-cycle schedule."""
    judged_shift: Annotated[int, Field(ge=1, le=14)]
    """Pixels at which the tolerance of shifts is judged."""
    largest_shift: Annotated[int, Field(ge=1, le=14)]
    """Pixels, up to which accuracy is measured; at least the judged shift."""


class InductiveBiasParams(Section):
    """A convolutional network against an MLP, on images and on scrambled ones."""

    sizes: Annotated[list[Annotated[int, Field(ge=2, le=10**6)]], Field(min_length=2)]
    """Training images, smallest first."""
    test_images: Count
    seeds: Annotated[int, Field(ge=2, le=100)]
    """Each with its own training images, initial weights and order of the pixels."""
    steps: Count
    """Optimiser steps of each network, whatever the number of images."""
    batch_size: Count
    """Images per step."""
    lr: Annotated[float, Field(gt=0, le=1)]
    """Peak of the one-cycle schedule."""


class PrinciplesParams(Section):
    """Budgets of the experiments on the theory's claims, one section per claim."""

    equivalence: EquivalenceParams
    output_size: OutputSizeParams
    locality: LocalityParams
    sharing: SharingParams
    translation: TranslationParams
    pooling: PoolingParams
    hierarchy: HierarchyParams
    activation: ActivationParams
    sparsity: SparsityParams
    inductive_bias: InductiveBiasParams
    filters: FiltersParams


class BenchmarkParams(Section):
    """Own layers against torch's, in time and memory."""

    batch_size: Count
    """Images, for single layers and operators and for the memory."""
    batch_sizes: Annotated[list[Count], Field(min_length=1)]
    """Images, for whole models."""
    seconds: Positive
    """For each comparison; it takes longer where five rounds do."""


class RecipeParams(Section):
    """A network and a schedule that reach an accuracy in little time."""

    target: Annotated[float, Field(gt=0, lt=1)]
    """Test accuracy to reach, a fraction. The recipe was chosen on validation images."""
    vgg: VGGParams
    """The network, and what it overrides of `train`."""


MAXIMUM_RECIPES = 10


class RaceParams(Section):
    """Seconds from the first batch to a test accuracy (`make race`)."""

    seeds: Annotated[int, Field(ge=2, le=100)]
    """Runs of each contestant."""
    recipes: Annotated[list[RecipeParams], Field(min_length=1, max_length=MAXIMUM_RECIPES)]


class HandcraftedParams(Section):
    """Sizes of the race between hand-crafted features and networks."""

    training: Annotated[int, Field(ge=100, le=60_000)]
    """Training images of every method but the pipeline's models; fewer where there are fewer."""
    copies: Annotated[int, Field(ge=1, le=100)]
    """Randomly mapped copies of each training image, beside itself, for the classifiers trained
    with augmentation; the maps are those of the networks' training."""
    test: Annotated[int, Field(ge=10, le=10_000)]
    """Test images, each judged clean and in every corruption at every severity."""
    words: Annotated[int, Field(ge=2, le=4096)]
    """Size of the vocabulary of SIFT's visual words."""
    epochs: Count
    """Of the LeNet-5 that is trained on the same images."""
    batch_size: Annotated[int, Field(ge=2, le=100)]
    """Of its training: small, since there are few images."""
    transfer: list[Literal["digits", "fashion_mnist", "kmnist"]]
    """Other data sets to judge on: digits comes with scikit-learn, the others count where their
    files lie in data/<name>."""


class Params(Section):
    seed: Annotated[int, Field(ge=0, lt=2**63)]
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
    race: RaceParams


MAXIMUM_SIZE = 2**15
"""Bytes of params.yaml; a file beyond that is something else, and would take long to parse."""
MAXIMUM_KEYS = 1000
"""Of one mapping, with all that it merges; a few merges of merges could make billions of keys."""


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and check params.yaml.

    Raises:
        InputError: one line naming the file, the key, the value and what is allowed.
    """
    path = Path(path)
    tree = _read_yaml(path)
    try:
        return Params.model_validate(_with_train_defaults(tree))
    except ValidationError as error:
        raise InputError(f"{path}: {_worst_problem(error)}") from None


def _read_yaml(path: Path) -> dict[Any, Any]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run from the project's root") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a file of YAML") from None
    if len(content) > MAXIMUM_SIZE:
        raise InputError(f"{path}: {len(content)} bytes; expected at most {MAXIMUM_SIZE}")
    try:
        tree = _yaml().load(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from None
    except DuplicateKeyError as error:
        raise InputError(f"{path}: {_at(error)}: {_line(error.problem)}; allowed: once") from None
    except MarkedYAMLError as error:
        raise InputError(f"{path}: not YAML: {_at(error)}: {_line(error.problem)}") from None
    except (YAMLError, ValueError, RecursionError, AssertionError) as error:
        # The last three: an escape beyond Unicode, nesting without end, a version that is none.
        raise InputError(f"{path}: not YAML: {_line(error)}") from None
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else _given(tree)
        raise InputError(f"{path}: holds {found}; expected {_expected(schema_at(()))}")
    return tree


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)  # whether or not the parser in C is installed
    yaml.Constructor = _Constructor
    yaml.composer.warn_double_anchors = False  # YAML allows them, and one line is all we print
    return yaml


class _Constructor(SafeConstructor):
    """Makes values of a YAML file; names the line of one that cannot be made."""

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, str):
                value.encode()  # an escape can name half a character, which nothing can print
        except (ValueError, TypeError, LookupError) as error:
            given = _given(node.value) if isinstance(node, ScalarNode) else "what stands there"
            kind = str(node.tag).rpartition(":")[2]
            raise ConstructorError(
                problem=f"{given} is no !!{kind} ({error})", problem_mark=node.start_mark
            ) from None
        return value

    def flatten_mapping(self, node: MappingNode) -> None:
        """Put in what the mapping merges, `<<`."""
        self._check_size(node)
        super().flatten_mapping(node)
        self._check_size(node)

    def _check_size(self, node: MappingNode) -> None:
        if (keys := len(node.value)) > MAXIMUM_KEYS:
            raise ConstructorError(
                problem=f"a mapping of {keys} keys; expected at most {MAXIMUM_KEYS}",
                problem_mark=node.start_mark,
            )


def _at(error: MarkedYAMLError) -> str:
    return f"line {error.problem_mark.line + 1}" if error.problem_mark else "somewhere"


def _line(problem: object) -> str:
    """A text of any length and shape as one short line."""
    return textwrap.shorten(str(problem), 200, placeholder=" …")


def _with_train_defaults(tree: dict[Any, Any]) -> dict[Any, Any]:
    """Fill each model's section, and each recipe's, with the keys of `train` it does not override.

    What is no mapping, or no list, or too many stays as it is for the schema to refuse.
    """
    train, models, race = tree.get("train"), tree.get("models"), tree.get("race")
    if not isinstance(train, dict):
        return tree
    tree = dict(tree)
    if isinstance(models, dict):
        tree["models"] = _complete(train, models, MODEL_NAMES)
    if isinstance(race, dict) and isinstance(recipes := race.get("recipes"), list):
        complete = [
            _complete(train, recipe, ["vgg"]) if isinstance(recipe, dict) else recipe
            for recipe in recipes[:MAXIMUM_RECIPES]
        ]
        tree["race"] = {**race, "recipes": complete + recipes[MAXIMUM_RECIPES:]}
    return tree


def _complete(
    train: dict[Any, Any], sections: dict[Any, Any], names: Iterable[Any]
) -> dict[Any, Any]:
    """`sections`, those of them that are named completed by the keys of `train`."""
    complete = {
        name: _override(train, sections[name])
        for name in names
        if isinstance(sections.get(name), dict)
    }
    return {**sections, **complete}


def _override(shared: dict[Any, Any], own: dict[Any, Any]) -> dict[Any, Any]:
    """`own`, completed by the keys that only `shared` has, in both and in the mappings in them."""
    merged = {**shared, **own}
    for key, value in own.items():
        if isinstance(value, dict) and isinstance(shared.get(key), dict):
            merged[key] = {**shared[key], **value}
    return merged


KINDS = {"integer": "an integer", "number": "a number", "string": "text", "array": "a list"}
"""JSON schema's types, and how they are said."""

LIMITS = {
    "exclusiveMinimum": ">",
    "minimum": "≥",
    "exclusiveMaximum": "<",
    "maximum": "≤",
    "minItems": "of length ≥",
    "maxItems": "of length ≤",
    "pattern": "matching",
}
"""JSON schema's names for what bounds a value, and how they are said."""

SHORT = reprlib.Repr()
SHORT.maxstring = 80
"""Shows a value of any size: an alias in YAML can make a short file an endless value."""


def _worst_problem(error: ValidationError) -> str:
    """The problem to mend first, as one line."""
    # A misspelt key is also a missing one: name what stands there, not what does not.
    problem = min(error.errors(), key=lambda problem: not _is_unknown_key(problem))
    location = [part for part in problem["loc"] if part != "[key]"]
    key = ".".join(_shown(part) for part in location)
    if _is_unknown_key(problem):
        allowed = _keys(schema_at(location[:-1]))
        close = difflib.get_close_matches(str(location[-1]), allowed, n=1, cutoff=0.7)
        meant = f"did you mean {close[0]}? " if close else ""
        return f"{key}: unknown key; {meant}allowed here: {', '.join(allowed)}"
    expected = _expected(schema_at(location))
    if problem["type"] == "missing":
        return f"{key}: missing; expected {expected}"
    return f"{key}: got {_given(problem['input'])}; expected {expected}"


def _is_unknown_key(problem: ErrorDetails) -> bool:
    return problem["type"] in ("extra_forbidden", "invalid_key") or problem["loc"][-1] == "[key]"


def _given(value: object) -> str:
    """A value of any kind and size, as a short text."""
    try:
        return SHORT.repr(value)
    except ValueError:  # Python prints no integer of more than 4,300 digits
        return "a number of too many digits"


def _shown(part: object) -> str:
    """A part of a key as it may be printed: keys of any kind can stand in a YAML file."""
    text = str(part)
    return text if text.isprintable() and len(text) <= 80 else _given(text)


def schema_at(place: Sequence[int | str]) -> dict[str, Any]:
    """The JSON schema of what stands at a place such as ('models', 'vgg', 'blocks', 0)."""
    schema = json_schema()
    node = schema
    for part in place:
        if "properties" in node:
            node = node["properties"][part]
        else:
            node = node["items" if isinstance(part, int) else "additionalProperties"]
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def _keys(node: dict[str, Any]) -> list[str]:
    """The keys that the JSON schema of a mapping allows."""
    return list(node["properties"] if "properties" in node else node["propertyNames"]["enum"])


def _expected(node: dict[str, Any]) -> str:
    """What a JSON schema allows, in words."""
    if "enum" in node:
        return f"one of {', '.join(map(str, node['enum']))}"
    if node["type"] == "object":
        return f"a mapping of {', '.join(_keys(node))}"
    words = KINDS[node["type"]]
    limits = [f"{sign} {node[limit]}" for limit, sign in LIMITS.items() if limit in node]
    return " ".join([words, " and ".join(limits)]) if limits else words


@cache
def json_schema() -> dict[str, Any]:
    """The JSON schema of params.yaml as it stands in the file.

    There a model's section need not repeat the keys of `train`, nor those of its mappings.
    """
    schema = Params.model_json_schema()
    definitions = schema["$defs"]
    shared = definitions[TrainParams.__name__]["properties"]
    for model in (LeNet5Params, VGGParams):
        section = definitions[model.__name__]
        section["required"] = [key for key in section["required"] if key not in shared]
        section["properties"]["augment"] = {"$ref": "#/$defs/AugmentOverrides"}
    overrides = {k: v for k, v in definitions[AugmentParams.__name__].items() if k != "required"}
    definitions["AugmentOverrides"] = overrides
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}

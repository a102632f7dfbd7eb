"""What the page's scripts compute with: each network's layers and weights, and a few test images.

It goes into the page as one JSON block. Weights are float32, or float16 where float32 is too large;
the page measures, in the reader's browser, how far its own forward pass is from PyTorch's. Which
layers a network has is read from its evaluation.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from cnnpipe.data.raw import RawDataset, read_raw
from cnnpipe.data.sources import BOXED
from cnnpipe.findings.mistakes import worst_mistakes
from cnnpipe.report.exploration import (
    base64_of,
    read_embedding,
    read_snapshots,
    robustness_of,
    thumbnails,
)
from cnnpipe.report.inputs import ModelSources, Sources
from cnnpipe.system.artifacts import load_weights
from cnnpipe.system.errors import InputError

Array = NDArray[Any]

LARGEST = 1_000_000
"""Characters of base64 that one network's weights may take of a page of 5 MB."""
WORST = 8
"""Number of mistakes, the most confident ones, that are offered as presets of each network."""
KINDS = {
    "Conv2d": ("conv2d", "padding"),
    "MaxPool2d": ("max_pool2d", "kernel_size"),
    "AvgPool2d": ("avg_pool2d", "kernel_size"),
    "BatchNorm2d": ("batch_norm2d", "epsilon"),
    "Linear": ("linear",),
    "ReLU": ("relu",),
    "Tanh": ("tanh",),
    "Sigmoid": ("sigmoid",),
}
"""The layers that the page can compute: their names there, and the arguments that they need."""
PRECISIONS = {"float32": "<f4", "float16": "<f2"}
"""How weights may be embedded, the most precise first."""
LEFT_OUT = ("Flatten", "Dropout")
"""Layers that pass on the numbers that they are given."""

SCRIPTS = (
    "markup",
    "colours",
    "network",
    "backward",
    "convolution",
    "ink",
    "state",
    "digit",
    "picture",
    "plane",
    "arithmetic",
    "sweep",
    "pad",
    "feature-maps",
    "journey",
    "by-hand",
    "neuron",
    "silence",
    "zoom",
    "sandbox",
    "fields",
    "draw",
    "curve",
    "distort",
    "doubt",
    "break",
    "snapshots",
    "test-map",
    "page",
)
"""The page's scripts; each may use those before it."""


@dataclass(frozen=True)
class WorkedExample:
    """One output pixel of a first convolution, for readers without JavaScript."""

    title: str
    layer: str
    index: int
    """Of the test image."""
    row: int
    column: int
    patch: Array
    kernel: Array
    bias: float

    @property
    def products(self) -> Array:
        return self.patch * self.kernel

    @property
    def value(self) -> float:
        """Of map 0 at this pixel."""
        return float(self.products.sum()) + self.bias


@dataclass(frozen=True)
class Embedded:
    """The data that is embedded in the page, and what is missing from it."""

    models: Sequence[Mapping[str, Any]] = ()
    digits: Mapping[str, Any] = field(default_factory=dict)
    thumbnails: Mapping[str, Any] = field(default_factory=dict)
    """Of the test images on the maps."""
    robustness: Mapping[str, Any] = field(default_factory=dict)
    """Accuracy of each network by corruption and severity."""
    missing: Sequence[tuple[str, str]] = (("data/models", "dvc repro train"),)
    """Files that are not there, and what makes them."""
    too_large: Sequence[tuple[str, int]] = ()
    """Titles and parameters of the networks that a page has no room for."""

    @property
    def ready(self) -> bool:
        """Whether there is anything to compute with."""
        return bool(self.models) and bool(self.digits)

    @property
    def example(self) -> WorkedExample:
        """The middle of the first map of the first network, for the first image."""
        return _worked_example(self.models[0], self.digits["images"][0], self.digits["side"])

    @property
    def block(self) -> Markup:
        """The JSON, fit to stand inside a script element."""
        names = ("models", "digits", "thumbnails", "robustness")
        return json_for_script({name: getattr(self, name) for name in names})

    @property
    def script(self) -> Markup:
        """All scripts as one, which leaves one name behind: `cnnpipe`."""
        folder = Path(__file__).parent / "scripts"
        sources = [(folder / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
        return Markup('(() => {\n"use strict";\n' + "\n".join(sources) + "})();\n")


def json_for_script(value: Any) -> Markup:
    """JSON in which no text can end the script element that it stands in, or begin a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def read_embedded(data: Path, sources: Sources) -> Embedded:
    """Read what there is of the weights and the data set.

    Args:
        data: the folder with the data set in raw/, and <name>.safetensors of each network in
            models/, snapshots/ and embeddings/.
        sources: what else is known of the networks: their titles and predictions.

    Raises:
        InputError: a file is there and damaged, or holds a network this page does not know.
    """
    raw = data / "raw"
    models, missing, too_large = [], [], []
    for model in sources.models:
        file = f"{model.name}.safetensors"
        path = data / "models" / file
        if not path.exists():
            missing.append((str(path), f"dvc repro train@{model.name}"))
            continue
        if model.evaluation is None:
            missing.append(
                (f"reports/evaluation/{model.name}.json", f"dvc repro evaluate@{model.name}")
            )
            continue
        description = read_model(path, model.title, model.evaluation)
        if description["weights"]:
            description["snapshots"] = read_snapshots(data / "snapshots" / file)
            description["embedding"] = read_embedding(data / "embeddings" / file, model.predictions)
            models.append(description)
        else:
            too_large.append((model.title, description["parameters"]))
    if not (raw / "dataset.json").exists():
        missing.append((str(raw), "dvc repro download"))
        return Embedded(models, missing=missing, too_large=too_large)
    samples = sources.params.get("visualize", {}).get("samples", [])
    dataset = read_raw(raw)
    return Embedded(
        models,
        _digits(dataset, sources.models, samples),
        thumbnails(dataset.test_images, dataset.test_labels, models),
        robustness_of(sources.robustness, [model["name"] for model in models]),
        missing,
        too_large,
    )


def read_model(path: Path, title: str, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """A network as its layers, in the order in which they run, and its weights as base64.

    A layer names its tensors by their shape and their offset into the weights, in numbers.

    Args:
        path: of the weights.
        title: the network's name for people.
        evaluation: as reports/evaluation has it; lists the layers.

    Raises:
        InputError: the file is damaged, or no network of this version.
    """
    state, metadata = load_weights(path)
    try:
        description = json.loads(metadata["cnnpipe"])
        layers = [_layer(row) for row in evaluation["layers"] if row["kind"] not in LEFT_OUT]
        values = _attach(layers, {name: tensor.numpy() for name, tensor in state.items()})
        mean, std = (float(description["normalization"][key]) for key in ("mean", "std"))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a model of this version: {error!r}") from error
    precision, encoded = _encode(values)
    return {
        "name": description["name"],
        "title": title,
        "normalization": {"mean": mean, "std": std},
        "layers": layers,
        "parameters": evaluation["parameters"],
        "precision": precision,
        "weights": encoded,
    }


def _layer(row: Mapping[str, Any]) -> dict[str, Any]:
    """A layer of the evaluation as the page's scripts know it."""
    kind, *arguments = KINDS[row["kind"]]
    return {"name": row["name"], "kind": kind} | {name: row[name] for name in arguments}


def _attach(
    layers: Sequence[dict[str, Any]], tensors: Mapping[str, NDArray[Any]]
) -> NDArray[np.float32]:
    """Give each layer the places of its tensors in one row of numbers, and return the row."""
    parts: list[NDArray[np.float32]] = []
    offset = 0
    for layer in layers:
        for key in ("weight", "bias", "running_mean", "running_var"):
            tensor = tensors.get(f"{layer['name']}.{key}")
            if tensor is not None:
                layer[key] = {"shape": list(tensor.shape), "offset": offset}
                parts.append(tensor.astype(np.float32).ravel())
                offset += tensor.size
        if layer["kind"] in ("conv2d", "linear", "batch_norm2d") and "weight" not in layer:
            raise KeyError(f"{layer['name']}.weight")
    return np.concatenate(parts)


def _encode(values: NDArray[np.float32]) -> tuple[str, str]:
    """The most precise form that fits, little-endian in base64; none if not even float16 does."""
    for precision, dtype in PRECISIONS.items():
        encoded = base64_of(values, dtype)
        if len(encoded) <= LARGEST:
            return precision, encoded
    return "", ""


def _worked_example(model: Mapping[str, Any], image: Mapping[str, Any], side: int) -> WorkedExample:
    layer = model["layers"][0]
    weights = np.frombuffer(base64.b64decode(model["weights"]), PRECISIONS[model["precision"]])
    values = weights.astype(np.float64)
    _, _, height, width = layer["weight"]["shape"]
    kernel = values[layer["weight"]["offset"] :][: height * width].reshape(height, width)
    pixels = np.frombuffer(base64.b64decode(image["pixels"]), np.uint8).reshape(side, side)
    mean, std = (model["normalization"][key] for key in ("mean", "std"))
    padded = np.pad((pixels / 255 - mean) / std, layer["padding"])
    row = column = side // 2
    return WorkedExample(
        title=model["title"],
        layer=layer["name"],
        index=image["index"],
        row=row,
        column=column,
        patch=padded[row : row + height, column : column + width],
        kernel=kernel,
        bias=float(values[layer["bias"]["offset"]]) if "bias" in layer else 0.0,
    )


def _digits(
    dataset: RawDataset, models: Sequence[ModelSources], samples: Sequence[int]
) -> dict[str, Any]:
    """Test images in groups, each image once, with what PyTorch makes of it."""
    labels = dataset.test_labels
    first = [int(np.flatnonzero(labels == k)[0]) for k in np.unique(labels)]
    chosen = [index for index in samples if index < len(labels)]
    groups = {"Test images": list(dict.fromkeys([*chosen, *first]))}
    for model in models:
        if model.predictions is not None:
            within = model.predictions[model.predictions["index"] < len(labels)]
            if worst := worst_mistakes(within, WORST)["index"].to_list():
                groups[f"Worst mistakes of {model.title}"] = worst
    return {
        "classes": list(dataset.classes),
        "boxed": dataset.name in BOXED,
        "copies": {model.name: model.copies for model in models},
        "side": dataset.test_images.shape[1],
        "groups": [{"title": title, "indices": group} for title, group in groups.items()],
        "images": [
            {
                "index": index,
                "label": int(labels[index]),
                "answers": {model.name: _answer(model, index) for model in models},
                "pixels": base64_of(dataset.test_images[index], "u1"),
            }
            for index in sorted({index for group in groups.values() for index in group})
        ],
    }


def _answer(model: ModelSources, index: int) -> Mapping[Any, Any] | None:
    """PyTorch's prediction for a test image, from the evaluation on the whole test set.

    It is of the image as it is, or averaged over the model's number of shifted copies.
    """
    if model.predictions is None:
        return None
    rows = model.predictions[model.predictions["index"] == index]
    columns = ["prediction", "confidence", "probability_of_label"]
    return next(iter(rows[columns].to_dict("records")), None)

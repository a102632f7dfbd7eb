"""What the page's scripts explore with: snapshots of training, a map of the test set, robustness.

Numbers are little-endian in base64, as the weights are.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from cnnpipe.report.inputs import webp_uri
from cnnpipe.system.artifacts import load_weights
from cnnpipe.system.errors import InputError

PLACE = 10_000
"""Places on the map are embedded as whole numbers of 1/PLACE."""
GREYS = 4
"""Of the thumbnails: enough to recognise a digit, and a third of the bytes that 256 take."""
COLUMNS = 40
"""Thumbnails side by side."""


def base64_of(values: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(values.astype(dtype).tobytes()).decode("ascii")


def read_snapshots(path: Path) -> dict[str, Any] | None:
    """What `cnnpipe.train.snapshots` wrote: M moments of a first convolution.

    Raises:
        InputError: the file is there and damaged.
    """
    if not path.exists():
        return None
    tensors, _ = load_weights(path)
    try:
        found = {
            "steps": tensors["steps"].tolist(),
            "accuracy": [round(value, 4) for value in tensors["accuracy"].tolist()],
            "shape": list(tensors["kernels"].shape[1:]),
            "kernels": base64_of(tensors["kernels"].numpy(), "<f2"),
        }
    except KeyError as error:
        raise InputError(f"{path}: no snapshots of this version: {error!r}") from error
    if "bias" in tensors:
        found["bias"] = base64_of(tensors["bias"].numpy(), "<f2")
    return found


def read_embedding(path: Path, predictions: pd.DataFrame | None) -> dict[str, Any] | None:
    """What `cnnpipe.explain.embedding` wrote: places of test images, and what is familiar.

    Args:
        predictions: of the network for the test set.

    Raises:
        InputError: the file is there and damaged, or of another test set.
    """
    if not path.exists() or predictions is None:
        return None
    tensors, _ = load_weights(path)
    try:
        images = tensors["images"].tolist()
        rows = predictions.set_index("index").loc[images]
        places = (PLACE * tensors["places"].numpy()).round().clip(-32768, 32767)
        return {
            "axes": base64_of(tensors["axes"].numpy(), "<f4"),
            "images": images,
            "places": base64_of(places, "<i2"),
            "answers": rows["prediction"].tolist(),
            "neighbours": base64_of(tensors["neighbours"].numpy(), "i1"),
            "usual": float(tensors["usual"]),
        }
    except KeyError as error:
        raise InputError(f"{path}: not of this version and test set: {error!r}") from error


def thumbnails(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], models: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Small pictures of the test images on any network's map, all in one, row by row."""
    on_maps = [model["embedding"]["images"] for model in models if model["embedding"]]
    shown = sorted({index for each in on_maps for index in each})
    if not shown:
        return {}
    side = images.shape[1]
    sheet = np.zeros((-(-len(shown) // COLUMNS) * side, COLUMNS * side), np.uint8)
    for place, index in enumerate(shown):
        top, left = (side * part for part in divmod(place, COLUMNS))
        sheet[top : top + side, left : left + side] = images[index]
    greys = (np.rint(sheet / 255 * (GREYS - 1)) * 255 / (GREYS - 1)).astype(np.uint8)
    return {
        "columns": COLUMNS,
        "side": side,
        "images": shown,
        "labels": labels[shown].tolist(),
        "uri": webp_uri(Image.fromarray(255 - greys)),
    }


def robustness_of(table: pd.DataFrame | None, models: Sequence[str]) -> dict[str, Any]:
    """Accuracy by severity: corruption → {severity, images, one list for each network}.

    Args:
        table: as reports/handcrafted/robustness.csv has it; the networks are those of the pipeline.
    """
    if table is None:
        return {}
    rows = table[(table["training"] == "pipeline") & table["method"].isin(models)]
    found: dict[str, Any] = {}
    for (corruption, method), curve in rows.groupby(["corruption", "method"], sort=False):
        entry = found.setdefault(
            str(corruption),
            {"severity": curve["severity"].tolist(), "images": int(curve["images"].iloc[0])},
        )
        entry[str(method)] = curve["accuracy"].tolist()
    return found

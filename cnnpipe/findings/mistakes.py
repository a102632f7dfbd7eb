"""Which test images stand for what a network gets right and wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cnnpipe.params.visualize import DrawnParams
from cnnpipe.system.errors import InputError


def worst_mistakes(predictions: pd.DataFrame, most: int) -> pd.DataFrame:
    """The wrong ones of reports/predictions, most confident first; equal ones in the set's order.

    Args:
        most: rows to return at most.
    """
    wrong = predictions[predictions["prediction"] != predictions["label"]]
    return wrong.sort_values("confidence", ascending=False, kind="stable").head(most)


def images_to_draw(
    params: DrawnParams, predictions: pd.DataFrame, images: int, dataset: str
) -> list[int]:
    """Indices of the chosen test images, and of the worst mistakes after them; none twice.

    Args:
        predictions: as reports/predictions has them.
        images, dataset: size of the test set, and its name.

    Raises:
        InputError: a chosen index is beyond the test set.
    """
    for index in params.samples:
        if index >= images:
            raise InputError(
                f"visualize.samples: got {index}; expected at most {images - 1}, as the test "
                f"set of {dataset} has {images} images"
            )
    worst = worst_mistakes(predictions, params.worst)["index"].tolist()
    return list(dict.fromkeys([*params.samples, *worst]))


def named(row: Mapping[Any, Any], classes: Sequence[str]) -> dict[str, Any]:
    """A row of predictions with class names in place of class numbers."""
    return {**row, **{key: classes[int(row[key])] for key in ("label", "prediction")}}

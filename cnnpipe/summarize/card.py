"""The model card: what a trained network is, how good it is, how to load it, and its limits.

Its form is that of the Hugging Face hub: Markdown with a head in YAML.

Source: Mitchell et al., "Model cards for model reporting", FAT* 2019.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cnnpipe.findings.wording import title_of


def model_card(evaluation: Mapping[str, Any], architecture: Mapping[str, Any], epochs: int) -> str:
    """A network's card.

    Args:
        evaluation: as reports/evaluation has it.
        architecture: what the network is built with.
        epochs: of its training.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # Markdown, not HTML
    )
    return environment.get_template("card.md.j2").render(
        name=evaluation["model"],
        title=title_of(evaluation["model"]),
        dataset=title_of(evaluation["dataset"]),
        classes=[row["class"] for row in evaluation["per_class"]],
        scores=evaluation,
        architecture=architecture,
        epochs=epochs,
    )

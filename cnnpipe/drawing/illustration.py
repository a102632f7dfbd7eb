"""A figure with the facts that the report states about it, and its file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cnnpipe.drawing.layout import save_png


@dataclass(frozen=True)
class Illustration:
    """A figure and what it shows, in numbers."""

    name: str
    """Of the file, without its ending."""
    kind: str
    figure: Figure
    facts: dict[str, Any]


def save_illustrations(
    illustrations: Iterable[Illustration], figures: Path, folder: str
) -> list[dict[str, Any]]:
    """Save each as PNG.

    Args:
        illustrations: are drawn one after another.
        figures: folder of all figures.
        folder: of these, relative to it.

    Returns:
        file (relative to `figures`), kind and facts of each.
    """
    described = []
    for illustration in illustrations:
        file = f"{folder}/{illustration.name}.png"
        save_png(figures / file, illustration.figure)
        described.append({"file": file, "kind": illustration.kind} | illustration.facts)
    return described

"""Reports as the stages write them, filled with made-up results, and a reader of the page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cnnpipe.findings import ladder
from cnnpipe.params.loading import load_params
from cnnpipe.report.inputs import read_sources
from cnnpipe.report.page import render
from cnnpipe.validate.schema import Params
from tests.helpers.project import ROOT

SMALL, WIDE = (124, 30), (1245, 300)
"""Pixels of the pictures: real ones are wide, and take a tenth of a second each to encode."""
PARAMS = load_params(Params, ROOT / "params.yaml").model_dump(include={"seed", "data", "models"})
TITLES = {"lenet5": "LeNet-5", "vgg": "VGG"}
ANSWER = {"index": 0, "label": "7", "prediction": "7", "confidence": 0.9991}
FIGURES = {
    "journey": ANSWER | {"stops": ["c1", "s2", "output"]},
    "curves": {},
    "confusion": {},
    "reliability": {},
    "mistakes": {"mistakes": [ANSWER | {"prediction": "1", "probability_of_label": 0.0002}]},
    "feature_maps": ANSWER
    | {
        "layers": [
            {"layer": "c1", "shape": [6, 28, 28], "lowest": -1.5}
            | {"highest": 2.5, "zero": 0.25, "silent": 1}
        ]
    },
}


LAYER = {"layer": "c1", "shape": [2, 1, 5, 5]}
EXPLAINED = {
    "filters": LAYER | {"limit": 0.4, "mean": -0.01, "std": 0.2, "dead": [1]},
    "patches": LAYER | {"field": 5},
    "attribution": {"images": []},
}
FILTERS = pd.DataFrame(
    {"layer": "c1", "filter": [0, 1], "norm": [1.5, 0.1], "silent": [0.25, 1.0]}
    | {"newly_wrong": [3, 0], "newly_right": [1, 0], "images": 10, "accuracy_lost": [0.2, 0.0]}
    | {"low": [0.05, -0.1], "high": [0.35, 0.1]}
)
BIN = {"low": 0.8, "high": 1.0, "images": 10, "confidence": 0.95, "accuracy": 0.7}


def write(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(value, pd.DataFrame):
        value.to_csv(path, index=False)
    else:
        path.write_text(json.dumps(value), encoding="utf-8")


def write_model(
    folder: Path, name: str, wrong: list[int], *, dataset="mnist", classes=None, size=SMALL
):
    """Ten images of ten classes; those in `wrong` are taken for the next class."""
    labels = np.arange(10)
    predictions = np.where(np.isin(labels, wrong), (labels + 1) % 10, labels)
    confusion = np.zeros((10, 10), dtype=int)
    confusion[labels, predictions] = 1
    classes = classes or [str(digit) for digit in range(10)]
    write(
        folder / "evaluation" / f"{name}.json",
        {
            "model": name,
            "dataset": dataset,
            "images": 10,
            "test_errors": len(wrong),
            "test_accuracy": 1 - len(wrong) / 10,
            "test_accuracy_interval": [0.5, 0.95],
            "test_loss": 0.3,
            "ece": 0.0123,
            "reliability": [BIN | {"interval": [0.4, 0.9]}],
            "parameters": 61706,
            "macs": 416520,
            "confusion": confusion.tolist(),
            "per_class": [
                {"class": name, "precision": 1.0, "recall": 0.5, "f1": 0.6667, "support": 1}
                for name in classes
            ],
        },
    )
    write(
        folder / "predictions" / f"{name}.csv",
        pd.DataFrame({"index": labels, "label": labels, "prediction": predictions}),
    )
    write(
        folder / "curves" / f"{name}.csv",
        pd.DataFrame(
            {"epoch": [1, 2, 3], "train_loss": [0.9, 0.5, 0.2], "train_accuracy": [0.7, 0.8, 0.9]}
            | {"validation_loss": [0.8, 0.4, 0.44], "validation_accuracy": [0.75, 0.85, 0.84]}
        ),
    )
    described = draw(folder / "figures", name, FIGURES, size)
    write(
        folder / "figures" / f"{name}.json",
        {"model": name, "title": TITLES[name], "figures": described},
    )
    explained = draw(folder / "figures", f"explanation/{name}", EXPLAINED, size)
    outcome = FOUND | {"claim": "A map shows what was learned.", "number": 0.25}
    write(folder / "explanation" / f"{name}.json", outcome | {"figures": explained})
    write(folder / "explanation" / name / "filters.csv", FILTERS)
    methods = pd.DataFrame({"method": ["gradient"], "correlation": [0.25]})
    write(folder / "explanation" / name / "methods.csv", methods)


def draw(folder: Path, name: str, kinds, size=SMALL) -> list[dict]:
    """A picture of each kind, with its facts."""
    described = []
    for kind, facts in kinds.items():
        file = folder / name / f"{kind}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("P", size).save(file)
        described.append({"file": f"{name}/{kind}.png", "kind": kind} | facts)
    return described


FOUND = {
    "claim": "A neuron sees a patch.",
    "verdict": "not decided",
    "statement": "of 1,000 gradients 3 lie outside of the 5×5 pixels of theory.",
    "number": 3,
    "unit": "gradients outside",
    "interval": None,
    "uncertainty": "exact: every pixel",
    "question": "What does a neuron see?",
    "data": "32 test images",
    "limits": "What it looks for.",
    "details": {},
}
CAPTION = "Accuracy of each method by corruption and severity."


def write_findings(folder: Path, size) -> None:
    """One claim of the theory, with a table longer than the page shows, and the race."""
    figures = ("principles/locality", "handcrafted/robustness", "handcrafted/views")
    for name in figures:
        file = folder / "figures" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("P", size).save(file)
    table = pd.DataFrame({"layer": "c1", "outside_field": range(1000, 1050), "share": np.nan})
    write(folder / "principles" / "locality_fields.csv", table)
    summary = FOUND | {"figure": "figures/principles/locality.png"}
    tables = {"fields": "principles/locality_fields.csv"}
    write(folder / "principles.json", {"locality": summary | {"tables": tables}})
    write(folder / "handcrafted" / "methods.csv", pd.DataFrame({"method": ["hog"], "clean": 0.97}))
    described = [{"file": f"{name}.png", "caption": CAPTION} for name in figures[1:]]
    race = FOUND | {"figure": "figures/handcrafted/robustness.png", "figures": described}
    race |= {
        "verdict": "shown not to hold",
        "number": 0.0123,
        "interval": [-0.01, 0.03],
        "tables": [],
    }
    write(folder / "handcrafted.json", race)


def write_reports(folder: Path, **options) -> Path:
    """Made-up results of both models; `options` are those of `write_model`."""
    size = options.get("size", SMALL)
    write_findings(folder, size)
    write_model(folder, "lenet5", [1, 4, 9], **options)
    write_model(folder, "vgg", [9], **options)
    timing = {"train_seconds": 83.2, "epochs": 3, "device": "cpu", "processor": "Example 3 GHz"}
    timing |= {"threads": 2, "torch": "2.14.1", "python": "3.11.7"}
    write(folder / "timings.json", {"lenet5": timing, "vgg": timing})
    errors = {"forward": {"bounds": 0.25, "case": "plain", "absolute": 1e-7, "relative": 1e-7}}
    check = {"operator": "conv2d", "algorithm": "im2col", "device": "cpu", "dtype": "float32"}
    check |= {"cases": 120, "tolerance": 1.0, "verdict": "pass", "errors": errors}
    other = {"operator": "relu", "algorithm": None, "dtype": "bfloat16", "cases": 9}
    write(
        folder / "verify.json",
        {
            "verdict": "pass",
            "worst": "conv2d (im2col), float32: forward is off by 0.25",
            "cases": 129,
            "comparisons": 1290,
            "seed": 1,
            "torch": "2.14.1",
            "scipy": "1.17.1",
            "checks": [check, check | other],
        },
    )
    files = {"t10k-images-idx3-ubyte": {"sha256": "0fa7898d" * 8, "bytes": 7840016}}
    dataset = {"name": options.get("dataset", "mnist"), "classes": ["0"], "files": files}
    write(folder / "dataset.json", dataset)
    write(folder / "benchmark.json", benchmark())
    draw(folder / "figures", "benchmark", {"ladder": {}, "layers": {}}, size)
    return folder


def spread(median: float) -> dict[str, float]:
    return {"median": median, "low": 0.9 * median, "high": 1.2 * median}


def timed(**milliseconds: float) -> dict:
    """The benchmark's result for contestants with these medians, and for both of torch's."""
    references = {"torch": 2.0, "torch, channels last": 1.0}
    return {
        "milliseconds": {name: spread(ms) for name, ms in (references | milliseconds).items()},
        "ratios": {
            f"{name} / {reference}": spread(ms / reference_ms)
            for name, ms in milliseconds.items()
            for reference, reference_ms in references.items()
        },
    }


def benchmark() -> dict:
    """A race that LeNet-5 wins and VGG loses, with one layer of each."""
    layer = {"layer": "lenet5 c1", "shape": "1×28×28 → 6, 5×5", "auto": "compiled"}
    return {
        "machine": {"device": "cpu", "processor": "Example 3 GHz", "threads": 2, "torch": "2.14.1"},
        "batch_size": 128,
        "models": [
            {"model": name, "batch_size": size, "phase": "training", **timed(scratch=ms)}
            for name, ms in (("lenet5", 1.88), ("vgg", 2.5))
            for size in (1, 128)
        ],
        "layers": [layer | {"phase": "training"} | timed(compiled=3.52), *rungs()],
        "memory": [{"model": "lenet5", "ratio": 0.902}, {"model": "vgg", "ratio": 0.91}],
    }


def rungs(peak: float | None = 200.0) -> list[dict]:
    """The layer of the ladder: algorithms reach 10 and 50 GFLOP/s, torch's channels last 100."""
    layer = {"layer": ladder.LAYER, "shape": "32×14×14 → 32, 3×3", "auto": "compiled"}
    layer |= {"flops": 100_000_000, "peak": peak} | timed(direct=10.0, compiled=2.0)
    return [layer | {"phase": phase} for phase in ("forward", "training")]


def page_of(folder: Path) -> str:
    return render(read_sources(folder, folder / "dataset.json", PARAMS))


class Document(HTMLParser):
    """Checks nesting while reading, and keeps all elements with their attributes."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})
    # Which elements may not stand inside a paragraph: a browser would end it silently.
    BLOCKS = frozenset(
        {"p", "div", "table", "ul", "ol", "dl", "section", "figure", "details", "h2", "h3", "pre"}
    )

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"<{tag}> at {self.getpos()} repeats an attribute"
        assert not (tag in self.BLOCKS and "p" in self.open), f"<{tag}> in <p> at {self.getpos()}"
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> at {self.getpos()} closes nothing"
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()} closes something else"

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]

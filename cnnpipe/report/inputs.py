"""What the pipeline left under reports/, read for the page. Each part may be absent."""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from cnnpipe.drawing.layout import CSS, DPI
from cnnpipe.findings import ladder
from cnnpipe.findings.wording import short, title_of
from cnnpipe.system.artifacts import load_csv, load_json
from cnnpipe.system.errors import InputError

TABLE_ROWS = 40
"""The maximum number of rows of a table on the page."""
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "matplotlib")


@dataclass(frozen=True)
class Picture:
    """A figure, inlined, with the facts that were saved with it; its size in pixels of CSS."""

    kind: str
    uri: str
    width: int
    height: int
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class FindingSource:
    """One claim of the theory: the summary of its `Finding`, its figures, its table."""

    name: str
    summary: Mapping[str, Any]
    pictures: Sequence[Picture]
    table: pd.DataFrame | None
    """The first of its tables; None if its file is gone."""
    table_file: str
    stage: str
    """The stage that makes it."""
    replications: Sequence[Mapping[str, Any]] = ()
    """Summaries of the same claim with the full budget, one for each base seed; none if `make
    claims` has not measured it on this data set."""

    @property
    def title(self) -> str:
        return self.name.replace("_", " ").capitalize()

    @property
    def headings(self) -> list[str]:
        """Names of the table's columns."""
        return [] if self.table is None else [str(c).replace("_", " ") for c in self.table.columns]

    def cells(self) -> list[list[str]]:
        """The table's first rows as text."""
        if self.table is None:
            return []
        records = self.table.head(TABLE_ROWS).to_dict("records")
        return [[_cell(value) for value in record.values()] for record in records]


@dataclass(frozen=True)
class ModelSources:
    """All that is known of one model."""

    name: str
    title: str
    evaluation: Mapping[str, Any] | None
    predictions: pd.DataFrame | None
    curves: pd.DataFrame | None
    timing: Mapping[str, Any] | None
    pictures: Sequence[Picture]
    attribution: FindingSource | None
    """Whether maps of what an answer rests on depend on the weights."""
    filters: pd.DataFrame | None
    """One row per filter of every convolution."""

    @property
    def copies(self) -> int:
        """Of each test image, moved by a few pixels, that an answer of the evaluation averages."""
        return int((self.evaluation or {}).get("copies", 1))

    def pictures_of(self, kind: str) -> list[Picture]:
        return [picture for picture in self.pictures if picture.kind == kind]

    def picture_of(self, kind: str, layer: str) -> Picture | None:
        """The picture of one layer, if there is one."""
        found = (p for p in self.pictures_of(kind) if p.facts["layer"] == layer)
        return next(found, None)

    def filters_of(self, layer: str) -> list[dict[str, Any]]:
        """Rows of one layer's filters, the most valuable first."""
        if self.filters is None:
            return []
        rows = self.filters[self.filters["layer"] == layer]
        rows = rows.sort_values("accuracy_lost", ascending=False, kind="stable")
        return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


@dataclass
class CheckSummary:
    """One operator, algorithm and device: its largest error in each dtype, over its tolerance.

    Tolerances count in rounding bounds, which `cnnpipe.verify.reference` derives, and are larger
    for algorithms whose errors spread over the whole output.
    """

    name: tuple[str, str, str]
    cases: int = 0
    errors: dict[str, float] = field(default_factory=dict)
    passed: bool = True

    def largest(self, dtypes: Sequence[str]) -> list[str]:
        return [short(self.errors[dtype]) if dtype in self.errors else "–" for dtype in dtypes]


@dataclass(frozen=True)
class Sources:
    """All that the page is made from."""

    models: Sequence[ModelSources]
    verification: Mapping[str, Any] | None
    benchmark: Mapping[str, Any] | None
    benchmark_pictures: Sequence[Picture]
    principles: Sequence[FindingSource]
    """In the order of the theory; empty if they have not been measured."""
    handcrafted: FindingSource | None
    handcrafted_timing: Mapping[str, Any] | None
    robustness: pd.DataFrame | None
    """Accuracy of every method under each corruption at each severity."""
    dataset: Mapping[str, Any] | None
    params: Mapping[str, Any]
    versions: Mapping[str, str]

    @property
    def dataset_name(self) -> str:
        """What the models were judged on; before that, what lies there or was asked for."""
        for model in self.models:
            if model.evaluation:
                return str(model.evaluation["dataset"])
        return str(self.dataset["name"] if self.dataset else self.params["data"]["name"])

    @property
    def dataset_title(self) -> str:
        return title_of(self.dataset_name)

    @property
    def evaluated(self) -> list[ModelSources]:
        return [model for model in self.models if model.evaluation]

    @property
    def copies(self) -> int:
        """The most copies of a test image that any model's evaluation averages over."""
        return max((model.copies for model in self.models), default=1)

    def title_of(self, name: str) -> str:
        """A model's name for people."""
        return next((model.title for model in self.models if model.name == name), name)

    def layers_faster_than_torch(self) -> int:
        """At how many convolutions own code trains no slower than torch's."""
        layers = (self.benchmark or {}).get("layers", [])
        return sum(
            layer["ratios"][f"{layer['auto']} / torch"]["median"] <= 1
            for layer in layers
            if layer["phase"] == "training"
        )

    def ladder(self) -> list[list[str]]:
        """One convolution by each algorithm, as a table."""
        return ladder.cells((self.benchmark or {})["layers"])

    def checks(self) -> list[CheckSummary]:
        """Verification by operator, algorithm and device."""
        rows: dict[tuple[str, str, str], CheckSummary] = {}
        for check in (self.verification or {}).get("checks", []):
            name = (check["operator"], check["algorithm"] or "–", check["device"])
            row = rows.setdefault(name, CheckSummary(name))
            bounds = [float(error["bounds"]) for error in check["errors"].values()]
            row.errors[check["dtype"]] = max(bounds, default=0.0) / check["tolerance"]
            row.cases = max(row.cases, check["cases"])
            row.passed = row.passed and check["verdict"] == "pass"
        return list(rows.values())


def read_sources(reports: Path, dataset: Path, params: Mapping[str, Any]) -> Sources:
    """Read what there is; a file that is absent makes its section say so.

    Args:
        reports: folder of the pipeline's results.
        dataset: the data set's description, dataset.json.
        params: params.yaml, as the schema read it; it names the models, which are shown in its
            order.

    Raises:
        InputError: a file is there and damaged.
    """
    timings = _json(reports / "timings.json") or {}
    described = _json(dataset)
    full = _json(reports / "claims.json") or {"seeds": {}, "dataset": None}
    own = described is not None and described["name"] == full["dataset"]
    replications = list(full["seeds"].values()) if own else []
    return Sources(
        models=[_read_model(reports, name, timings.get(name)) for name in params["models"]],
        verification=_json(reports / "verify.json"),
        benchmark=_json(reports / "benchmark.json"),
        benchmark_pictures=read_pictures(
            reports / "figures" / "benchmark",
            [{"kind": kind, "file": f"{kind}.png"} for kind in ("ladder", "layers")],
        ),
        principles=[
            _read_finding(reports, name, "principles", summary, replications)
            for name, summary in (_json(reports / "principles.json") or {}).items()
        ],
        handcrafted=_read_handcrafted(reports, replications),
        handcrafted_timing=_json(reports / "handcrafted_timings.json"),
        robustness=_csv(reports / "handcrafted" / "robustness.csv"),
        dataset=described,
        params=params,
        versions={package: version(package) for package in PACKAGES},
    )


def _read_model(reports: Path, name: str, timing: Mapping[str, Any] | None) -> ModelSources:
    figures = _json(reports / "figures" / f"{name}.json") or {"title": name, "figures": []}
    explained = _json(reports / "explanation" / f"{name}.json")
    described = [*figures["figures"], *(explained["figures"] if explained else [])]
    return ModelSources(
        name=name,
        title=figures["title"],
        evaluation=_json(reports / "evaluation" / f"{name}.json"),
        predictions=_csv(reports / "predictions" / f"{name}.csv"),
        curves=_csv(reports / "curves" / f"{name}.csv"),
        timing=timing,
        pictures=read_pictures(reports / "figures", described),
        attribution=_read_attribution(reports, name, explained) if explained else None,
        filters=_csv(reports / "explanation" / name / "filters.csv"),
    )


def _read_attribution(reports: Path, name: str, explained: Mapping[str, Any]) -> FindingSource:
    summary = {
        **explained,
        "tables": {"methods": f"explanation/{name}/methods.csv"},
        "figure": f"figures/explanation/{name}/attribution.png",
    }
    return _read_finding(reports, f"attribution-{name}", f"explain@{name}", summary)


def _read_handcrafted(
    reports: Path, replications: Sequence[Mapping[str, Any]]
) -> FindingSource | None:
    summary = _json(reports / "handcrafted.json")
    if summary is None:
        return None
    figures = [figure | {"file": f"figures/{figure['file']}"} for figure in summary["figures"]]
    # Of its tables, the one that has a row per method.
    summary["tables"] = {"methods": "handcrafted/methods.csv"}
    return _read_finding(reports, "handcrafted", "handcrafted", summary, replications, figures)


def _read_finding(
    reports: Path,
    name: str,
    stage: str,
    summary: Mapping[str, Any],
    replications: Sequence[Mapping[str, Any]] = (),
    figures: Sequence[Mapping[str, Any]] = (),
) -> FindingSource:
    """A finding with its first table and the given figures, or the one that its summary names."""
    described = [
        {"kind": name, "caption": "", **facts} for facts in figures or [{"file": summary["figure"]}]
    ]
    first = next(iter(summary["tables"].values()))
    return FindingSource(
        name=name,
        summary=summary,
        pictures=read_pictures(reports, described),
        table=_csv(reports / first),
        table_file=first,
        stage=stage,
        replications=[found[name] for found in replications if name in found],
    )


def _cell(value: object) -> str:
    """A table's value as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return "–" if math.isnan(value) else short(value)
    return str(value)


def read_pictures(folder: Path, described: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """The figures that are there. Encoding them is most of the page's work, and runs in threads."""
    present = [facts for facts in described if (folder / facts["file"]).exists()]
    with ThreadPoolExecutor() as threads:
        return list(threads.map(partial(_picture, folder), present))


def _picture(folder: Path, facts: Mapping[str, Any]) -> Picture:
    """A figure for the page: the same pixels as the PNG file.

    Raises:
        InputError: the file is no image.
    """
    file = folder / facts["file"]
    try:
        with Image.open(file) as image:
            width, height = (round(side * CSS / DPI) for side in image.size)
            uri = webp_uri(image)
    except (OSError, SyntaxError) as error:  # what Pillow raises at damaged files
        raise InputError(
            f"{file}: damaged: {error}; delete it and run `dvc repro` to make it again"
        ) from None
    return Picture(facts["kind"], uri, width, height, facts)


def webp_uri(image: Image.Image) -> str:
    """A picture as text, to stand inside the page: lossless, a third smaller than as PNG."""
    with io.BytesIO() as encoded:
        image.convert("RGB").save(encoded, "webp", lossless=True, quality=100)
        return f"data:image/webp;base64,{base64.b64encode(encoded.getvalue()).decode('ascii')}"


def _json(path: Path) -> Any:
    return load_json(path) if path.exists() else None


def _csv(path: Path) -> pd.DataFrame | None:
    return load_csv(path) if path.exists() else None


def flattened(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested mappings, and of lists of them, by its dotted key.

    >>> list(flattened({"race": {"recipes": [{"epochs": 2}], "seeds": 5}}))
    [('race.recipes.0.epochs', 2), ('race.seeds', 5)]
    """
    for key, value in tree.items():
        is_list = isinstance(value, list) and any(isinstance(each, Mapping) for each in value)
        below = {str(k): each for k, each in enumerate(value)} if is_list else value
        if isinstance(below, Mapping):
            yield from flattened(below, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

"""The report opened in a real browser, from disk and offline, for the tests of its scripts.

The page draws with the browser's next frame, so nothing is read right after an action: `expect`
waits for what is expected, and `settle` until all is painted. Nothing sleeps. What moves by itself
is tried with `stopped`, where time passes only when a test says so.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cnnpipe.data.digits import digits_files
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.data.raw import read_raw, write_raw
from cnnpipe.data.sources import DIGITS
from cnnpipe.evaluate.evaluation import Evaluation, summary
from cnnpipe.layers import Sigmoid
from cnnpipe.models import TrainedNetwork, build_model, save_model
from cnnpipe.networks import MODEL_NAMES
from cnnpipe.params.loading import load_params
from cnnpipe.report.browser_data import read_embedded
from cnnpipe.report.inputs import read_sources
from cnnpipe.report.page import render
from cnnpipe.system.artifacts import load_json, save_json
from cnnpipe.validate.schema import Params
from tests.helpers.project import ROOT

# Without windows the same engine takes half the processor time.
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PATIENCE = 30_000  # milliseconds until what is expected must be there, on a machine that is busy
COLOUR_RULES = ["color-contrast", "link-in-text-block"]
SMALL_VGG = {"blocks": [[6, 5], [4]], "hidden": 12}

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
needs_trained_models = pytest.mark.skipif(
    not all((ROOT / f"data/models/{name}.safetensors").exists() for name in MODEL_NAMES)
    or not (ROOT / "data/raw/dataset.json").exists(),
    reason="no trained models here: `dvc repro` makes them",
)


@contextmanager
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    playwright.expect.set_options(timeout=PATIENCE)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def opened(browser, file: Path, *, stopped: bool = False, **options) -> Iterator:
    """Open a page; the test fails if the page requests anything or reports an error.

    Nothing moves by itself, as for readers who asked for that, unless an option says otherwise.

    Args:
        stopped: whether the page's clock stands still; `page.clock.run_for(milliseconds)` moves it.
    """
    complaints = []
    usual = {"viewport": DESK, "reduced_motion": "reduce"}
    context = browser.new_context(offline=True, **usual | options)
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(f"{error}\n{error.stack}"))
    page.on(
        "request",
        lambda request: (
            request.url == file.as_uri()
            or request.url.startswith("data:")
            or complaints.append(request.url)
        ),
    )
    if stopped:
        page.clock.install(time=0)
    page.goto(file.as_uri())
    if stopped:
        page.clock.pause_at(60)  # seconds
    else:
        settle(page)
    yield page
    context.close()
    assert not complaints, "\n".join(complaints)


def expect(actual):
    """Playwright's assertions, which wait until they hold."""
    return pytest.importorskip("playwright.sync_api").expect(actual)


def settle(page) -> None:
    """Wait until all that the page was asked for is painted."""
    page.evaluate("() => window.cnnpipe?.painted()")


def assert_fits(page) -> None:
    """The page is no wider than the screen."""
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"]


def assert_accessible(page, **options) -> None:
    """axe-core, where it is installed, finds no violation in either scheme of colours.

    In the dark it tries the rules that judge colours. All others see the same page as in the light,
    and without them a run takes three quarters of the time.

    Args:
        page: in the light scheme, in which it is left.
        options: of axe's run.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core here")
    for scheme, rules in (("dark", {"runOnly": COLOUR_RULES}), ("light", {})):
        page.emulate_media(color_scheme=scheme)
        settle(page)
        results = axe.Axe().run(page, options={"resultTypes": ["violations"], **rules}, **options)
        assert results.violations_count == 0, f"{scheme}: {results.generate_report()}"


def randomise(model: nn.Module) -> nn.Module:
    """Weights with which images can be told apart, running statistics as training leaves them.

    Sigmoid keeps a tenth of what passes, so it gets larger weights.
    """
    if any(isinstance(layer, Sigmoid) for layer in model.modules()):
        for parameter in model.parameters():
            parameter.data *= 5
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    with torch.no_grad():
        model.train()(torch.randn(32, 1, 28, 28))
    return model.eval()


def save_random_model(folder: Path, name: str, seed: int = 0, **changes) -> Path:
    """As the train stage saves it, whose description is complete."""
    params = load_params(Params, ROOT / "params.yaml").models[name]
    architecture = params.architecture() | {"classes": 10} | changes
    torch.manual_seed(seed)
    model = randomise(build_model(name, **architecture))
    path = folder / f"{name}.safetensors"
    save_model(path, model, name, architecture, Normalization(0.1307, 0.3081))
    return path


def evaluation_of(path: Path, dataset: str = "digits") -> dict[str, Any]:
    """As the evaluate stage writes it, of a network that answers 0 to ten images, all zeros."""
    answers = Evaluation(np.zeros(10, np.int64), np.eye(10)[np.zeros(10, np.int64)], DIGITS)
    return summary(TrainedNetwork.load(path), dataset, answers)


def write_untrained_page(folder: Path) -> Path:
    """A page of two networks of random weights, and of the digits that scikit-learn has."""
    save_random_model(folder / "models", "lenet5")
    save_random_model(folder / "models", "vgg", **SMALL_VGG)
    write_raw(folder / "raw", "digits", digits_files().items())
    return write_page(folder / "reports", folder / "models", folder / "raw")


def write_page(reports: Path, models: Path, raw: Path, to: Path | None = None) -> Path:
    """The page of what lies in three folders.

    Args:
        to: the folder for the page of results that are complete, and stay as they are. Without it
            the page goes to `reports`, where each network's evaluation is made to describe it.
    """
    for path in models.glob("*.safetensors") if to is None else ():
        evaluation = reports / "evaluation" / f"{path.stem}.json"
        there = load_json(evaluation) if evaluation.exists() else {}
        fresh = evaluation_of(path)
        network = {key: fresh[key] for key in ("layers", "parameters")}
        save_json(evaluation, fresh | there | network)
    params = load_params(Params, ROOT / "params.yaml").model_dump()
    sources = read_sources(reports, raw / "dataset.json", params)
    path = (to or reports) / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(sources, read_embedded(models.parent, sources)), encoding="utf-8")
    return path


def some_test_images(raw: Path, count: int = 100) -> torch.Tensor:
    """
    Shape: uint8 (count, 28, 28).
    """
    return torch.from_numpy(read_raw(raw).test_images[:count].copy())

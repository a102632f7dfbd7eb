"""The page: valid, self-contained, escaped, reproducible, honest about what is absent."""

import base64
import io
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import cnnpipe.report
from cnnpipe.params.loading import load_params
from cnnpipe.params.models import MODEL_NAMES
from cnnpipe.report.browser_data import read_embedded
from cnnpipe.report.inputs import read_sources
from cnnpipe.report.page import render
from cnnpipe.report.sentences import verdicts
from cnnpipe.system.errors import InputError
from cnnpipe.validate.schema import Params
from tests.helpers.chromium_page import ROOT, needs_trained_models
from tests.helpers.written_reports import (
    CAPTION,
    EXPLAINED,
    FIGURES,
    PARAMS,
    Document,
    page_of,
    write,
    write_model,
    write_reports,
)
from torture.determinism import TOLERANCE


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> Path:
    return write_reports(tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="module")
def page(reports) -> str:
    return page_of(reports)


def test_speed_is_told_as_it_was_measured(page):
    text = Document(page).text
    assert (
        "LeNet-5 trains as fast with this project’s layers as with torch’s: a step of 128 images "
        "takes 0.94 times torch’s time (quartiles 0.846 to 1.03)" in text
    )
    [vgg] = re.findall(r"([a-z ]+) VGG trains as fast", text)
    assert vgg.endswith("not supported")
    assert (
        "Peak memory of a training step, own layers over torch’s: LeNet-5 0.902; VGG 0.91." in text
    )


def test_page_is_well_formed(page):
    document = Document(page)
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for reference in ("aria-labelledby", "href"):
        for _, attributes in document.elements:
            target = attributes.get(reference) or ""
            if reference == "aria-labelledby" and target:
                assert target in ids
            elif target.startswith("#"):
                assert target[1:] in ids


def test_page_asks_nobody_for_anything(page):
    document = Document(page)
    assert not document.all("script", "iframe", "object", "embed", "base")
    for tag, attributes in document.elements:
        for name, value in attributes.items():
            if name in ("src", "srcset", "poster", "data") or (tag, name) == ("link", "href"):
                assert (value or "").startswith("data:"), f"<{tag} {name}={value}>"
    style = page[page.index("<style>") : page.index("</style>")]
    assert not re.search(r"url\(|@import|https?:", style)


def test_same_files_give_the_same_bytes(reports, page):
    assert page_of(reports) == page


@needs_trained_models
def test_the_page_of_the_shipped_run_is_small_enough_to_send():
    params = load_params(Params, ROOT / "params.yaml").model_dump()
    raw = ROOT / "data" / "raw"
    sources = read_sources(ROOT / "reports", raw / "dataset.json", params, MODEL_NAMES)
    page = render(sources, read_embedded(ROOT / "data" / "models", raw, sources))
    assert len(page.encode()) <= 5_000_000
    Document(page)


def test_page_has_landmarks_a_skip_link_and_headings_in_order(page):
    document = Document(page)
    for landmark in ("header", "nav", "main", "footer"):
        assert len(document.all(landmark)) == 1
    assert document.all("a")[0]["href"] == "#main"
    levels = [int(tag[1]) for tag, _ in document.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(deeper - level <= 1 for level, deeper in pairwise(levels))


def test_every_figure_tells_its_finding_and_has_its_numbers_as_a_table(page):
    document = Document(page)
    images = document.all("img")
    # Both models', the operators' race, one of a claim, two of the hand-crafted race; kernels are
    # drawn on two scales.
    figures = 2 * (len(FIGURES) + len(EXPLAINED) - 1) + 4
    assert len(document.all("figure")) == figures
    assert len(images) == figures + 2
    assert all(len(image["alt"]) > 40 for image in images)
    assert all((image["width"], image["height"]) == ("83", "20") for image in images)
    for figure in re.findall(r"<figure>.*?</figure>", page, re.DOTALL):
        if 'alt="' + CAPTION in figure and "<table" not in figure:
            continue  # the table of the race stands under its last figure
        assert "<table" in figure
        described = set(re.findall(r"<dt>(.*?)</dt>", figure))
        assert described in ({"Data", part, "Does not show"} for part in ("Scale", "Number"))


def test_pictures_have_the_pixels_of_their_files_in_fewer_bytes(tmp_path):
    folder = write_reports(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 40, (400, 1660), dtype=np.uint8)
    file = folder / "figures" / "lenet5" / "confusion.png"
    image = Image.fromarray(pixels)
    image.putpalette(np.arange(120, dtype=np.uint8).repeat(3).tobytes())
    image.save(file)
    page = page_of(folder)
    found = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
        for text in re.findall(r'src="data:image/webp;base64,([^"]+)"', page)
    ]
    expected = np.asarray(Image.open(file).convert("RGB"))
    assert sum(np.array_equal(expected, shown) for shown in found) == 1


def test_a_picture_that_is_damaged_is_named(tmp_path):
    folder = write_reports(tmp_path)
    file = folder / "figures" / "vgg" / "curves.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(InputError, match=r"curves\.png: damaged: .*`dvc repro`"):
        page_of(folder)


def test_filters_stand_with_what_they_are_worth(page):
    text = Document(page).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "c1: 2 filters of 1×5×5 weights; without the most valuable one 20.00 points" in text
    row = "".join(f"<td>{cell}</td>" for cell in ("1.5", "25.0 %", 3, 1, "20.00", "5.00 to 35.00"))
    assert f'<th scope="row">0</th>{row}' in page.replace("\N{NO-BREAK SPACE}", " ")
    assert "Outlined: 1 dead filter." in page
    assert "1 of the 2 filters of VGG is dead, that is zero everywhere" in text
    assert "The most valuable filter of VGG is number 0 of c1: without it 20.00 percent" in text
    assert "1 of 2 are worth something beyond chance" in text


def test_attribution_gives_its_verdict_and_number_for_each_model(page):
    text = Document(page).text.replace("\N{NO-BREAK SPACE}", " ")
    assert text.count("“A map shows what was learned.” Partly supported.") == 2
    assert "0.25 gradients outside" in text


def test_reliability_is_tabulated(page):
    row = ["95.00 %", "70.00 %", "40.00 % to 90.00 %"]
    cells = "".join(f"<td>{cell}</td>" for cell in ["10", *row])
    expected = f'<th scope="row">80.0 % to 100.0 %</th>{cells}'
    assert page.replace("\N{NO-BREAK SPACE}", " ").count(expected) == 2


def test_sections_stand_in_the_order_of_the_table_of_contents(page):
    sections = [section["id"] for section in Document(page).all("section")]
    assert sections == [
        *("summary", "draw", "by-hand", "operators", "filters", "feature-maps", "attribution"),
        *("results", "principles", "handcrafted", "compare", "reproduce", "limits"),
    ]
    assert re.findall(r'<li><a href="#([\w-]+)">', page)[: len(sections)] == sections


def test_tables_have_captions_and_scoped_headings(page):
    document = Document(page)
    assert len(document.all("table")) == len(document.all("caption"))
    assert {heading.get("scope") for heading in document.all("th")} == {"col", "row"}


def test_numbers_parameters_and_data_hashes_are_stated(page):
    text = Document(page).text
    for expected in (
        "70.00 %",
        "50.00 % – 95.00 %",
        "61,706",
        "416,520",
        "1 min 23 s, 3 epochs",
        "cpu (Example 3 GHz), 2 threads, torch 2.14.1",
        "models.vgg.lr",
        "0fa7898d" * 8,  # the hash of a file of the data set
    ):
        assert expected in text


def test_files_that_figures_link_to_exist(reports, page):
    links = [a["href"] for a in Document(page).all("a") if not a["href"].startswith("#")]
    assert len(links) > 2 * len(FIGURES)
    assert [link for link in links if not (reports / link).exists()] == []


def test_a_claim_stands_with_verdict_number_and_table(page):
    text = Document(page).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "“A neuron sees a patch.” Partly supported. Of 1,000 gradients 3 lie outside" in text
    assert "3 gradients outside; exact: every pixel" in text
    assert "What does a neuron see?" in text
    assert '<th scope="row">c1</th><td>1,039</td><td>–</td>' in page
    assert "1,040" not in text
    assert "outside field" in text
    assert "The first 40 of 50 rows." in text


def test_the_race_of_features_stands_with_its_interval(page):
    text = Document(page).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "0.0123 gradients outside (95 % interval −0.01 to 0.03)" in text
    assert text.count(CAPTION) == 2


def test_a_claim_whose_figure_and_table_are_gone_says_how_to_make_them(tmp_path):
    folder = write_reports(tmp_path)
    (folder / "principles" / "locality_fields.csv").unlink()
    assert "Not there yet: reports/principles/locality_fields.csv" in Document(page_of(folder)).text
    (folder / "figures" / "principles" / "locality.png").unlink()
    text = Document(page_of(folder)).text
    assert "Not there yet: reports/figures/principles/locality.png. dvc repro principles" in text


def test_verification_is_tabulated(page):
    rows = re.findall(r"<tr><th scope=\"row\">(?:conv2d|relu)</th>.*?</tr>", page)
    cells = [re.findall(r">([^<]+)</t[hd]>", row) for row in rows]
    assert cells == [
        ["conv2d", "im2col", "cpu", "pass", "120", "0.25", "–"],
        ["relu", "–", "cpu", "pass", "9", "–", "0.25"],
    ]


def test_how_far_other_threads_lead_is_what_is_tried(page):
    text = " ".join(Document(page).text.split())
    assert f"no logit of a test image moved by more than {TOLERANCE} (make torture)" in text


def test_a_data_set_that_is_not_mnist_is_announced_before_everything_else(page, tmp_path):
    assert 'class="banner"' not in page
    page = page_of(write_reports(tmp_path, dataset="digits"))
    assert "This run used scikit-learn’s digits, not MNIST." in Document(page).text
    assert page.index("not MNIST") < page.index("<h1>")


def test_what_comes_from_outside_stays_text(tmp_path):
    evil = "<script>alert(1)</script>"
    folder = write_reports(tmp_path, dataset=evil, classes=[f'{evil}"{k}' for k in range(10)])
    figures = json.loads((folder / "figures" / "vgg.json").read_text(encoding="utf-8"))
    figures["title"] = figures["figures"][0]["label"] = f'"><img src=x onerror=1>{evil}'
    write(folder / "figures" / "vgg.json", figures)
    explained = json.loads((folder / "explanation" / "vgg.json").read_text(encoding="utf-8"))
    explained["figures"][0]["layer"] = explained["claim"] = f'" onerror=1 x="{evil}'
    write(folder / "explanation" / "vgg.json", explained)
    page = page_of(folder)
    document = Document(page)
    assert not document.all("script")
    assert not any("onerror" in attributes for _, attributes in document.elements)
    assert f"This run used {evil}, not MNIST." in document.text


def test_sections_without_input_say_so_and_how_to_make_it(tmp_path):
    document = Document(page_of(tmp_path))
    stages = ("verify", "evaluate", "visualize@vgg", "explain@vgg", "principles", "handcrafted")
    for command in (f"dvc repro {stage}" for stage in stages):
        assert command in document.text
    assert not document.all("img")


@pytest.mark.parametrize(
    "absent",
    [
        *("verify.json", "timings.json", "dataset.json", "curves/vgg.csv", "handcrafted.json"),
        *("principles.json", "principles/locality_fields.csv", "figures/principles/locality.png"),
        *("predictions/vgg.csv", "evaluation/vgg.json", "figures/vgg.json"),
        *("explanation/vgg.json", "explanation/vgg/filters.csv", "explanation/vgg/methods.csv"),
        *("figures/explanation/vgg/filters_own_scale.png", "figures/vgg/journey.png"),
    ],
)
def test_page_stands_without_any_one_file(tmp_path, absent):
    folder = write_reports(tmp_path)
    (folder / absent).unlink()
    Document(page_of(folder))


def sentences(folder: Path) -> dict[str, str]:
    sources = read_sources(folder, folder / "dataset.json", PARAMS, MODEL_NAMES)
    return {
        verdict.text.replace("\N{NO-BREAK SPACE}", " "): verdict.kind
        for verdict in verdicts(sources)
    }


def test_a_difference_that_chance_explains_is_not_supported(reports):
    # VGG alone is right on images 1 and 4, LeNet-5 alone on none: p = 2 · (1/2)² = 0.5
    sentence = (
        "VGG is better: of 10 test images, LeNet-5 alone classifies 0 correctly and VGG alone 2 "
        "(exact McNemar test, p = 0.500). "
        "Chance alone makes such a difference often enough."
    )
    assert sentences(reports)[sentence] == "not supported"


def test_a_difference_beyond_chance_is_supported(tmp_path):
    write_model(tmp_path, "lenet5", [])
    write_model(tmp_path, "vgg", list(range(10)))
    # LeNet-5 alone is right on all 10: p = 2 · (1/2)¹⁰ = 0.00195
    (sentence,) = (text for text in sentences(tmp_path) if "McNemar" in text)
    assert sentence.startswith("LeNet-5 is better: of")
    assert "p = 0.002" in sentence
    assert sentences(tmp_path)[sentence] == "supported"


def test_networks_that_err_alike_are_not_told_apart(tmp_path):
    write_model(tmp_path, "lenet5", [3])
    write_model(tmp_path, "vgg", [3])
    sentence = "Both classify the same of 10 test images correctly."
    assert sentences(tmp_path)[sentence] == "measured"


def test_a_rising_validation_loss_is_called_overfitting(reports):
    text = (
        "VGG did not overfit: its validation loss ends at 0.44, "
        "10.0 % above its lowest value, of epoch 2."
    )
    assert sentences(reports)[text] == "not supported"


def test_a_falling_validation_loss_is_not(reports, tmp_path):
    folder = write_reports(tmp_path)
    curves = pd.read_csv(folder / "curves" / "vgg.csv").head(2)
    write(folder / "curves" / "vgg.csv", curves)
    text = "VGG did not overfit: its validation loss ends at 0.4, its lowest value."
    assert sentences(folder)[text] == "supported"


def test_operators_that_failed_are_reported(tmp_path):
    folder = write_reports(tmp_path)
    report = json.loads((folder / "verify.json").read_text(encoding="utf-8"))
    write(folder / "verify.json", report | {"verdict": "fail"})
    kinds = {text: kind for text, kind in sentences(folder).items() if "operators" in text}
    assert list(kinds.values()) == ["not supported"]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast ratio of two colours such as #1c2430."""

    def luminance(colour: str) -> float:
        parts = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_contrast_is_enough(theme):
    style = (Path(cnnpipe.report.__file__).parent / "styles/style.css").read_text(encoding="utf-8")
    themes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    colours = dict(re.findall(r"--(\w+): (#\w{6});", themes[["light", "dark"].index(theme)]))
    for ground in ("ground", "raised", "banner"):
        for ink in ("ink", "muted", "accent", "good", "bad"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, f"{ink} on {ground}"

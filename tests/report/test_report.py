"""The page: valid, self-contained, escaped, reproducible; it names what is missing."""

import base64
import io
import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import cnnpipe.report
from cnnpipe.findings import ladder
from cnnpipe.networks import MODEL_NAMES
from cnnpipe.report.inputs import read_sources
from cnnpipe.report.sentences import in_brief, measured, verdicts, worthwhile
from cnnpipe.system.errors import InputError
from tests.helpers.contrast import contrast
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


@pytest.fixture(scope="module")
def document(page) -> Document:
    return Document(page)


SAID = {
    "speed": [
        "LeNet-5 trains as fast with this project’s layers as with torch’s: a step of 128 images "
        "takes 0.94 times torch’s time (quartiles 0.846 to 1.13)",
        "shown not to hold VGG trains as fast",
        "GFLOP/s of the forward pass: formula 10, compiled loops 50, vendor 100, peak 200.",
        f"Peak. {ladder.PEAK.change}",
        "Peak memory of a training step, own layers over torch’s: LeNet-5 0.902; VGG 0.91.",
    ],
    "confusion": ["The darkest cell beside the diagonal is its commonest confusion: “"],
    "filters": [
        "c1: 2 filters of 1×5×5 weights; without the most valuable one 20.00 points",
        "Outlined: 1 dead filter.",
        "1 of the 2 filters of VGG is dead, that is zero everywhere",
        "The most valuable filter of VGG is number 0 of c1: without it 20.00 percent",
        "of 2, removed one at a time, 0 cost more accuracy than chance explains",
    ],
    "attribution": [
        "LeNet-5 “A map shows what was learned.” Not decided.",
        "VGG “A map shows what was learned.” Not decided.",
        "0.25 gradients outside",
    ],
    "summary": [
        "1,290 comparisons found that each gives what PyTorch or SciPy gives, up to rounding",
        "Of 10 test images, which they had never seen, LeNet-5 reads 70.00 % and VGG reads 90.00 %",
        "0 of the 2 of LeNet-5 and 0 of the 2 of VGG cost more accuracy than chance explains",
        "the verdicts: 1 “not decided”",
    ],
    "scores": ["70.00 %", "50.00 % – 95.00 %", "61,706", "416,520", "1 min 23 s, 3 epochs"],
    "machine": ["cpu (Example 3 GHz), 2 threads, torch 2.14.1"],
    "parameters": ["models.vgg.lr"],
    "hashes of the data set": ["0fa7898d" * 8],
    "claims of the theory": [
        "“A neuron sees a patch.” Not decided. Of 1,000 gradients 3 lie outside",
        "3 gradients outside; exact: every pixel",
        "What does a neuron see?",
        "outside field",
        "The first 40 of 50 rows.",
    ],
    "hand-crafted features": ["0.0123 gradients outside (95 % interval −0.01 to 0.03)"],
    "several processes": [
        f"no logit of a test image moved by more than {TOLERANCE} (make torture)"
    ],
}


@pytest.mark.parametrize("phrases", SAID.values(), ids=SAID)
def test_results_are_stated(document, phrases):
    stated = document.text + " ".join(image["alt"] for image in document.all("img"))
    assert [phrase for phrase in phrases if phrase not in stated] == []


@pytest.mark.parametrize(
    ("cells", "times"),
    [
        (["0", "1.5", "25.0 %", "3", "1", "20.00", "5.00 to 35.00"], 2),  # a filter
        (["80.0 % to 100.0 %", "10", "95.00 %", "70.00 %", "40.00 % to 90.00 %"], 2),  # reliability
        (["c1", "1,039", "–"], 1),  # the last row of a claim's table that is shown
        (["c1", "1,040", "–"], 0),
        (["conv2d", "im2col", "cpu", "pass", "120", "0.25", "–"], 1),
        (["relu", "–", "cpu", "pass", "9", "–", "0.25"], 1),
        (["peak", "–", *["200", "100 %"] * 2], 1),
    ],
)
def test_numbers_are_tabulated(page, cells, times):
    heading, *others = cells
    row = f'<th scope="row">{heading}</th>' + "".join(f"<td>{cell}</td>" for cell in others)
    assert page.replace("\N{NO-BREAK SPACE}", " ").count(f"{row}</tr>") == times


def test_page_is_well_formed(page, document):
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')

    def named_by(attribute):
        return [each[attribute] for _, each in document.elements if attribute in each]

    ids = named_by("id")
    assert len(ids) == len(set(ids))
    assert set(named_by("aria-labelledby")) <= set(ids)
    assert {href[1:] for href in named_by("href") if href.startswith("#")} <= set(ids)


def test_page_asks_nobody_for_anything(page, document):
    assert not document.all("iframe", "object", "embed", "base")
    assert not any("src" in script for script in document.all("script"))
    for tag, attributes in document.elements:
        for name, value in attributes.items():
            if name in ("src", "srcset", "poster", "data") or (tag, name) == ("link", "href"):
                assert (value or "").startswith("data:"), f"<{tag} {name}={value}>"
    style = page[page.index("<style>") : page.index("</style>")]
    assert not re.search(r"url\(|@import|https?:", style)


def test_same_files_give_the_same_bytes(reports, page):
    assert page_of(reports) == page


def test_page_has_landmarks_a_skip_link_and_headings_in_order(document):
    for landmark in ("header", "main", "footer"):
        assert len(document.all(landmark)) == 1
    assert document.all("a")[0]["href"] == "#main"
    levels = [int(tag[1]) for tag, _ in document.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(deeper - level <= 1 for level, deeper in pairwise(levels))


def test_every_figure_has_its_finding_and_its_numbers_as_a_table(page, document):
    images = document.all("img")
    # Both models', two of the operators' race, one of a claim, two of the hand-crafted race.
    figures = 2 * (len(FIGURES) + len(EXPLAINED)) + 5
    assert len(document.all("figure")) == len(images) == figures
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
    pixels = np.random.default_rng(0).integers(0, 40, (300, 1245), dtype=np.uint8)
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


def test_every_chapter_and_section_is_one_press_away(document):
    pressed = [link["href"][1:] for link in document.all("a") if link["href"].startswith("#")]
    chapters = [article["id"] for article in document.all("article") if "id" in article]
    sections = [section["id"] for section in document.all("section")]
    assert chapters == ["start", "convolution", "networks", "learned", "appendix"]
    assert {*chapters, *sections} <= set(pressed)
    assert sections.index("draw") == 0


def test_tables_have_captions_and_scoped_headings(document):
    assert len(document.all("table")) == len(document.all("caption"))
    assert {heading.get("scope") for heading in document.all("th")} == {"col", "row"}


def test_files_that_figures_link_to_exist(reports, document):
    links = [a["href"] for a in document.all("a") if not a["href"].startswith("#")]
    assert len(links) > 2 * len(FIGURES)
    assert [link for link in links if not (reports / link).exists()] == []


def test_a_claim_whose_figure_and_table_are_gone_says_how_to_make_them(tmp_path):
    folder = write_reports(tmp_path)
    (folder / "principles" / "locality_fields.csv").unlink()
    assert "Not there yet: reports/principles/locality_fields.csv" in Document(page_of(folder)).text
    (folder / "figures" / "principles" / "locality.png").unlink()
    text = Document(page_of(folder)).text
    assert "Not there yet: reports/figures/principles/locality.png. dvc repro principles" in text


@pytest.mark.parametrize(("dataset", "stated"), [("mnist", True), ("digits", False)])
def test_the_full_budget_stands_beside_the_claims_of_its_data_set(dataset, stated, tmp_path):
    folder = write_reports(tmp_path)
    found = [("shown", 2.5), ("shown", 2.25), ("not decided", 0.5)]
    seeds = {
        str(seed): {"locality": {"verdict": verdict, "number": number}}
        for seed, (verdict, number) in enumerate(found, 1)
    }
    (folder / "claims.json").write_text(json.dumps({"dataset": dataset, "seeds": seeds}))
    sentence = "“shown” from 2 and “not decided” from 1 of 3 base seeds; 2.5, 2.25, 0.5"
    assert (sentence in Document(page_of(folder)).text) == stated


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
    assert evil not in page
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
        *("principles.json", "predictions/vgg.csv", "evaluation/vgg.json", "figures/vgg.json"),
        *("explanation/vgg.json", "explanation/vgg/filters.csv", "explanation/vgg/methods.csv"),
        *("figures/explanation/vgg/patches.png", "figures/vgg/journey.png"),
    ],
)
def test_page_stands_without_any_one_file(tmp_path, absent):
    folder = write_reports(tmp_path)
    (folder / absent).unlink()
    Document(page_of(folder))


def wrong(folder, one, other):
    """Results of both models, which take the given images for another class."""
    for name, images in zip(MODEL_NAMES, (one, other), strict=True):
        write_model(folder, name, images)


def without_a_rise(folder):
    write(folder / "curves" / "vgg.csv", pd.read_csv(folder / "curves" / "vgg.csv").head(2))


def failed(folder):
    report = json.loads((folder / "verify.json").read_text(encoding="utf-8"))
    write(folder / "verify.json", report | {"verdict": "fail"})


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        # VGG alone is right on images 1 and 4, LeNet-5 alone on none: p = 2 · (1/2)² = 0.5
        (
            lambda folder: None,
            "not decided",
            "VGG is better: of 10 test images, LeNet-5 alone classifies 0 correctly and VGG alone "
            "2 (exact McNemar test, p = 0.500). "
            "Chance alone makes such a difference often enough.",
        ),
        # LeNet-5 alone is right on all 10: p = 2 · (1/2)¹⁰ = 0.00195
        (
            lambda folder: wrong(folder, [], range(10)),
            "shown",
            "LeNet-5 is better: of 10 test images, LeNet-5 alone classifies 10 correctly and VGG "
            "alone 0 (exact McNemar test, p = 0.002).",
        ),
        (
            lambda folder: wrong(folder, [3], [3]),
            "measured",
            "LeNet-5 and VGG classify the same of 10 test images correctly.",
        ),
        (
            lambda folder: None,
            "measured",
            "The validation loss of VGG ends at 0.44, 10.0 % above its lowest value, of epoch 2.",
        ),
        (
            without_a_rise,
            "measured",
            "The validation loss of VGG ends at 0.4, its lowest value.",
        ),
        (
            failed,
            "shown not to hold",
            "This project’s operators compute what their references compute: 1,290 comparisons, "
            "not all within tolerance (conv2d (im2col), float32: forward is off by 0.25).",
        ),
    ],
)
def test_sentences_follow_from_the_numbers(tmp_path, change, kind, sentence):
    folder = write_reports(tmp_path)
    change(folder)
    sources = read_sources(folder, folder / "dataset.json", PARAMS)
    kinds = {made.text.replace("\N{NO-BREAK SPACE}", " "): made.kind for made in verdicts(sources)}
    assert kinds[sentence] == kind


def test_filters_that_are_worth_nothing_hardly_ever_seem_worth_something(tmp_path):
    folder = write_reports(tmp_path)
    vgg = read_sources(folder, folder / "dataset.json", PARAMS).models[1]
    rng = np.random.default_rng(0)
    seeming = 0
    for _ in range(100):
        wrong = rng.binomial(12, 0.5, size=224)  # of 12 answers that change, as by a coin
        filters = pd.DataFrame({"newly_wrong": wrong, "newly_right": 12 - wrong})
        seeming += worthwhile(replace(vgg, filters=filters)) > 0
    assert seeming <= 5


def test_the_curves_name_label_smoothing_and_the_least_loss_that_it_allows(tmp_path):
    folder = write_reports(tmp_path)
    assert [PARAMS["models"][name]["label_smoothing"] for name in MODEL_NAMES] == [0, 0.05]
    text = Document(page_of(folder)).text
    # −0.955·ln 0.955 − 9·0.005·ln 0.005 = 0.282
    assert text.count("label smoothing of 0.05, with which it cannot fall below 0.282") == 1
    assert text.count("VGG was trained with label smoothing of 0.05") == 1
    assert "LeNet-5 was trained with label smoothing" not in text


@pytest.mark.parametrize(
    ("confusions", "sentence"),
    [
        ([(9, 4, 7), (4, 9, 2)], "The commonest error of VGG: “9” read as “4”, 7 of 9 errors."),
        (
            [(9, 4, 4), (4, 9, 4), (3, 5, 1)],
            "The commonest errors of VGG: “4” read as “9” and “9” read as “4”, 4 of 9 errors each.",
        ),
        (
            [(9, 4, 1), (3, 5, 1)],
            "No confusion of VGG stands out: its 2 errors could lie among the pairs of classes as "
            "they do by chance.",
        ),
    ],
)
def test_confusions_are_named_with_their_ties_unless_chance_explains_them(
    tmp_path, confusions, sentence
):
    folder = write_reports(tmp_path)
    path = folder / "evaluation" / "vgg.json"
    scores = json.loads(path.read_text(encoding="utf-8"))
    counts = np.zeros((10, 10), int)
    for true, predicted, number in confusions:
        counts[true, predicted] = number
    write(path, scores | {"confusion": counts.tolist(), "test_errors": int(counts.sum())})
    sources = read_sources(folder, folder / "dataset.json", PARAMS)
    assert sentence in [verdict.text for verdict in verdicts(sources)]


def test_a_network_without_errors_has_no_commonest_confusion(tmp_path):
    folder = write_reports(tmp_path)
    write_model(folder, "vgg", [])
    text = Document(page_of(folder)).text
    assert "All cells beside the diagonal are empty: no image is taken for another class." in text
    assert text.count("is its commonest confusion") == 1, "of LeNet-5"


def test_which_network_is_better_is_said_of_corrupted_images_too(tmp_path):
    folder = write_reports(tmp_path)
    methods = {"method": ["lenet5", "vgg"], "training": "pipeline", "corrupted": [0.846, 0.683]}
    write(folder / "handcrafted" / "methods.csv", pd.DataFrame(methods))
    sources = read_sources(folder, folder / "dataset.json", PARAMS)
    better = [each.text for each in verdicts(sources) if "is better" in each.text]
    brief = [each.text for each in in_brief(sources) if each.section == "handcrafted"]
    for text in (*better, *brief):
        assert "LeNet-5 reads 84.6 % and VGG reads 68.3 %" in text.replace(
            "\N{NO-BREAK SPACE}", " "
        )
    for name in MODEL_NAMES:
        (folder / "evaluation" / f"{name}.json").unlink()
    sources = read_sources(folder, folder / "dataset.json", PARAMS)
    assert "handcrafted" not in [each.section for each in in_brief(sources)]


def test_no_operator_passes_with_an_error_above_one(tmp_path):
    folder = write_reports(tmp_path)
    report = json.loads((folder / "verify.json").read_text(encoding="utf-8"))
    report["checks"][0] |= {"tolerance": 16.0}
    report["checks"][0]["errors"]["forward"]["bounds"] = 7.54
    write(folder / "verify.json", report)
    checks = read_sources(folder, folder / "dataset.json", PARAMS).checks()
    assert [check.largest(["float32"]) for check in checks] == [["0.471"], ["–"]]


def test_an_interval_is_written_with_as_many_digits_as_tell_its_ends_apart():
    summary = {"number": 0.56483, "unit": "zero", "interval": [0.56469, 0.56494]}
    assert measured(summary).endswith("interval 0.5647 to 0.5649)")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_contrast_is_enough(theme):
    style = (Path(cnnpipe.report.__file__).parent / "styles/style.css").read_text(encoding="utf-8")
    pairs = re.findall(r"--(\w+): light-dark\(#(\w{6}), #(\w{6})\);", style)
    colours = {
        role: [*bytes.fromhex({"light": light, "dark": dark}[theme])] for role, light, dark in pairs
    }
    for ground in ("ground", "raised", "banner"):
        for ink in ("ink", "muted", "accent", "good", "bad"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, f"{ink} on {ground}"

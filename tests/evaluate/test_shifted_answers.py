"""What the page says where answers are averaged over shifted copies of each image."""

import json
import re

import pandas as pd
import pytest

from cnnpipe.compare.differences import _rows
from tests.helpers.chromium_page import (
    chromium,
    needs_chromium,
    opened,
    write_page,
    write_untrained_page,
)
from tests.helpers.written_reports import Document, page_of, write_reports

AVERAGED = "averaged over 9 shifted copies"


def average(folder, *names):
    for name in names:
        path = folder / "evaluation" / f"{name}.json"
        scores = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(scores | {"copies": 9}), encoding="utf-8")


@pytest.fixture
def reports(tmp_path):
    return write_reports(tmp_path / "reports")


def test_without_shifts_the_page_has_no_word_of_them(reports):
    text = Document(page_of(reports)).text
    assert "shifted copies" not in text
    assert "Multiply-adds per image" in text


def test_each_accuracy_says_so_of_the_model_it_is_of(reports):
    average(reports, "lenet5")
    page = page_of(reports)
    text = Document(page).text.replace("\N{NO-BREAK SPACE}", " ")
    assert f"LeNet-5 classifies 70.00 % of 10 test images correctly, {AVERAGED}" in text
    [picture] = re.findall(r'alt="(LeNet-5 classifies 7 of 10[^"]*)"', page)
    assert picture.startswith(
        f"LeNet-5 classifies 7 of 10 test images correctly, {AVERAGED}; its 3"
    )
    assert f"of 10 test images classified correctly, {AVERAGED}" in text
    assert "Multiply-adds per copy" in text
    assert "Multiply-adds per image" in text, "VGG's answers are to the image alone"
    assert "VGG classifies 90.00 % of 10 test images correctly (1 error" in text
    assert "These answers average over copies of each test image" in text
    assert "Here each image is seen once, as it is." in text


def test_a_comparison_names_what_answers_average_over():
    scores = {"test_accuracy": 0.5, "test_errors": 5, "parameters": 3, "macs": 4}
    scores |= {"test_loss": 0.5, "ece": 0.1}
    rows = {label: cells for label, *cells in _rows(scores, scores | {"copies": 9}, None)}
    assert rows["Answers averaged over"] == ["the image alone", "9 shifted copies", "–"]
    assert "Multiply-adds per copy" in rows
    assert "Answers averaged over" not in {label for label, *_ in _rows(scores, scores, None)}


@needs_chromium
def test_one_pass_is_not_held_against_averaged_answers(tmp_path):
    """Answers to the image alone are compared with the page's own; those of nine copies are not."""
    write_untrained_page(tmp_path)
    answers = pd.DataFrame({"index": range(355), "label": 0, "prediction": 1, "confidence": 0.5})
    reports = write_reports(tmp_path / "reports")
    for name in ("lenet5", "vgg"):
        path = reports / "predictions" / f"{name}.csv"
        answers.assign(probability_of_label=0.25).to_csv(path, index=False)
    with chromium() as browser:
        notes, captions = [], []
        for averaged in ((), ("vgg",)):
            average(reports, *averaged)
            page_file = write_page(reports, tmp_path / "models", tmp_path / "raw")
            with opened(browser, page_file) as page:
                note = page.locator("#draw-app [data-part=agreement]")
                note.filter(has_text="PyTorch").wait_for()
                notes.append(note.inner_text())
                button = page.locator("#draw-app [data-part=presets] button").first
                captions.append(button.get_attribute("aria-label"))
    assert notes[0].startswith("Measured in this browser just now")
    assert notes[1].startswith("This page answers for the one image that it is given.")
    assert AVERAGED not in captions[0]
    assert captions[1].endswith(f"VGG: 1, 50.0 % ({AVERAGED})")
    assert captions[1].count(AVERAGED) == 1

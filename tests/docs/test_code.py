"""The code that people paste, of README, docs/models.md and examples/: it does what they say."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

from cnnpipe.data.digits import digits_files
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.data.raw import write_raw
from cnnpipe.models import TrainedNetwork, build_model, save_model
from cnnpipe.summarize.card import model_card
from tests.helpers.chromium_page import evaluation_of
from tests.helpers.project import ROOT


def blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.S)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, where the code runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_lines_of_the_readme_train_a_network(folder, capsys):
    [lines] = blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len([line for line in lines.splitlines() if line]) <= 12
    exec(lines, {})
    percent, _, rest = capsys.readouterr().out.splitlines()[-1].partition("%")
    assert float(percent) > 95
    assert rest == " of 355 new digits are read correctly"


def test_the_example_trains_a_network(folder, capsys, monkeypatch):
    """On digits, of which its five epochs make 60 steps instead of 2,345."""
    file = ROOT / "examples" / "mnist.py"
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 50
    write_raw(folder / "digits", "digits", digits_files().items())
    monkeypatch.setattr(sys, "argv", ["mnist.py", "digits"])
    runpy.run_path(str(file), run_name="__main__")
    *epochs, answer = capsys.readouterr().out.splitlines()
    assert len(epochs) == 5
    assert float(answer.partition("%")[0]) > 85
    assert answer.endswith("% of 355 test images are classified correctly")


@pytest.mark.filterwarnings("ignore")  # of the exporter, about itself
def test_the_page_about_models_runs_and_so_does_the_card(folder, capsys):
    torch.manual_seed(0)
    model, path = build_model("lenet5"), folder / "data" / "models" / "lenet5.safetensors"
    settings = {"activation": "relu", "pooling": "max", "classes": 10}
    save_model(path, model, "lenet5", settings, Normalization(0.13, 0.31))
    write_raw(folder / "data" / "raw", "digits", digits_files().items())
    card = folder / "reports" / "cards" / "lenet5.md"
    card.parent.mkdir(parents=True)
    card.write_text(model_card(evaluation_of(path), settings, epochs=12), encoding="utf-8")

    values = {}
    for block in blocks((ROOT / "docs" / "models.md").read_text(encoding="utf-8")):
        exec(block, values)
    printed = capsys.readouterr().out
    assert "\n61706 parameters\n" in printed
    assert float(re.search(r"(\S+)% told apart", printed)[1]) > 75
    assert TrainedNetwork.load("even-or-odd.safetensors").classes == ("even", "odd")

    hub = folder / "hub" / "lenet5"
    [use] = blocks((hub / "README.md").read_text(encoding="utf-8"))
    exec(use.replace('"lenet5.safetensors"', f'"{hub}/lenet5.safetensors"'), values)
    assert values["probabilities"].shape == (1, 10)

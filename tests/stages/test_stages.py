"""Every stage, run by DVC in a new repository, on a folder of pictures of three classes."""

import re
from html import escape

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from cnnpipe.benchmark import turns
from tests.helpers.stages import dvc_here, repro_here, run_here, run_there
from tests.helpers.third_network import NAME, TITLE, add_third_network
from torture.project import DVC, SMALL, Project

CLASSES = ("<none>", "a $ of ones", "Siebener-Ä")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The pipeline after one `dvc repro`; each test restores what it changes.

    Without `verify`: tests/verify and tests/functional have its stage, its cases and operators.
    """
    settings = SMALL | {"data.name": "folder", "train.batch_size": 16}
    project = Project.create(tmp_path_factory.mktemp("a project with spaces and ümläuts"), settings)
    project.trust_operators()
    scans = load_digits()
    for digit, name in zip((0, 1, 7), CLASSES, strict=True):
        folder = project.folder / "data/own" / name
        folder.mkdir()
        for number, scan in enumerate(scans.images[scans.target == digit]):
            ink_on_paper = Image.fromarray(255 - (15 * scan).astype("uint8"))
            ink_on_paper.resize((56, 64)).save(folder / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "LEAST_ROUNDS", 2)  # of the benchmark
        repro_here(project)
    return project


def test_all_results_are_there(project):
    metrics = project.json("reports/metrics.json")
    assert metrics["lenet5"]["parameters"] == 61_111  # 595 fewer than with ten classes
    for name in ("lenet5", "vgg"):
        assert metrics[name]["test_accuracy"] > 0.6  # three classes: guessing gives a third
        evaluation = project.json(f"reports/evaluation/{name}.json")
        assert [row["class"] for row in evaluation["per_class"]] == sorted(CLASSES)
        images = evaluation["images"]
        accuracy = 1 - metrics[name]["test_errors"] / images
        assert metrics[name]["test_accuracy"] == pytest.approx(accuracy)
        assert project.json("reports/timings.json")[name]["train_seconds"] > 0
        card = (project.folder / f"reports/cards/{name}.md").read_text(encoding="utf-8")
        assert f"| errors | {metrics[name]['test_errors']} |" in card
        assert list((project.folder / "reports/figures" / name).glob("*.png"))
        assert list((project.folder / "reports/figures/explanation" / name).glob("*.png"))
        explained = project.json(f"reports/explanation/{name}.json")
        assert explained["verdict"] in ("shown", "shown not to hold", "not decided")
    findings = project.json("reports/principles.json")
    assert len(findings) == 11
    for finding in findings.values():
        files = [finding["figure"], *finding["tables"].values()]
        assert all((project.folder / "reports" / file).is_file() for file in files)
    assert project.json("reports/handcrafted.json")["verdict"]
    page = (project.folder / "reports/index.html").read_text(encoding="utf-8")
    assert "This run used a custom data set, not MNIST" in page
    assert all(f">{escape(name)}<" in page for name in CLASSES)


def test_nothing_runs_twice(project):
    assert repro_here(project) == []


def test_the_same_parameters_give_the_same_results(project, tmp_path):
    """All but wall-clock times, and the page that shows them, in another process, on one core."""
    one_core = {"LOKY_MAX_CPU_COUNT": "1"}
    with project.copied(tmp_path / "again", one_core) as again:
        unlike = ("summarize", "benchmark", "report")
        stages = [stage for stage in again.stages() if stage not in unlike]
        again.forget(*stages)
        run_there(again, *stages)
        before, after = project.snapshot(), again.snapshot()
    assert before.keys() == after.keys()
    changed = {path for path in before if before[path] != after[path]}
    times = {"timings/lenet5.json", "timings/vgg.json", "handcrafted_timings.json"}
    assert changed <= {f"reports/{name}" for name in times}


def test_a_third_network_goes_through_all_stages_of_a_model(project, tmp_path):
    """Its file, its name in the list and its section of params.yaml are enough."""
    names = ("lenet5", "vgg", NAME)
    with project.copied(tmp_path / "third") as third:
        add_third_network(third.folder)
        listed = dvc_here(third, "stage", "list", "--name-only").split()
        assert listed == third.stages()
        own = [stage for stage in listed if stage.endswith(f"@{NAME}")]
        assert own == [f"{kind}@{NAME}" for kind in ("train", "evaluate", "visualize", "explain")]
        run_there(third, "validate", *own, "summarize", "report")
        metrics = third.json("reports/metrics.json")
        page = (third.folder / "reports" / "index.html").read_text(encoding="utf-8")
        card = (third.folder / f"reports/cards/{NAME}.md").read_text(encoding="utf-8")
    assert list(metrics) == list(names)
    assert metrics[NAME]["parameters"] == 8 * (25 + 1) + 3 * (8 * 7 * 7 + 1)
    assert metrics[NAME]["test_accuracy"] > 0.6  # three classes: guessing gives a third
    headings = re.findall(r'<h3 id="(\w+)-score">(.*?)</h3>', page)
    assert headings == [("lenet5", "LeNet-5"), ("vgg", "VGG"), (NAME, TITLE)]
    assert "| channels | 8 |" in card


def test_a_bad_parameter_stops_before_anything_is_removed(project):
    params = project.folder / "params.yaml"
    good, before = params.read_bytes(), project.snapshot()
    project.set("models.lenet5.activation", "gelu")
    result = project.run(*DVC, "repro", check=False)
    assert result.returncode != 0
    assert "models.lenet5.activation: got 'gelu'" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert project.snapshot() == before
    params.write_bytes(good)


def test_damaged_data_never_reaches_training(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    images = project.folder / "data/raw/train-images-idx3-ubyte"
    good = images.read_bytes()
    images.chmod(0o644)
    images.write_bytes(good[:5000] + bytes([good[5000] ^ 1]) + good[5001:])
    result = run_here("train@lenet5")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "train-images-idx3-ubyte" in result.stderr
    images.write_bytes(good)

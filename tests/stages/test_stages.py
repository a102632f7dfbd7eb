"""Every stage, run by DVC in a new repository, on real digits that need no network."""

import sys

import pytest

from torture.project import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The pipeline after one `dvc repro`; the tests below run in order and build on each other."""
    project = Project.create(tmp_path_factory.mktemp("a project with spaces and ümläuts"))
    project.repro()
    return project


def test_all_results_are_there(project):
    status = project.run(sys.executable, "-m", "dvc", "status").stdout
    assert "up to date" in status
    metrics = project.json("reports/metrics.json")
    assert metrics["lenet5"]["parameters"] == 61_706
    for name in ("lenet5", "vgg"):
        assert metrics[name]["test_accuracy"] > 0.3  # ten classes: guessing gives a tenth
        images = project.json(f"reports/evaluation/{name}.json")["images"]
        accuracy = 1 - metrics[name]["test_errors"] / images
        assert metrics[name]["test_accuracy"] == pytest.approx(accuracy)
        assert project.json("reports/timings.json")[name]["train_seconds"] > 0
        assert list((project.folder / "reports/figures" / name).glob("*.png"))
        assert list((project.folder / "reports/figures/explanation" / name).glob("*.png"))
        explained = project.json(f"reports/explanation/{name}.json")
        assert explained["verdict"] in ("supported", "partly supported", "not supported")
    findings = project.json("reports/principles.json")
    assert len(findings) == 11
    for finding in findings.values():
        files = [finding["figure"], *finding["tables"].values()]
        assert all((project.folder / "reports" / file).is_file() for file in files)
    assert project.json("reports/handcrafted.json")["verdict"]
    page = (project.folder / "reports/index.html").read_text(encoding="utf-8")
    assert "digits" in page


def test_nothing_runs_twice(project):
    assert "Running stage" not in project.repro()


def test_the_same_parameters_give_the_same_results(project):
    """All but wall-clock times, and the page that shows them; tests/verify has `verify`."""
    before = project.snapshot()
    stages = ("train", "evaluate", "visualize", "explain", "principles", "handcrafted")
    project.repro("--force", "--single-item", "validate", "download", *stages)
    after = project.snapshot()
    assert before.keys() == after.keys()
    changed = {path for path in before if before[path] != after[path]}
    times = {"timings/lenet5.json", "timings/vgg.json", "handcrafted_timings.json"}
    assert changed <= {f"reports/{name}" for name in times}


def test_a_models_own_setting_trains_that_model_only(project):
    project.set("models.vgg.epochs", 2)
    models = ("train@lenet5", "evaluate@lenet5", "train@vgg")
    output = project.repro("download", "verify", *models)
    ran = [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
    assert ran == ["validate", "train@vgg"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("models.vgg.lr", "fast", "models.vgg.lr: got 'fast'"),
        ("train.epochs", 0, "train.epochs: got 0"),
        ("models.lenet5.activation", "gelu", "models.lenet5.activation: got 'gelu'"),
    ],
)
def test_a_bad_parameter_stops_before_anything_is_removed(project, key, value, message):
    good = (project.folder / "params.yaml").read_text(encoding="utf-8")
    before = project.snapshot()
    project.set(key, value)
    result = project.run(sys.executable, "-m", "dvc", "repro", check=False)
    assert result.returncode != 0
    assert message in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert project.snapshot() == before
    (project.folder / "params.yaml").write_text(good, encoding="utf-8")


def test_damaged_data_never_reaches_training(project):
    images = project.folder / "data/raw/train-images-idx3-ubyte"
    good = images.read_bytes()
    images.chmod(0o644)
    images.write_bytes(good[:5000] + bytes([good[5000] ^ 1]) + good[5001:])
    result = project.run(sys.executable, "-m", "stages.train", "lenet5", check=False)
    assert result.returncode == 1
    assert "train-images-idx3-ubyte" in result.stderr
    assert "Traceback" not in result.stderr
    images.write_bytes(good)

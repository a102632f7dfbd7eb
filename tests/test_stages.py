"""Every stage, run by DVC in a fresh repository, on real digits that need no network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
COPIED = ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", "cnnpipe", "stages")


QUICK: dict[str, object] = {
    "explain.removal_images": 20,
    "explain.attribution.images": 10,
    "explain.attribution.networks": 1,
    "explain.attribution.window": 14,
    "principles.equivalence.steps": 3,
    "principles.output_size.size": 4,
    "principles.locality.images": 8,
    "principles.sharing.train_sizes": [50],
    "principles.sharing.seeds": 2,
    "principles.sharing.steps": 3,
    "principles.translation.seeds": 2,
    "principles.translation.steps": 3,
    "principles.pooling.seeds": 2,
    "principles.pooling.steps": 3,
    "principles.hierarchy.images": 100,
    "principles.hierarchy.steps": 5,
    "principles.activation.depths": [2, 3],
    "principles.activation.trained_depths": [2],
    "principles.activation.seeds": 2,
    "principles.activation.steps": 3,
    "principles.inductive_bias.sizes": [60, 120],
    "principles.inductive_bias.seeds": 2,
    "principles.inductive_bias.steps": 3,
    "principles.filters.draws": 100,
    "handcrafted.training": 100,
    "handcrafted.test": 20,
    "handcrafted.words": 8,
    "handcrafted.epochs": 1,
    "benchmark.batch_size": 2,
    "benchmark.batch_sizes": [1, 2],
    "benchmark.seconds": 0.001,
}
"""Budgets of the experiments, so small that their verdicts mean nothing."""


class Project:
    """A copy of the pipeline in a git repository of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        self.run("git", "init", "--quiet")
        self.run(sys.executable, "-m", "dvc", "init", "--quiet")
        self.set("data.name", "digits")
        self.set("train.epochs", 2)
        self.set("models.vgg.epochs", 1)
        self.set("models.vgg.blocks", [[4], [8]])
        for key, value in QUICK.items():
            self.set(key, value)

    def set(self, key: str, value: object) -> None:
        path = self.folder / "params.yaml"
        yaml = YAML()
        tree = section = yaml.load(path.read_text(encoding="utf-8"))
        *parents, last = key.split(".")
        for parent in parents:
            section = section[parent]
        section[last] = value
        with path.open("w", encoding="utf-8") as file:
            yaml.dump(tree, file)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        result = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert not check or result.returncode == 0, result.stdout + result.stderr
        return result

    def repro(self, *targets: str, check: bool = True) -> str:
        result = self.run(sys.executable, "-m", "dvc", "repro", *targets, check=check)
        return result.stdout + result.stderr

    def json(self, path: str):
        return json.loads((self.folder / path).read_text(encoding="utf-8"))

    def snapshot(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for top in ("data", "reports")
            for path in (self.folder / top).rglob("*")
            if path.is_file()
        }


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The pipeline after one `dvc repro`; the tests below run in order and build on each other."""
    project = Project(tmp_path_factory.mktemp("a project with spaces and ümläuts"))
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


def test_a_models_own_setting_reruns_that_model_only(project):
    project.set("models.vgg.epochs", 2)
    output = project.repro()
    ran = [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
    assert "train@vgg" in ran
    assert not {"download", "verify", "train@lenet5", "evaluate@lenet5"} & set(ran)


def test_the_same_parameters_give_the_same_results(project):
    """All but wall-clock times, and the page that shows them."""
    before = project.snapshot()
    stages = ("train", "evaluate", "visualize", "explain", "principles", "handcrafted")
    project.repro("--force", *stages)
    after = project.snapshot()
    assert before.keys() == after.keys()
    changed = {path for path in before if before[path] != after[path]}
    times = ("timings/lenet5.json", "timings/vgg.json", "handcrafted_timings.json")
    assert changed <= {f"reports/{name}" for name in times}


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

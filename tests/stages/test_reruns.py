"""What a change of code or parameters runs again, asked of DVC without training anything.

Every stage but `validate` is taken as done: empty files stand for its results, and `dvc commit`
writes them into dvc.lock.
"""

import pytest
import torch

from cnnpipe.system import hardware
from tests.helpers.stages import repo_of, repro_here
from tests.helpers.third_network import NAME, add_third_network
from torture.project import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project in which everything is up to date; each test restores what it changes."""
    project = Project.create(tmp_path_factory.mktemp("reruns"), {"data.name": "digits"})
    project.around = {"CUDA_VISIBLE_DEVICES": ""}  # `auto` is the CPU
    project.repro("validate")
    project.pretend(*project.stages()[1:])
    with repo_of(project) as repo:
        repo.commit(force=True)
    return project


def stale(project):
    """The stages that `dvc repro` would run now."""
    with repo_of(project) as repo:
        return sorted(repo.status())


def validate(project):
    """Run the stage as it is here, on a machine without a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "choose_device", lambda name: torch.device("cpu"))
        assert repro_here(project, "validate") == ["validate"]


@pytest.fixture
def restored(project):
    networks = project.folder / "cnnpipe" / "networks"
    names = ["params.yaml", "params.schema.json", "dvc.lock", "data/own/README.md"]
    files = [project.folder / name for name in names]
    files += project.folder.glob("reports/validate/*")
    files += [*project.folder.glob("cnnpipe/[pv]a*/*.py"), networks / "__init__.py"]
    before = {path: path.read_bytes() for path in files}
    yield project
    for path, content in before.items():
        path.write_bytes(content)
    (networks / f"{NAME}.py").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("epochs", 2, ["report", "train@vgg"]),
        # `dvc exp run -S +models.vgg.algorithm=im2col`: verify reads the model's section, too.
        ("algorithm", "im2col", ["report", "train@vgg", "verify"]),
    ],
)
def test_a_models_own_setting_trains_that_model_only(restored, key, value, expected):
    restored.set(f"models.vgg.{key}", value)
    validate(restored)
    assert stale(restored) == expected


def test_comments_and_docstrings_of_the_parameters_code_run_only_validate(restored):
    for package in ("params", "validate"):
        for module in (restored.folder / "cnnpipe" / package).glob("*.py"):
            text = module.read_text(encoding="utf-8")
            text = text.replace("Settings of a training run.", "Changed.")
            module.write_text(f"{text}\n# A comment.\n", encoding="utf-8")
    assert stale(restored) == ["validate"]
    restored.repro("validate")
    assert "Changed." in (restored.folder / "params.schema.json").read_text(encoding="utf-8")
    assert stale(restored) == []


def test_another_network_leaves_the_others_as_they_are(restored):
    add_third_network(restored.folder)
    restored.repro("validate")
    once = {"summarize", "principles", "handcrafted", "benchmark", "report"}
    of_it = {f"{stage}@{NAME}" for stage in ("train", "evaluate", "visualize", "explain")}
    assert set(stale(restored)) == once | of_it


def test_a_setting_of_the_machine_runs_only_validate(restored):
    """On this machine without a GPU `auto` and `cpu` are the same device."""
    for key, value in (("checkpoint", 5), ("processes", 2), ("device", "cpu")):
        restored.set(f"runtime.{key}", value)
    assert stale(restored) == ["validate"]
    restored.repro("validate")
    assert stale(restored) == []


def test_own_data_runs_only_validate_while_another_data_set_is_used(restored):
    readme = restored.folder / "data/own/README.md"
    readme.write_text("changed", encoding="utf-8")
    assert stale(restored) == ["validate"]
    validate(restored)
    assert stale(restored) == []

"""docs/experiments.md, executed: each of its console blocks in order, in a small project."""

import os
import re
import shutil

import pytest

from tests.helpers.project import ROOT
from tests.helpers.stages import repo_of
from torture.project import SMALL, Project

PAGE = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A committed project that seems to have run on MNIST: a file with the stage's name is all
    that each stage has made, but for the metrics."""
    folder = tmp_path_factory.mktemp("experiments")
    project = Project.create(folder / "project", SMALL | {"data.name": "mnist"})
    project.trust_operators()
    project.pretend(*project.stages())
    shutil.copy2(ROOT / "reports" / "metrics.json", project.folder / "reports")
    with repo_of(project) as repo:
        repo.commit(force=True)
    project.commit()
    project.run("git", "init", "--quiet", "--bare", "--initial-branch=main", "../team.git")
    project.run("git", "remote", "add", "origin", "../team.git")
    return project


def commands_and_output(block: str) -> tuple[str, list[str]]:
    """A block's commands as a script, and the lines that the page shows of their output."""
    commands, shown = [], []
    for line in block.replace("\\\n", "").splitlines():
        if line.startswith("$ "):
            commands.append(line.removeprefix("$ "))
        elif line.strip() != "…":
            shown.append(line)
    return "\n".join(commands), shown


def masked(text: str) -> str:
    """A text without what differs from run to run: numbers, hashes, the width of a table."""
    text = re.sub(r"\b[0-9a-f]{7}\b", "#", text)
    text = re.sub(r"-?\d[\d.,]*", "0", text)
    return re.sub(r"-+", "-", " ".join(text.split()))


def missing(shown: list[str], output: str) -> list[str]:
    """The lines of the page that the output does not have; DVC chooses the order of stages."""
    said = masked(output)
    return [line for line in shown if masked(line) not in said]


def test_the_page_does_what_it_says(project: Project) -> None:
    for block in BLOCKS:
        script, shown = commands_and_output(block)
        script = script.replace("/srv/", f"{project.folder.parent}{os.sep}")
        result = project.run("bash", "-euc", script, check=False)
        output = result.stdout + result.stderr
        print(f"{script}\n{output}")
        assert (result.returncode != 0) == ("ERROR: " in block), output
        assert not missing(shown, output)
        left = project.run("git", "status", "--short").stdout
        assert bool(left) == ("exp apply" in block), "no other block changes the project"
        if "exp show" in block:
            assert max(map(len, result.stdout.splitlines())) <= 150, "it fits a screen"

    # What was made of MNIST is back, and no experiment on other data has it.
    with repo_of(project) as repo:
        repo.checkout()
    assert (project.folder / "data/models/vgg.safetensors").read_text() == "train@vgg"
    assert (project.folder / "reports/principles.json").read_text() == "principles"
    kept = project.run("git", "ls-tree", "-r", "--name-only", "tanh", "reports").stdout.split()
    assert {"reports/metrics.json", "reports/benchmark.json"} < set(kept)
    assert not [path for path in kept if "principles" in path or "figures/vgg" in path]
    lock = project.run("git", "show", "tanh:dvc.lock").stdout
    assert "reports/metrics.json" in lock
    assert "reports/index.html" not in lock

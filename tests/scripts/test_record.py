"""scripts/record.py on a pipeline of one quick stage: seeds run, are kept, go on, are gathered."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from cnnpipe.params.loading import load_params
from cnnpipe.system.errors import InputError
from cnnpipe.validate.schema import Params
from tests.helpers.project import ROOT

SEEDS = "1,2,3"
PIPELINE = """\
stages:
  evaluate:
    matrix:
      model: [lenet5, vgg]
    cmd: python evaluate.py ${item.model}
    deps: [evaluate.py]
    params: [seed, models.lenet5, evaluate]
    outs:
      - reports/evaluation/${item.model}.json: {cache: false}
      - reports/predictions/${item.model}.csv
      - reports/timings/${item.model}.json
"""
STAGE = """\
import json, os, sys, time
from pathlib import Path
from ruamel.yaml import YAML

# Seed s gets the first s − 1 of four images wrong, each as class 9.
name, params = sys.argv[1], YAML(typ="safe").load(Path("params.yaml").read_text())
seed = params["seed"]
with Path(os.environ["DVC_ROOT"], "ran.txt").open("a") as file:
    file.write(f"{seed} {params['models']['lenet5']['epochs']} {params['evaluate']['shift']}\\n")
if Path(os.environ["DVC_ROOT"], "slow").exists():
    time.sleep(600)
if seed == 3 and Path(os.environ["DVC_ROOT"], "fail").exists():
    sys.exit("Error: the loss is nan at step 7")
for folder in ("evaluation", "predictions", "timings"):
    Path("reports", folder).mkdir(parents=True, exist_ok=True)
right = {"dataset": "toy", "test_errors": seed - 1, "test_accuracy": 1 - (seed - 1) / 4}
Path(f"reports/evaluation/{name}.json").write_text(json.dumps(right))
rows = [f"{k},{k},{9 if k < seed - 1 else k},0.5,0.5" for k in range(4)]
head = "index,label,prediction,confidence,probability_of_label"
Path(f"reports/predictions/{name}.csv").write_text("\\n".join([head, *rows]))
timing = {"train_seconds": 60 * seed, "threads": int(os.environ["OMP_NUM_THREADS"])}
Path(f"reports/timings/{name}.json").write_text(json.dumps(timing))
"""
SETTINGS = """\
lenet5: {models.lenet5.epochs: 6, evaluate.shift: 1}
vgg: {}
"""
IGNORED = (
    "/reports/predictions\n/reports/timings\n/.cnnpipe/\n/ran.txt\n/fail\n/slow\n__pycache__/\n"
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.delenv("DVC_ROOT", raising=False)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@localhost")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "pro ject"
    (folder / "experiments").mkdir(parents=True)
    (folder / "experiments" / "record.yaml").write_text(SETTINGS, encoding="utf-8")
    (folder / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    (folder / "evaluate.py").write_text(STAGE, encoding="utf-8")
    (folder / ".gitignore").write_text(IGNORED, encoding="utf-8")
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (folder / "params.yaml").write_text(params, encoding="utf-8")
    run(folder, "git", "init", "--quiet")
    run(folder, sys.executable, "-m", "dvc", "init", "--quiet")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "start")
    return folder


def run(folder: Path, *command: str) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def record(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "record.py", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
    )


def ran(folder: Path) -> list[str]:
    """Seed, epochs and shift of each run of the stage."""
    return sorted((folder / "ran.txt").read_text(encoding="utf-8").splitlines())


def test_seeds_run_in_parallel_and_finished_ones_are_kept(project: Path) -> None:
    params = (project / "params.yaml").read_bytes()
    (project / "fail").touch()
    first = record(project, "lenet5", "--seeds", SEEDS, "--jobs", "2")
    assert first.returncode == 1
    assert "record-lenet5-3: failed: Error: the loss is nan at step 7" in first.stdout
    assert first.stderr.splitlines()[-1].startswith("Error: record-lenet5-3: failed, see ")
    assert "mean of 2 seeds" in first.stdout
    records = project / "reports" / "records.json"
    assert not records.exists(), "a mean that lacks a seed is no record"
    assert ran(project) == ["1 6 1", "2 6 1", "3 6 1"]

    (project / "fail").unlink()
    second = record(project, "lenet5", "--seeds", SEEDS)
    assert second.returncode == 0, second.stderr
    assert ran(project) == ["1 6 1", "2 6 1", "3 6 1", "3 6 1"], "only the third ran again"

    # errors 0, 1, 2 of 4: accuracies 1, 3/4, 1/2; the vote gets image 0 wrong by two of three
    found = json.loads(records.read_text(encoding="utf-8"))["lenet5"]
    assert (found["mean_test_accuracy"], found["sd_test_accuracy"]) == (0.75, 0.25)
    assert found["vote"]["test_errors"] == 1
    assert [row["seed"] for row in found["runs"]] == [1, 2, 3]
    assert [row["train_seconds"] for row in found["runs"]] == [60, 120, 180]
    assert found["overrides"] == {"models.lenet5.epochs": 6, "evaluate.shift": 1}
    assert found["commit"] == run(project, "git", "rev-parse", "HEAD").strip()
    assert "mean of 3 seeds: 75.000\N{NO-BREAK SPACE}% ± 25.000\N{NO-BREAK SPACE}%" in second.stdout

    assert (project / "params.yaml").read_bytes() == params
    changes = run(project, "git", "status", "--porcelain").split()
    assert changes == ["??", "reports/"], "nothing but the records appeared"


@pytest.mark.skipif(os.name != "posix", reason="ends a group of processes")
def test_an_interrupted_run_changes_nothing_and_continues(project: Path) -> None:
    (project / "slow").touch()
    with subprocess.Popen(
        [sys.executable, ROOT / "scripts" / "record.py", "lenet5", "--seeds", "2"],
        cwd=project,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 300
        while not (project / "ran.txt").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 143
    assert said.splitlines()[-1].startswith("Interrupted; finished seeds are kept")
    assert run(project, "git", "status", "--porcelain") == ""

    (project / "slow").unlink()
    again = record(project, "lenet5", "--seeds", "2")
    assert again.returncode == 0, again.stderr
    found = json.loads((project / "reports" / "records.json").read_text(encoding="utf-8"))
    assert (found["lenet5"]["mean_test_accuracy"], found["lenet5"]["sd_test_accuracy"]) == (
        0.75,
        None,
    )


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, for what needs no process of its own."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("record")


def test_uncommitted_changes_are_refused(project: Path) -> None:
    with (project / "params.yaml").open("a", encoding="utf-8") as file:
        file.write("# a change\n")
    result = record(project)
    assert result.returncode == 1
    assert result.stderr == (
        "Error: params.yaml: changed since the last commit; commit first: a record names one\n"
    )
    assert not (project / "ran.txt").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file; run from the project's root"),
        ("lenet5: {}\n", "expected a mapping of lenet5 and vgg"),
        ("lenet5: 1\nvgg: {}\n", "expected a mapping of lenet5 and vgg"),
        ("lenet5: {\n", "not YAML: "),
    ],
)
def test_bad_settings_are_refused(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str | None,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        script.SETTINGS.parent.mkdir()
        script.SETTINGS.write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as problem:
        script.read_settings()
    assert str(problem.value).startswith(f"{script.SETTINGS}: {said}")
    assert "\n" not in str(problem.value)


def test_the_settings_name_parameters_that_exist(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    params = load_params(Params).model_dump()
    for section in script.read_settings().values():
        for key, value in section.items():
            place = params
            for part in key.split("."):
                place = place[part]
            # YAML's 15 is an integer, and a float where one is expected.
            assert isinstance(value, (int, float) if isinstance(place, float) else type(place)), key


@pytest.mark.parametrize("seeds", ["", "1,1", "1,x", "-1", "1,01"])
def test_bad_seeds_are_refused(script: ModuleType, seeds: str) -> None:
    with pytest.raises(InputError, match=f"^--seeds: got {seeds!r}; expected different integers"):
        script.read_seeds(seeds)


def test_seeds(script: ModuleType) -> None:
    assert script.read_seeds("1,2, 30") == [1, 2, 30]


def test_a_folder_outside_a_clone_is_refused(tmp_path: Path) -> None:
    result = record(tmp_path)
    assert (result.returncode, result.stderr) == (
        1,
        "Error: no dvc.yaml here; run from the project's root\n",
    )

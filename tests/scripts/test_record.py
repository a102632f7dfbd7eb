"""scripts/record.py on a pipeline of one quick stage, with DVC's own queue."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from cnnpipe.params.loading import load_params
from cnnpipe.system.errors import InputError
from cnnpipe.validate.schema import Params
from scripts import record
from tests.helpers.project import ROOT
from tests.helpers.small_project import small_project
from tests.helpers.stages import dvc_here
from torture.project import Project

RECORD = (sys.executable, str(ROOT / "scripts" / "record.py"))
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


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = {
        "experiments/record.yaml": SETTINGS,
        "dvc.yaml": PIPELINE,
        "evaluate.py": STAGE,
        ".gitignore": IGNORED,
        "params.yaml": (ROOT / "params.yaml").read_text(encoding="utf-8"),
    }
    project = small_project(tmp_path_factory.mktemp("pristine"), files)
    project.commit()
    return project.folder


@pytest.fixture
def project(pristine: Path, tmp_path: Path) -> Project:
    return small_project(Path(shutil.copytree(pristine, tmp_path / "pro ject")))


def ran(project: Project) -> list[str]:
    """Seed, epochs and shift of each run of the stage."""
    try:
        return sorted((project.folder / "ran.txt").read_text(encoding="utf-8").splitlines())
    except FileNotFoundError:
        return []


def start_slow(project: Project, *command: str) -> subprocess.Popen[bytes]:
    """Start the command, and wait until its first stage runs."""
    (project.folder / "ran.txt").unlink(missing_ok=True)
    process, deadline = project.start(*RECORD, *command), time.monotonic() + 120
    while not ran(project):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return process


def test_seeds_run_on_the_queue_and_finished_ones_are_kept(project: Project) -> None:
    folder = project.folder
    params = (folder / "params.yaml").read_bytes()
    (folder / "fail").touch()
    first = project.run(*RECORD, "lenet5", "--seeds", "1,2,3", "--jobs", "2", check=False)
    assert first.returncode == 1
    assert "mean of 2 seeds" in first.stdout
    assert first.stderr.splitlines()[-1].startswith(
        "Error: record-lenet5-3: failed; `dvc queue logs record-lenet5-3` shows why"
    )
    logs = dvc_here(project, "queue", "logs", "record-lenet5-3")
    assert "Error: the loss is nan at step 7" in logs
    records = folder / "reports" / "records.json"
    assert not records.exists(), "a mean that lacks a seed is no record"
    assert ran(project) == ["1 6 1", "2 6 1", "3 6 1"]

    (folder / "fail").unlink()
    output = project.run(*RECORD, "lenet5", "--seeds", "1,2,3").stdout
    assert ran(project) == ["1 6 1", "2 6 1", "3 6 1", "3 6 1"], "only the third ran again"
    assert "mean of 3 seeds ± sd: 75.000\N{NO-BREAK SPACE}% ± 25.000\N{NO-BREAK SPACE}%" in output

    # errors 0, 1, 2 of 4: accuracies 1, 3/4, 1/2; the vote gets image 0 wrong by two of three
    found = json.loads(records.read_text(encoding="utf-8"))["lenet5"]
    assert (found["mean_test_accuracy"], found["sd_test_accuracy"]) == (0.75, 0.25)
    assert found["vote"]["test_errors"] == 1
    assert [row["seed"] for row in found["runs"]] == [1, 2, 3]
    assert [row["train_seconds"] for row in found["runs"]] == [60, 120, 180]
    cores = os.cpu_count() or 1
    assert [row["threads"] for row in found["runs"]] == [max(1, cores // 2)] * 2 + [cores]
    assert found["overrides"] == {"models.lenet5.epochs": 6, "evaluate.shift": 1}
    assert found["commit"] == project.run("git", "rev-parse", "HEAD").stdout.strip()

    assert (folder / "params.yaml").read_bytes() == params
    changes = project.run("git", "status", "--porcelain").stdout.split()
    assert changes == ["??", "reports/"], "nothing but the records appeared"


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_the_same_command_continues_after_a_crash_and_an_interruption(project: Project) -> None:
    (project.folder / "slow").touch()
    command = ["lenet5", "--seeds", "1,2", "--jobs", "1"]

    with start_slow(project, *command) as process:
        process.kill()
        for one in project.processes():
            one.kill()
    tasks = dvc_here(project, "queue", "status")
    assert "Running" in tasks
    assert "Queued" in tasks

    with start_slow(project, *command) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=300) == 143
    last = project.log.read_text(encoding="utf-8").splitlines()[-1]
    assert last.startswith("Interrupted; finished seeds are kept")
    tasks = dvc_here(project, "queue", "status")
    assert "Running" not in tasks
    assert "Queued" not in tasks
    assert not [one for one in project.processes() if "evaluate.py" in one.cmdline()]
    assert project.run("git", "status", "--porcelain").stdout == ""

    (project.folder / "slow").unlink()
    project.run(*RECORD, *command)
    records = project.json("reports/records.json")
    assert records["lenet5"]["mean_test_accuracy"] == 0.875


def test_uncommitted_changes_and_other_tasks_on_the_queue_are_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    dvc_here(project, "exp", "run", "--queue", "--name", "mine", "evaluate@vgg")
    result = CliRunner().invoke(record.main, ["lenet5"])
    assert result.output.startswith("Error: mine: on DVC's queue, which the record needs")
    with (project.folder / "params.yaml").open("a", encoding="utf-8") as file:
        file.write("# a change\n")
    result = CliRunner().invoke(record.main, ["lenet5"])
    assert result.output == (
        "Error: params.yaml: changed since the last commit; commit first: a record names one\n"
    )
    assert not ran(project)
    assert "Queued" in dvc_here(project, "queue", "status")


def test_a_folder_outside_a_clone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(record.main)
    assert result.output == "Error: no dvc.yaml here; run from the project's root\n"


@pytest.mark.parametrize("content", ["resnet: {}\n", "lenet5: 1\nvgg: {}\n"])
def test_bad_settings_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr(record, "SETTINGS", tmp_path / "record.yaml")
    record.SETTINGS.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"record\.yaml: expected a mapping of lenet5, vgg$"):
        record.read_settings()


def test_the_settings_name_parameters_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    params = load_params(Params).model_dump()
    for section in record.read_settings().values():
        for key, value in section.items():
            place = params
            for part in key.split("."):
                place = place[part]
            # YAML's 15 is an integer, and a float where one is expected.
            assert isinstance(value, (int, float) if isinstance(place, float) else type(place)), key


def test_seeds() -> None:
    assert record.read_seeds("1,2, 30") == [1, 2, 30]
    for seeds in ("", "1,1", "1,x", "-1", "1,01"):
        with pytest.raises(InputError, match=f"^--seeds: got {seeds!r}; expected different"):
            record.read_seeds(seeds)

"""scripts/record.py on a pipeline of one quick stage, with DVC's own queue."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import psutil
import pytest
from click.testing import CliRunner

from cnnpipe.params.loading import load_params
from cnnpipe.system.errors import InputError
from cnnpipe.validate.schema import Params
from tests.helpers.project import ROOT
from tests.helpers.small_project import DVC, attempt, commit, create, run, start

RECORD = (sys.executable, ROOT / "scripts" / "record.py")
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


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = create(
        tmp_path / "pro ject",
        {
            "experiments/record.yaml": SETTINGS,
            "dvc.yaml": PIPELINE,
            "evaluate.py": STAGE,
            ".gitignore": IGNORED,
            "params.yaml": (ROOT / "params.yaml").read_text(encoding="utf-8"),
        },
    )
    commit(folder)
    return folder


def ran(folder: Path) -> list[str]:
    """Seed, epochs and shift of each run of the stage."""
    try:
        return sorted((folder / "ran.txt").read_text(encoding="utf-8").splitlines())
    except FileNotFoundError:
        return []


def start_slow(folder: Path, *command: str) -> subprocess.Popen[str]:
    """Start the command, and wait until its first stage runs."""
    (folder / "ran.txt").unlink(missing_ok=True)
    process = start(folder, *RECORD, *command)
    while not ran(folder):
        assert process.poll() is None
        time.sleep(0.1)
    return process


def processes(folder: Path) -> list[psutil.Process]:
    """What runs in the project or in DVC's copies of it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
    return found


def test_seeds_run_on_the_queue_and_finished_ones_are_kept(project: Path) -> None:
    params = (project / "params.yaml").read_bytes()
    (project / "fail").touch()
    first = attempt(project, *RECORD, "lenet5", "--seeds", "1,2,3", "--jobs", "2")
    assert first.returncode == 1
    assert "mean of 2 seeds" in first.stdout
    assert first.stderr.splitlines()[-1].startswith(
        "Error: record-lenet5-3: failed; `dvc queue logs record-lenet5-3` shows why"
    )
    logs = run(project, *DVC, "queue", "logs", "record-lenet5-3")
    assert "Error: the loss is nan at step 7" in logs
    records = project / "reports" / "records.json"
    assert not records.exists(), "a mean that lacks a seed is no record"
    assert ran(project) == ["1 6 1", "2 6 1", "3 6 1"]

    (project / "fail").unlink()
    output = run(project, *RECORD, "lenet5", "--seeds", "1,2,3")
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
    assert found["commit"] == run(project, "git", "rev-parse", "HEAD").strip()

    assert (project / "params.yaml").read_bytes() == params
    changes = run(project, "git", "status", "--porcelain").split()
    assert changes == ["??", "reports/"], "nothing but the records appeared"


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_the_same_command_continues_after_a_crash_and_an_interruption(project: Path) -> None:
    (project / "slow").touch()
    command = ["lenet5", "--seeds", "1,2", "--jobs", "1"]

    with start_slow(project, *command) as process:
        process.kill()
        for one in processes(project):
            one.kill()
    tasks = run(project, *DVC, "queue", "status")
    assert "Running" in tasks
    assert "Queued" in tasks

    with start_slow(project, *command) as process:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 143
    assert output.splitlines()[-1].startswith("Interrupted; finished seeds are kept")
    tasks = run(project, *DVC, "queue", "status")
    assert "Running" not in tasks
    assert "Queued" not in tasks
    assert not [one for one in processes(project) if "evaluate.py" in one.cmdline()]
    assert run(project, "git", "status", "--porcelain") == ""

    (project / "slow").unlink()
    run(project, *RECORD, *command)
    found = json.loads((project / "reports" / "records.json").read_text(encoding="utf-8"))
    assert found["lenet5"]["mean_test_accuracy"] == 0.875


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, for what needs no process of its own."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("record")


def test_uncommitted_changes_and_other_tasks_on_the_queue_are_refused(
    script: ModuleType, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    run(project, *DVC, "exp", "run", "--queue", "--name", "mine", "evaluate@vgg")
    result = CliRunner().invoke(script.main, ["lenet5"])
    assert result.output.startswith("Error: mine: on DVC's queue, which the record needs")
    with (project / "params.yaml").open("a", encoding="utf-8") as file:
        file.write("# a change\n")
    result = CliRunner().invoke(script.main, ["lenet5"])
    assert result.output == (
        "Error: params.yaml: changed since the last commit; commit first: a record names one\n"
    )
    assert not ran(project)
    assert "Queued" in run(project, *DVC, "queue", "status")


def test_a_folder_outside_a_clone_is_refused(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(script.main)
    assert result.output == "Error: no dvc.yaml here; run from the project's root\n"


@pytest.mark.parametrize("content", ["resnet: {}\n", "lenet5: 1\nvgg: {}\n"])
def test_bad_settings_are_refused(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr(script, "SETTINGS", tmp_path / "record.yaml")
    script.SETTINGS.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"record\.yaml: expected a mapping of lenet5, vgg$"):
        script.read_settings()


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


def test_seeds(script: ModuleType) -> None:
    assert script.read_seeds("1,2, 30") == [1, 2, 30]
    for seeds in ("", "1,1", "1,x", "-1", "1,01"):
        with pytest.raises(InputError, match=f"^--seeds: got {seeds!r}; expected different"):
            script.read_seeds(seeds)

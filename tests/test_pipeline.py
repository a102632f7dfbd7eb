"""dvc.yaml against the code: what each stage lists is what it imports, reads and writes."""

import importlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

from cnnpipe.networks import NETWORKS
from cnnpipe.params.section import Section
from cnnpipe.report.code import QUOTED
from tests.helpers.project import ROOT

PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = {name: stage.get("do", stage) for name, stage in PIPELINE["stages"].items()}
OF_A_MODEL = [name for name, stage in PIPELINE["stages"].items() if "foreach" in stage]
CODE = ("cnnpipe", "stages")
PARAMETERS = ("cnnpipe.params", "cnnpipe.validate")


@pytest.fixture(scope="module")
def imports():
    return grimp.build_graph(*CODE, cache_dir=None)


def module_of(stage: str) -> str:
    python, option, module, *_ = STAGES[stage]["cmd"].split()
    assert (python, option) == ("python", "-m")
    return module


def file_of(module: str) -> Path:
    path = Path(*module.split("."))
    return path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")


def outs(stage: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        path: options
        for out in stage["outs"]
        for path, options in (out.items() if isinstance(out, dict) else [(out, {})])
    }


def covers(listed: Path, file: Path) -> bool:
    return file == listed or listed in file.parents


@pytest.mark.parametrize("stage", STAGES)
def test_stage_lists_the_modules_that_it_imports(stage, imports):
    module = module_of(stage)
    upstream = {module, *imports.find_upstream_modules(module)}
    if stage != "validate":  # its values are under `params:`; it reads them and changes none
        upstream -= {name for name in upstream if name.startswith(PARAMETERS)}
    if stage in OF_A_MODEL:  # of the networks it builds one; tests/stages/test_reruns.py tries it
        upstream -= {name for name in upstream if name.startswith("cnnpipe.networks")}
        upstream |= {"cnnpipe.networks.${key}"}
    needed = {file_of(name) for name in upstream} - {
        Path("cnnpipe/__init__.py"),
        Path("stages/__init__.py"),
    }
    if stage == "report":
        needed.add(Path(QUOTED))
    listed = [Path(dep) for dep in STAGES[stage]["deps"] if Path(dep).parts[0] in CODE]
    missing = {str(file) for file in needed if not any(covers(dep, file) for dep in listed)}
    needless = {str(dep) for dep in listed if not any(covers(dep, file) for file in needed)}
    assert not missing, f"{stage} imports modules that it does not list under deps"
    assert not needless, f"{stage} lists modules that it does not import"


def test_every_stage_script_is_a_stage():
    scripts = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"}
    assert scripts == set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_script_is_thin(stage):
    source = (ROOT / file_of(module_of(stage))).read_text(encoding="utf-8")
    code = [line for line in source.splitlines() if line.strip()]
    assert len(code) <= 60, "a stage parses, loads, calls and saves; logic belongs into cnnpipe"


def test_models_are_those_of_the_parameters():
    assert OF_A_MODEL == ["train", "evaluate", "visualize", "explain"]
    assert {PIPELINE["stages"][name]["foreach"] for name in OF_A_MODEL} == {"${models}"}


def test_a_network_has_its_file():
    for name, network in NETWORKS.items():
        assert network.__module__ == f"cnnpipe.networks.{name}"


def test_the_page_follows_the_full_budget_of_the_claims_once_it_is_measured():
    """Until then there is no such file, and DVC stops at what is missing."""
    listed = "reports/claims.json" in STAGES["report"]["deps"]
    assert listed == (ROOT / "reports/claims.json").exists()


def test_wrong_operators_never_train():
    assert "reports/verify.json" in STAGES["train"]["deps"]


def keys(section: type[Section], prefix: str = "") -> Iterator[str]:
    """The keys of params.yaml that settings read, a section that is read whole as one."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if (
            isinstance(kind, type)
            and issubclass(kind, Section)
            and kind.model_config["extra"] == "ignore"
        ):
            yield from keys(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


OF_MODELS = {
    "train": {"models.${key}", "train"},
    "verify": {"algorithms.json"},
    "handcrafted": {"models.lenet5", "train", "architectures.json"},
}
"""What stages read of `models`, with what a model's section does not override; the other stages
read which models there are, or what they are built with."""


@pytest.mark.parametrize(
    "stage", [name for name in STAGES if name not in ("validate", "report", "summarize")]
)
def test_stage_lists_the_parameters_that_it_reads(stage):
    """Of some keys validate writes what a stage reads of them into a file of reports/validate."""
    settings = importlib.import_module(module_of(stage)).Settings
    read = set(keys(settings))
    if "models" in read:
        read |= OF_MODELS.get(stage, {"architectures.json"})
    if "runtime" in read:
        read.add("device.json")
    if folder := read & {"data.path", "data.test"}:
        read = read - folder | {"folder.json"}
    files = [Path(dep) for dep in STAGES[stage]["deps"] if dep.startswith("reports/validate/")]
    listed = {*STAGES[stage].get("params", ()), *(file.name for file in files)}
    assert read - {"models", "runtime"} == listed - {"passed.json"}


def test_every_stage_that_removes_results_runs_after_validate():
    """DVC removes a stage's outputs before it runs; bad parameters must stop it before that."""
    made = {out: name for name, stage in STAGES.items() for out in outs(stage)}

    def upstream(stage):
        for dep in STAGES[stage]["deps"]:
            for out, maker in made.items():
                if Path(dep) == Path(out) or Path(dep) in Path(out).parents:
                    yield maker
                    yield from upstream(maker)

    for stage in set(STAGES) - {"validate"}:
        assert "validate" in set(upstream(stage)), stage


def test_code_dependencies_are_few():
    code = [dep for stage in STAGES.values() for dep in stage["deps"] if Path(dep).parts[0] in CODE]
    assert len(code) <= 125
    files = [dep for dep in code if Path(dep).suffix and not dep.startswith("stages/")]
    named = {"cnnpipe/layers.py", "cnnpipe/models.py", "cnnpipe/networks/${key}.py", QUOTED}
    assert set(files) == named, "a dependency is a folder"


def test_results_of_git_and_of_dvc_are_kept_apart():
    """An output is either committed (`cache: false`) or ignored by git, never both or neither."""
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    ignored = [Path(line.strip("/")) for line in ignored if line.startswith("/")]
    for name, stage in STAGES.items():
        for path, options in outs(stage).items():
            committed = options.get("cache") is False
            hidden = any(covers(pattern, Path(path)) for pattern in ignored)
            assert committed != hidden, f"{name}: {path}"


def test_git_for_windows_changes_no_byte_and_so_no_hash(tmp_path):
    """It comes with core.autocrlf, which writes "\\r\\n" for "\\n" where nothing forbids it."""
    files = {"a.py": b"1\n", "b.csv": b"2\n", "LICENSE": b"3\n", "c.png": b"\x89PNG\r\n\x1a\n\0\n"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    shutil.copy2(ROOT / ".gitattributes", tmp_path)
    git = ("git", "-C", tmp_path, "-c", "core.autocrlf=true")
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    for name in files:
        (tmp_path / name).unlink()
    subprocess.run([*git, "checkout", "--quiet", "."], check=True)
    assert {name: (tmp_path / name).read_bytes() for name in files} == files

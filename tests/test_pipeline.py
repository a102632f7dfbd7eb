"""dvc.yaml against the code: what each stage lists is what it imports, reads and writes."""

from pathlib import Path

import grimp
import pytest
from ruamel.yaml import YAML

from cnnpipe.params import MODEL_NAMES, load_params

ROOT = Path(__file__).parent.parent
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = PIPELINE["stages"]
CODE = ("cnnpipe", "stages")


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


def covers(listed: Path, file: Path) -> bool:
    return file == listed or listed in file.parents


@pytest.mark.parametrize("stage", STAGES)
def test_stage_lists_the_modules_that_it_imports(stage, imports):
    module = module_of(stage)
    needed = {file_of(module), *map(file_of, imports.find_upstream_modules(module))}
    listed = [Path(dep) for dep in STAGES[stage]["deps"] if Path(dep).parts[0] in CODE]
    missing = {str(file) for file in needed if not any(covers(dep, file) for dep in listed)}
    needless = {str(dep) for dep in listed if not any(covers(dep, file) for file in needed)}
    assert not missing, f"{stage} imports modules that it does not list under deps"
    assert not needless, f"{stage} lists modules that it does not import"


def test_every_stage_script_is_a_stage():
    scripts = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__", "command"}
    assert scripts == set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_script_is_thin(stage):
    source = (ROOT / file_of(module_of(stage))).read_text(encoding="utf-8")
    code = [line for line in source.splitlines() if line.strip()]
    assert len(code) <= 60, "a stage parses, loads, calls and saves; logic belongs into cnnpipe"


@pytest.mark.parametrize("stage", [name for name in STAGES if "matrix" in STAGES[name]])
def test_matrix_runs_over_all_models(stage):
    assert STAGES[stage]["matrix"]["model"] == list(MODEL_NAMES)


def test_wrong_operators_never_train():
    assert "reports/verify.json" in STAGES["train"]["deps"]


def test_parameters_that_stages_name_exist():
    tree = load_params(ROOT / "params.yaml").model_dump()
    named = {key for stage in STAGES.values() for key in stage.get("params", [])}
    for key in named:
        for name in MODEL_NAMES if "${item.model}" in key else [""]:
            section = tree
            for part in key.replace("${item.model}", name).split("."):
                assert part in section, key
                section = section[part]


def test_results_of_git_and_of_dvc_are_kept_apart():
    """An output is either committed (`cache: false`) or ignored by git, never both or neither."""
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    ignored = [Path(line.strip("/")) for line in ignored if line.startswith("/")]
    for name, stage in STAGES.items():
        for out in stage["outs"]:
            [(path, options)] = out.items() if isinstance(out, dict) else [(out, {})]
            committed = options.get("cache") is False
            hidden = any(covers(pattern, Path(path)) for pattern in ignored)
            assert committed != hidden, f"{name}: {path}"

import importlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from cnnpipe.verify.cases import argument_grid
from cnnpipe.verify.verification import Comparison, verify
from tests.helpers.project import ROOT

stage = importlib.import_module("stages.verify")
PARAMS = ROOT / "params.yaml"


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty project with the real params.yaml, and the cases of the ReLU alone."""
    (tmp_path / "params.yaml").write_text(PARAMS.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    verify_with(monkeypatch, torch.relu)


def verify_with(monkeypatch: pytest.MonkeyPatch, relu: object) -> None:
    cases = [
        replace(case, dtypes=(torch.float32,))
        for case in argument_grid()
        if case.operator == "relu"
    ]

    def relu_alone(params: object, seed: int, **_: object) -> list[Comparison]:
        return list(verify(params, seed, operators={"relu": relu}, cases=cases))

    monkeypatch.setattr(stage, "verify_side_by_side", relu_alone)


def run() -> Result:
    return CliRunner().invoke(stage.main)


def set_parameter(before: str, after: str) -> None:
    params = Path("params.yaml")
    text = params.read_text(encoding="utf-8")
    assert text.count(before) == 1
    params.write_text(text.replace(before, after), encoding="utf-8")


def written() -> tuple[Any, str]:
    """The report as JSON and as a page."""
    page = Path("reports/verify.md").read_text(encoding="utf-8")
    return json.loads(Path("reports/verify.json").read_text(encoding="utf-8")), page


def test_a_pass_is_written_and_shown() -> None:
    result = run()
    assert result.exit_code == 0, result.output
    assert "| relu     |" in result.output
    assert result.output.splitlines()[-1].startswith("verify: 9 cases, ")
    report, page = written()
    assert report["verdict"] == "pass"
    assert report["torch"] == torch.__version__
    assert page.startswith("# Verification")


def test_a_failure_leaves_the_evidence_and_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    verify_with(monkeypatch, lambda input: input.clamp(min=0))  # passes the gradient at zero
    result = run()
    assert result.exit_code == 1
    assert re.fullmatch(
        r"Error: the operators failed verification; worst: relu, float32 on \S+, input [^:]+: "
        r"input_gradient\S* is off by \S+ rounding bounds \(tolerance 1\), \S+ absolute",
        result.output.splitlines()[-1],
    )
    report, page = written()
    assert report["verdict"] == "fail"
    assert "FAIL" in page


def test_the_same_seed_gives_the_same_bytes() -> None:
    reports = [Path("reports/verify.json"), Path("reports/verify.md")]
    run()
    first = [path.read_bytes() for path in reports]
    run()
    assert [path.read_bytes() for path in reports] == first


def test_the_tolerance_comes_from_the_parameters() -> None:
    set_parameter("float32: 1.0", "float32: 0.25")
    run()
    assert written()[0]["checks"][0]["tolerance"] == 0.25


@pytest.mark.parametrize("named", [False, True])
def test_the_gpus_algorithm_is_verified_where_it_is_used(
    named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: set[str] = set()

    def watch(params: object, seed: int, algorithms: list[str], **_: object) -> list[Comparison]:
        verified.update(algorithms)
        case = next(case for case in argument_grid() if case.operator == "relu")
        return list(verify(params, seed, cases=[case]))

    monkeypatch.setattr(stage, "verify_side_by_side", watch)
    if named:
        set_parameter("algorithm: auto", "algorithm: implicit_gemm")
    result = run()
    assert result.exit_code == 0, result.output
    assert {"auto", "direct", "winograd"} < verified
    assert ("implicit_gemm" in verified) == named

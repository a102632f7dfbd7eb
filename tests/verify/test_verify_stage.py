import importlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from cnnpipe.verify.cases import argument_grid
from cnnpipe.verify.verification import Comparison, verify
from tests.helpers.project import ROOT

stage = importlib.import_module("stages.verify")
PARAMS = ROOT / "params.yaml"


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty project with the real params.yaml, and the cases of the ReLU alone."""
    (tmp_path / "params.yaml").write_text(PARAMS.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    verify_with(monkeypatch, torch.relu)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def verify_with(monkeypatch: pytest.MonkeyPatch, relu: object) -> None:
    cases = [
        replace(case, dtypes=(torch.float32,))
        for case in argument_grid()
        if case.operator == "relu"
    ]

    def relu_alone(params: object, seed: int, **_: object) -> Iterator[Comparison]:
        return verify(params, seed, operators={"relu": relu}, cases=cases)

    monkeypatch.setattr(stage, "verify", relu_alone)


def wrong_at_zero(input: torch.Tensor) -> torch.Tensor:
    return input.clamp(min=0)


def run() -> Result:
    return CliRunner().invoke(stage.main)


def test_a_pass_is_written_and_shown() -> None:
    result = run()
    assert result.exit_code == 0, result.output
    assert "| relu     |" in result.output
    assert result.output.splitlines()[-1].startswith("verify: 9 cases, ")
    report = json.loads(Path("reports/verify.json").read_text(encoding="utf-8"))
    assert report["verdict"] == "pass"
    assert report["torch"] == torch.__version__
    assert Path("reports/verify.md").read_text(encoding="utf-8").startswith("# Verification")


def test_a_failure_leaves_the_evidence_and_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    verify_with(monkeypatch, wrong_at_zero)
    result = run()
    assert result.exit_code == 1
    error = result.output.splitlines()[-1]
    assert error.startswith("Error: the operators failed verification; worst: relu, float32 on ")
    assert "input_gradient" in error
    assert "rounding bounds (tolerance 1)" in error
    assert json.loads(Path("reports/verify.json").read_text(encoding="utf-8"))["verdict"] == "fail"
    assert "FAIL" in Path("reports/verify.md").read_text(encoding="utf-8")


def test_the_same_seed_gives_the_same_bytes() -> None:
    run()
    first = Path("reports/verify.json").read_bytes(), Path("reports/verify.md").read_bytes()
    run()
    assert (
        Path("reports/verify.json").read_bytes(), Path("reports/verify.md").read_bytes()
    ) == first  # fmt: skip


def test_the_tolerance_comes_from_the_parameters() -> None:
    params = Path("params.yaml")
    text = params.read_text(encoding="utf-8")
    assert text.count("float32: 1.0") == 1
    params.write_text(text.replace("float32: 1.0", "float32: 0.25"), encoding="utf-8")
    run()
    report = json.loads(Path("reports/verify.json").read_text(encoding="utf-8"))
    assert report["checks"][0]["tolerance"] == 0.25


def test_bad_parameters_end_in_one_line_before_anything_is_written() -> None:
    params = Path("params.yaml")
    text = params.read_text(encoding="utf-8")
    params.write_text(text.replace("winograd: 16.0", "magic: 2.0"), encoding="utf-8")
    result = run()
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert "verify.normwise" in result.output
    assert not Path("reports").exists()


@pytest.mark.parametrize("named", [False, True])
def test_the_gpus_algorithm_is_verified_where_it_is_used(
    named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: set[str] = set()

    def watch(params: object, seed: int, algorithms: list[str]) -> Iterator[Comparison]:
        verified.update(algorithms)
        case = next(case for case in argument_grid() if case.operator == "relu")
        return verify(params, seed, cases=[case])

    monkeypatch.setattr(stage, "verify", watch)
    if named:
        params = Path("params.yaml")
        text = params.read_text(encoding="utf-8")
        assert text.count("algorithm: auto") == 1
        params.write_text(
            text.replace("algorithm: auto", "algorithm: implicit_gemm"), encoding="utf-8"
        )
    result = run()
    assert result.exit_code == 0, result.output
    assert {"auto", "direct", "winograd"} < verified
    assert ("implicit_gemm" in verified) == named

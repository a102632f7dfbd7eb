"""The rows of verification for PyTorch's transforms: they find what a plain call does not show."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from cnnpipe.verify.cases import argument_grid
from cnnpipe.verify.transforms import TRANSFORMS
from cnnpipe.verify.verification import OPERATORS, summarize, verify
from tests.helpers.oracle import tolerances


class Gate(torch.autograd.Function):
    """ReLU as an autograd.Function: right in a plain call; compilers see the forward alone."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.detach().clamp_min(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * (ctx.saved_tensors[0] != 0)


def report(operator: str, implementation: Any) -> dict[str, Any]:
    cases = [case for case in argument_grid() if case.operator == operator][:1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        comparisons = verify(
            tolerances(),
            1,
            operators={operator: implementation},
            algorithms=["auto"],
            cases=cases,
            transforms=TRANSFORMS,
        )
        return summarize(list(comparisons), 1)


@pytest.mark.parametrize("operator", ["conv2d", "max_pool2d", "tanh", "linear", "cross_entropy"])
def test_the_operators_pass(operator: str) -> None:
    checks = report(operator, OPERATORS[operator])["transforms"]
    assert {check["transform"] for check in checks} == set(TRANSFORMS)
    assert {check["verdict"] for check in checks} == {"pass"}
    orders = {check["transform"]: "second_order" in check["errors"] for check in checks}
    assert orders == {"compile": False, "export": False, "func": True, "vmap": True}


def test_a_derivative_that_compilers_lose_is_found() -> None:
    found = report("relu", lambda input: Gate.apply(input))
    assert {check["verdict"] for check in found["checks"]} == {"pass"}
    verdicts = {check["transform"]: check["verdict"] for check in found["transforms"]}
    assert verdicts == {"compile": "fail", "export": "fail", "func": "pass", "vmap": "pass"}
    assert found["verdict"] == "fail"

"""Claim: the size of a convolution's or a pooling's output.

    H_out = ⌊(H + 2·padding − dilation·(k − 1) − 1) / stride + 1⌋

Experiment: the operators run on every combination of input size, kernel size, stride, padding and
dilation of a grid, and the sides of their outputs are compared with the formula. Each case for the
height is paired with a random one for the width, so that exchanging the axes would show. Where the
formula gives less than 1 no window fits, and the operator must refuse.

The library allocates its outputs by the same formula, so the windows are also counted by sliding
one along the axis as long as it fits.

Refuted by a single case in which formula, count and output do not all agree. (With `ceil_mode`,
which rounds up, they do not: the claim does not include that option.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from itertools import product
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from cnnpipe.findings.finding import Finding
from cnnpipe.findings.wording import count
from cnnpipe.functional import (
    CONV2D_ALGORITHMS,
    UnsupportedError,
    avg_pool2d,
    conv2d,
    max_pool2d,
)
from cnnpipe.params.principles import OutputSizeParams
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.figures.output_size import draw
from cnnpipe.principles.study import Study

CLAIM = Claim(
    name="output_size",
    sentence=(
        "The output has ⌊(H + 2·padding − dilation·(k − 1) − 1) / stride + 1⌋ pixels on a side."
    ),
    question="Does the formula give the size of every output?",
    limits=(
        "Sizes beyond the grid, though nothing in the formula changes there; and ceil_mode, "
        "which rounds up instead of down."
    ),
    draw=draw,
)


class Case(NamedTuple):
    """The arguments along one axis."""

    size: int
    kernel_size: int
    stride: int
    padding: int
    dilation: int


COMPILED_EVERY = 20
"""Of the grid's cases, those with compiled loops: each shape is compiled, which takes 20 ms."""

Formula = Callable[[Case], int]
Operator = Callable[[Tensor, Case, Case], Tensor]


def measure(study: Study) -> Finding:
    params = study.params.output_size
    return judge(compare(grid(params), study.seed), curves(params), params)


def formula(case: Case) -> int:
    """The claim, in exact fractions."""
    size, kernel_size, stride, padding, dilation = case
    return math.floor(Fraction(size + 2 * padding - dilation * (kernel_size - 1) - 1, stride) + 1)


def counted(case: Case) -> int:
    """How many windows fit, by sliding one along the padded axis."""
    size, kernel_size, stride, padding, dilation = case
    start, windows = -padding, 0
    while start + dilation * (kernel_size - 1) < size + padding:  # the window's last entry
        start, windows = start + stride, windows + 1
    return windows


def grid(params: OutputSizeParams) -> list[Case]:
    """Every combination of arguments."""
    return [Case(*values) for values in product(*(_values(params, name) for name in Case._fields))]


def _values(params: OutputSizeParams, argument: str) -> range:
    return range(0 if argument == "padding" else 1, getattr(params, argument) + 1)


def operators() -> dict[str, tuple[Operator, Callable[[Case], bool]]]:
    """Name → the operator, and which arguments it is tried with."""

    def convolution(algorithm: str) -> Operator:
        def run(images: Tensor, y: Case, x: Case) -> Tensor:
            kernel = torch.ones(1, 1, y.kernel_size, x.kernel_size)
            return conv2d(images, kernel, None, *_pairs(y, x), algorithm=algorithm)

        return run

    def maximum(images: Tensor, y: Case, x: Case) -> Tensor:
        pooled = max_pool2d(images, (y.kernel_size, x.kernel_size), *_pairs(y, x))
        assert isinstance(pooled, Tensor)
        return pooled

    def average(images: Tensor, y: Case, x: Case) -> Tensor:
        stride, padding, _ = _pairs(y, x)
        return avg_pool2d(images, (y.kernel_size, x.kernel_size), stride, padding)

    def is_pooling(case: Case) -> bool:  # as torch's: padding of at most half a window
        return 2 * case.padding <= case.kernel_size

    def computes(name: str, case: Case) -> bool:
        is_tried = name != "compiled" or sum(case) % COMPILED_EVERY == 0
        return is_tried and _computes(convolution(name), case)

    return {
        **{
            f"conv2d, {name}": (convolution(name), partial(computes, name))
            for name in CONV2D_ALGORITHMS
        },
        "max_pool2d": (maximum, is_pooling),
        "avg_pool2d": (average, lambda case: is_pooling(case) and case.dilation == 1),
    }


def _computes(operator: Operator, case: Case) -> bool:
    """Whether the algorithm takes on such windows; what fits nowhere, all have to refuse."""
    try:
        operator(torch.ones(1, 1, case.size, case.size), case, case)
    except UnsupportedError:
        return False
    except ValueError:
        pass
    return True


def _pairs(y: Case, x: Case) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    return (y.stride, x.stride), (y.padding, x.padding), (y.dilation, x.dilation)


def compare(cases: list[Case], seed: int, formula: Formula = formula) -> pd.DataFrame:
    """Every operator on every case that it takes.

    Returns:
        columns operator, cases, sizes (how many of them have an output), refused (no window fits,
        and the operator raises ValueError), disagree, and example: the first case that disagrees.
    """
    rows = []
    for name, (operator, takes) in operators().items():
        taken = [case for case in cases if takes(case)]
        sizes = sum(counted(case) > 0 for case in taken)
        if not sizes:  # an algorithm of another device
            continue
        disagreeing = list(_disagreements(operator, taken, seed, formula))
        rows.append(
            {
                "operator": name,
                "cases": len(taken),
                "sizes": sizes,
                "refused": len(taken) - sizes,
                "disagree": len(disagreeing),
                "example": _describe(disagreeing[0], formula) if disagreeing else "",
            }
        )
    return pd.DataFrame(rows)


def _disagreements(
    operator: Operator, cases: list[Case], seed: int, formula: Formula
) -> Iterator[Case]:
    """Cases where formula, count and output differ; the width's case is valid, and another."""
    generator = torch.Generator().manual_seed(seed)
    widths = [case for case in cases if counted(case) > 0]
    partners = torch.randint(0, len(widths), (len(cases),), generator=generator).tolist()
    for y, partner in zip(cases, partners, strict=True):
        x = widths[partner]
        expected = counted(y), counted(x)
        predicted = max(formula(y), 0), formula(x)
        if not expected == predicted == _measured(operator, y, x):
            yield y if expected[0] != predicted[0] else x


def _measured(operator: Operator, y: Case, x: Case) -> tuple[int, int]:
    """The sides of the output; where the operator refuses, there are 0 rows."""
    try:
        output = operator(torch.ones(1, 1, y.size, x.size), y, x)
    except ValueError:
        return 0, counted(x)
    return output.shape[2], output.shape[3]


def _describe(case: Case, formula: Formula) -> str:
    arguments = ", ".join(f"{k} {v}" for k, v in case._asdict().items())
    return f"{arguments}: the formula gives {formula(case)}, {counted(case)} windows fit"


def curves(params: OutputSizeParams) -> pd.DataFrame:
    """Real output sizes of `conv2d` when one argument changes at a time, beside the formula.

    Returns:
        columns argument, value, size, measured, formula.
    """
    operator, _ = operators()[f"conv2d, {CONV2D_ALGORITHMS[0]}"]
    base = Case(1, min(3, params.kernel_size), 1, 0, 1)
    rows = []
    for argument in ("kernel_size", "stride", "padding", "dilation"):
        for value in _values(params, argument):
            for size in _values(params, "size"):
                case = base._replace(size=size, **{argument: value})
                measured, _ = _measured(operator, case, Case(1, 1, 1, 0, 1))
                rows.append((argument, value, size, measured, max(formula(case), 0)))
    return pd.DataFrame(rows, columns=["argument", "value", "size", "measured", "formula"])


def judge(table: pd.DataFrame, curves: pd.DataFrame, params: OutputSizeParams) -> Finding:
    """One disagreement refutes it."""
    total, wrong = int(table["cases"].sum()), int(table["disagree"].sum())
    refused = int(table["refused"].sum())
    spoken = (
        f"sizes to {params.size}, kernels to {params.kernel_size}, strides to {params.stride}, "
        f"padding to {params.padding}, dilation to {params.dilation}"
    )
    if wrong:
        worst = table[table["disagree"] > 0].iloc[0]
        outcome = (
            f"{count(wrong, 'case')} of {total:,} disagree, {worst['operator']} first: "
            f"{worst['example']}."
        )
    else:
        outcome = (
            f"formula, windows counted by hand and real outputs agree in all {total:,} cases; in "
            f"{refused:,} of these no window fits, the formula gives less than 1, and the operator "
            "refuses."
        )
    return CLAIM.finding(
        not wrong,
        f"Over all {spoken}, and {count(len(table), 'operator')}: {outcome}",
        wrong,
        unit=f"of {total:,} cases disagree",
        uncertainty=f"exact: every combination of {spoken}",
        data=f"Every combination of {spoken}; the values of the images play no part.",
        tables={"operators": table, "curves": curves},
        details={"cases": total, "refused": refused},
    )

"""Every operator held against `cnnpipe.verify.reference`: the comparison, the verdict, the tables.

Each case runs for each dtype and device, a convolution also with each algorithm, and all its
`quantities` are compared. The report keeps the largest error of each quantity and where it was.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, TypeVar, get_args

import scipy
import torch

from cnnpipe import functional
from cnnpipe.functional import UnsupportedError
from cnnpipe.functional.block import ALGORITHMS as BLOCK_ALGORITHMS
from cnnpipe.params.train import Algorithm
from cnnpipe.params.verify import VerifyParams
from cnnpipe.system.errors import InputError
from cnnpipe.system.parallel import side_by_side
from cnnpipe.verify.blocks import block
from cnnpipe.verify.cases import Case, argument_grid, draw, lay_out
from cnnpipe.verify.reference import Error, Operator, Truth, judge, order_of, quantities, truths
from cnnpipe.verify.transforms import FIRST_ORDER, Transform

OPERATORS: Mapping[str, Operator] = {
    "conv2d": functional.conv2d,
    "convolve2d": functional.convolve2d,
    "max_pool2d": functional.max_pool2d,
    "avg_pool2d": functional.avg_pool2d,
    "relu": functional.relu,
    "sigmoid": functional.sigmoid,
    "tanh": functional.tanh,
    "batch_norm": functional.batch_norm,
    "linear": functional.linear,
    "cross_entropy": functional.cross_entropy,
    "block": block,
}
ALGORITHMS: Mapping[str, Sequence[str]] = {
    "conv2d": get_args(Algorithm),
    "convolve2d": get_args(Algorithm),
    "block": BLOCK_ALGORITHMS,
}
"""The algorithms that an operator knows, if it has several."""

CPU = torch.device("cpu")
TRANSFORMED = (torch.float64, torch.float32)
CASES_TRANSFORMED = 2
"""What is computed within PyTorch's transforms as well: a compiler takes a second for each."""
PARTS = 16
"""Of the other cases, for the processes to take one after the other."""


@dataclass(frozen=True)
class Comparison:
    """One quantity of one case, compared."""

    operator: str
    algorithm: str | None
    device: str
    dtype: str
    case: str
    quantity: str
    error: Error
    tolerance: float
    """Of `error.bounds`."""
    transform: str | None = None
    """The one of PyTorch's that computed it, if any."""
    raised: str | None = None
    """The device's error, if it could not be computed."""

    @property
    def strain(self) -> float:
        """The error as a fraction of the tolerance."""
        return self.error.bounds / self.tolerance

    def __str__(self) -> str:
        algorithm = f" ({self.algorithm})" if self.algorithm else ""
        algorithm += f" within torch's {self.transform}" if self.transform else ""
        call = f"{self.operator}{algorithm}, {self.dtype} on {self.device}, {self.case}"
        if self.raised:
            return f"{call}: {self.raised}"
        return (
            f"{call}: {self.quantity} is off by {self.error.bounds:.3g} rounding bounds "
            f"(tolerance {self.tolerance:g}), {self.error.absolute:.3g} absolute"
        )


def verify(
    params: VerifyParams,
    seed: int,
    *,
    operators: Mapping[str, Operator] = OPERATORS,
    algorithms: Sequence[Algorithm] = get_args(Algorithm),
    cases: Iterable[Case] | None = None,
    transforms: Mapping[str, Transform] | None = None,
    devices: Sequence[torch.device] = (CPU,),
) -> Iterator[Comparison]:
    """Compare every quantity of every case.

    Args:
        params: the tolerances.
        seed: of the random operands; the same seed gives the same comparisons.
        operators: the implementations, by name.
        algorithms: those of convolutions and blocks.
        cases: all of `argument_grid` unless given.
        transforms: PyTorch's, within which the first cases of each operator are computed as well.
        devices: where the operators are computed, each that has the dtype.
    """
    seen: Counter[str] = Counter()
    for case in argument_grid() if cases is None else cases:
        seen[case.operator] += 1
        within = transforms if transforms and seen[case.operator] <= CASES_TRANSFORMED else {}
        for dtype in case.dtypes:
            usable = [device for device in devices if has_dtype(device, dtype)]
            yield from _compare_case(
                case, dtype, params, seed, operators, algorithms, within, usable
            )


def verify_side_by_side(
    params: VerifyParams,
    seed: int,
    *,
    algorithms: Sequence[Algorithm],
    devices: Sequence[torch.device],
    transforms: Mapping[str, Transform],
) -> list[Comparison]:
    """What `verify` gives for all cases, in the same order, from as many processes as cores."""
    cases = list(argument_grid())
    place = {(case.operator, str(case)): number for number, case in enumerate(cases)}
    groups = _group(cases, lambda case: case.operator)
    # One process imports the compiler, which takes longer than many cases.
    transformed = [case for group in groups for case in group[:CASES_TRANSFORMED]]
    others = [case for group in groups for case in group[CASES_TRANSFORMED:]]
    part = partial(_listed, params, seed, algorithms=algorithms, devices=devices)
    parts = [partial(part, cases=transformed, transforms=transforms)]
    parts += [partial(part, cases=others[first::PARTS]) for first in range(PARTS)]
    found = [comparison for comparisons in side_by_side(parts) for comparison in comparisons]
    return sorted(found, key=lambda comparison: place[comparison.operator, comparison.case])


def _listed(params: VerifyParams, seed: int, **how: Any) -> list[Comparison]:
    """What `verify` gives for the same arguments, as a process can return it."""
    return list(verify(params, seed, **how))


def _compare_case(
    case: Case,
    dtype: torch.dtype,
    params: VerifyParams,
    seed: int,
    operators: Mapping[str, Operator],
    algorithms: Sequence[Algorithm],
    transforms: Mapping[str, Transform],
    devices: Sequence[torch.device],
) -> Iterator[Comparison]:
    dtype_name = str(dtype).removeprefix("torch.")
    # Integers have a bound of zero, and any tolerance of zero is the same.
    tolerance = getattr(params.tolerance, dtype_name, 1.0)
    call = draw(case, dtype, seed)
    truth_of = truths(call)
    choices: list[Algorithm | None] = [None]
    if case.operator in ALGORITHMS:
        choices = [name for name in algorithms if name in ALGORITHMS[case.operator]]
    # Within a transform layers are computed one after the other.
    if dtype not in TRANSFORMED or case.operator == "block":
        transforms = {}
    for device, algorithm, transform in product(devices, choices, [None, *transforms]):
        if transform and algorithm not in (None, "auto"):
            continue
        operator = partial(operators[case.operator], **case.arguments)
        if transform and case.arguments.get("return_indices"):
            operator = partial(operator, return_indices=False)
        if algorithm is not None:
            operator = partial(operator, algorithm=algorithm)
        operands, probes = (lay_out(x, case.layout, device) for x in (call.operands, call.probes))
        try:
            how = transforms[transform] if transform else quantities
            results = how(operator, operands, probes)
            raised = None
        except UnsupportedError:  # this algorithm does not compute such a case
            continue
        except RuntimeError as problem:  # what a device lacks, or has no memory for
            if device == CPU:
                raise
            results, raised = {}, str(problem).splitlines()[0]
        factor = params.normwise.get(algorithm) if algorithm else None
        truth_of_results = _within(transform, truth_of) if transform else truth_of
        for quantity, error in judge(
            results, truth_of_results, normwise=factor is not None
        ).items():
            yield Comparison(
                case.operator,
                algorithm,
                device.type,
                dtype_name,
                str(case),
                quantity,
                error,
                tolerance * (factor or 1),
                transform,
                raised,
            )


def _within(transform: str, truth_of: Mapping[str, Truth]) -> dict[str, Truth]:
    """The quantities that a transform has to compute."""
    most = 1 if transform in FIRST_ORDER else 2
    return {
        name: truth
        for name, truth in truth_of.items()
        if name != "indices" and order_of(name) <= most
    }


def has_dtype(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a device computes with a dtype: Apple's GPUs and some of Intel's have no float64.

    >>> has_dtype(torch.device("mps"), torch.float64), has_dtype(CPU, torch.float64)
    (False, True)
    """
    if device.type == "xpu" and dtype == torch.float64:
        return bool(torch.xpu.get_device_properties(device).has_fp64)
    return device.type != "mps" or dtype != torch.float64


def summarize(comparisons: Sequence[Comparison], seed: int) -> dict[str, Any]:
    """The content of reports/verify.json, as docs/verification.md describes it."""
    worst = max(comparisons, key=lambda comparison: comparison.strain)
    direct = [comparison for comparison in comparisons if comparison.transform is None]
    transformed = [comparison for comparison in comparisons if comparison.transform]
    return {
        "verdict": _verdict(comparisons),
        "worst": str(worst),
        "cases": len({(comparison.operator, comparison.case) for comparison in comparisons}),
        "comparisons": len(comparisons),
        "seed": seed,
        "torch": str(torch.__version__),
        "scipy": scipy.__version__,
        "checks": _checks(direct),
        "transforms": _checks(transformed),
    }


def _checks(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    groups = _group(
        comparisons, lambda c: (c.transform, c.operator, c.algorithm, c.device, c.dtype)
    )
    return [_check(group) for group in groups]


def _check(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """One operator, algorithm, device and dtype: the largest error of each quantity."""
    first = comparisons[0]
    in_order = sorted(comparisons, key=lambda comparison: order_of(comparison.quantity))
    return {
        "operator": first.operator,
        "algorithm": first.algorithm,
        "device": first.device,
        "dtype": first.dtype,
        **({"transform": first.transform} if first.transform else {}),
        "cases": len({comparison.case for comparison in comparisons}),
        "tolerance": first.tolerance,
        "verdict": _verdict(comparisons),
        "errors": {_kind(group[0]): _largest(group) for group in _group(in_order, _kind)},
    }


def _kind(comparison: Comparison) -> str:
    return comparison.quantity if order_of(comparison.quantity) < 2 else "second_order"


def _largest(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    worst = max(comparisons, key=lambda comparison: comparison.error.bounds)
    return {
        "bounds": _number(worst.error.bounds),
        "quantity": worst.quantity,
        "case": worst.case,
        "absolute": _number(max(comparison.error.absolute for comparison in comparisons)),
        "relative": _number(max(comparison.error.relative for comparison in comparisons)),
    }


def _number(value: float) -> float | str:
    """Four digits; JSON has no infinity, so that is a word."""
    return float(f"{value:.4g}") if math.isfinite(value) else "inf"


def _verdict(comparisons: Sequence[Comparison]) -> str:
    return "pass" if all(comparison.strain <= 1 for comparison in comparisons) else "fail"


Item = TypeVar("Item")


def _group(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[list[Item]]:
    """Items with the same key, keys in the order in which they first occur."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def require_pass(report: Mapping[str, Any]) -> None:
    """Refuse operators that failed; nothing is to be trained with them.

    Raises:
        InputError: names the worst offender.
    """
    if report["verdict"] != "pass":
        raise InputError(f"the operators failed verification; worst: {report['worst']}")


def summary_table(report: Mapping[str, Any]) -> str:
    """Markdown: the largest error in rounding bounds, by operator, algorithm, device and dtype."""
    every = [{"transform": "", **check} for check in report["checks"] + report["transforms"]]
    dtypes = list(dict.fromkeys(check["dtype"] for check in every))
    rows = []
    for checks in _group(
        every, lambda c: (c["transform"], c["operator"], c["algorithm"], c["device"])
    ):
        by_dtype = {check["dtype"]: _bounds(check["errors"].values()) for check in checks}
        verdict = "pass" if all(check["verdict"] == "pass" for check in checks) else "FAIL"
        names = [checks[0][key] or "" for key in ("operator", "algorithm", "transform", "device")]
        rows.append([*names, *(by_dtype.get(dtype, "") for dtype in dtypes), verdict])
    header = ["operator", "algorithm", "within", "device", *dtypes, "verdict"]
    return _markdown(header, rows)


def to_markdown(report: Mapping[str, Any]) -> str:
    """The content of reports/verify.md."""
    detail = [
        [
            check["operator"],
            check["algorithm"] or "",
            check["device"],
            check["dtype"],
            str(check["cases"]),
            *(
                _errors([e for e in check["errors"].values() if order_of(e["quantity"]) == order])
                for order in range(3)
            ),
            f"{check['tolerance']:g}",
            check["verdict"],
        ]
        for check in report["checks"]
    ]
    header = ["operator", "algorithm", "device", "dtype", "cases"]
    header += ["forward", "gradients", "second order", "tolerance", "verdict"]
    return f"""# Verification of the operators: {report["verdict"]}

{report["cases"]} cases, {report["comparisons"]} comparisons; seed {report["seed"]}, \
torch {report["torch"]}, scipy {report["scipy"]}.

Largest error over all cases and quantities, in rounding bounds; 1 is what rounding can explain, \
integers must be exact. docs/verification.md derives it.

{summary_table(report)}

Nearest to its tolerance, or farthest beyond: {report["worst"]}.

## By order of differentiation

Each cell: the largest error in rounding bounds (largest absolute error, largest error relative to
the largest element). Convolution's forward includes the comparison with SciPy.

{_markdown(header, detail)}
"""


def _bounds(errors: Iterable[Mapping[str, Any]]) -> str:
    return f"{max(float(error['bounds']) for error in errors):.2g}"


def _errors(errors: Sequence[Mapping[str, Any]]) -> str:
    if not errors:
        return ""
    absolute, relative = (
        max(float(error[kind]) for error in errors) for kind in ("absolute", "relative")
    )
    return f"{_bounds(errors)} ({absolute:.1e}, {relative:.1e})"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns also line up as plain text."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )

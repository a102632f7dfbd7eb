"""Claim: convolution is equivariant to translation, and the network invariant to it.

Two words, two experiments. T_d moves an image by d pixels.

Equivariance is f(T_d x) = T_{d/s} f(x), where s is how many input pixels lie between neighbouring
outputs. The error is the part of the output's norm that differs, over interior pixels: those whose
windows see neither padding nor what the move brought in,

    E(d) = min over e ∈ {⌊d/s⌋, ⌈d/s⌉} of ‖f(T_d x) − T_e f(x)‖ / ‖f(x)‖.

Where d is no multiple of s no whole output shift fits, and the better of the two nearest counts.
It is measured in double precision on the first convolution of the trained LeNet-5, at stride 1 and
2, with each pooling behind it, and on LeNet-5 up to its last pooling.

Invariance is the same answer for T_d x as for x. Small networks are trained on the images as they
are, each with the same steps on the same images, and judged on images moved by d; one more is
trained on images moved at random, by up to as many pixels as decide the verdict. One drops the
position: its last pooling is over the whole map, so that its classifier cannot know where a feature
was found. MNIST leaves some 4 pixels around its digits: up to 2, hardly any ink is lost.

Equivariance is refuted by an error of the stride-1 convolution beyond `ROUNDING` at any shift. The
network, max pooling and a classifier of every position as in LeNet-5, counts as invariant if moves
cost it less than one point of accuracy. The claim is shown if both hold, and shown not to hold if
the network loses clearly more. The other networks are answered in the same way, beside the verdict.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from math import ceil

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from cnnpipe.data.preprocessing import moved
from cnnpipe.findings.estimates import Estimate, summarize
from cnnpipe.findings.evidence import Evidence, above, all_of, fact
from cnnpipe.findings.finding import Finding
from cnnpipe.findings.wording import NBSP, count, listed, percent, short, tenths
from cnnpipe.inspection.structure import layers_of
from cnnpipe.layers import AvgPool2d, Conv2d, MaxPool2d, ReLU, Sequential
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.figures.translation import draw
from cnnpipe.principles.moved_images import points_lost, train_and_move
from cnnpipe.principles.networks import MAX, MLP, perceptron, pooling_network, twin
from cnnpipe.principles.study import POINT, Study

DROPPED = "max pooling over the whole map"
MAX_ON_MOVED = "max pooling, trained on moved images"
CLAIM = Claim(
    name="translation",
    sentence=(
        "Convolution is equivariant to translation, and a convolutional network is invariant to "
        "it: it recognises a pattern wherever it appears."
    ),
    question="Does the output move with the image? Does the answer stay when the image moves?",
    limits=(
        "Whole pixels on an empty background, in networks that are small and trained briefly: "
        "what longer training would change is not measured."
    ),
    draw=draw,
)

ROUNDING = 1e-12
"""Relative error in double precision that counts as rounding. A sum of n products, in any order,
errs by at most n·10⁻¹⁶ of the sum of their magnitudes; LeNet-5's are of 25 and 150."""

EQUIVARIANCE_IMAGES, EQUIVARIANCE_SHIFTS = 32, 8
"""Test images; pixels, twice the 4 that lie between the outputs of LeNet-5's last pooling."""


def measure(study: Study) -> Finding:
    """Both experiments, and the verdict on the two words together."""
    images, _ = study.test_examples(EQUIVARIANCE_IMAGES)
    operations = operations_of(study.models["lenet5"])
    errors = equivariance_errors(operations, images, study.normalization.background)
    params, classes = study.params.translation, study.classes
    # The first is the one that has to be invariant. The MLP has more parameters than the others:
    # what it loses it does not lose for lack of size.
    networks: dict[str, Callable[[], nn.Module]] = {
        MAX: partial(pooling_network, MAX, classes),
        MLP: partial(perceptron, 32, classes),
        DROPPED: partial(twin, "shared", "position dropped", classes),
        MAX_ON_MOVED: partial(pooling_network, MAX, classes),
    }
    compare = partial(
        train_and_move, params=params, networks=networks, trained_on_moved=[MAX_ON_MOVED]
    )
    return judge(errors, study.repeat(CLAIM.name, params.runs, compare), study)


def operations_of(lenet5: nn.Sequential, stride: int = 1) -> dict[str, nn.Sequential]:
    """The convolution that is judged, first, and then what breaks equivariance, by name."""
    layers = list(copy.deepcopy(lenet5).double())
    learned = next(layer for layer in layers if isinstance(layer, Conv2d))
    last_pooling = max(i for i, x in enumerate(layers) if isinstance(x, MaxPool2d | AvgPool2d))

    def convolution(step: int) -> Conv2d:
        layer = copy.deepcopy(learned)
        layer.stride, layer.padding = (step, step), (0, 0)
        return layer

    return {
        f"convolution, stride {stride}": Sequential(convolution(stride)),
        "convolution, stride 2": Sequential(convolution(2)),
        "convolution, max pooling": Sequential(convolution(1), ReLU(), MaxPool2d(2)),
        "convolution, average pooling": Sequential(convolution(1), ReLU(), AvgPool2d(2)),
        "LeNet-5 to its last pooling": Sequential(*layers[: last_pooling + 1]),
    }


@torch.inference_mode()
def equivariance_errors(
    operations: Mapping[str, nn.Sequential], images: Tensor, fill: float
) -> pd.DataFrame:
    """E(d) of each operation, for images moved right by 0 to `EQUIVARIANCE_SHIFTS` pixels.

    Shape: images (N, 1, H, W).

    Returns:
        columns operation, jump (pixels between outputs), shift (pixels), error (fraction).
    """
    rows = []
    for name, operation in operations.items():
        field = layers_of(operation)[-1].field
        # So far from the edge of a canvas this wide no output sees padding, or what came in.
        border = field.size + EQUIVARIANCE_SHIFTS
        canvas = pad(images.double(), (border,) * 4, value=fill)
        margin = ceil(border / field.jump)
        outputs = operation(canvas)  # (N, C, H_out, W_out)
        for shift in range(EQUIVARIANCE_SHIFTS + 1):
            moved_outputs = operation(moved(canvas, 0, shift, fill))
            error = min(
                _difference(moved_outputs, outputs, margin, offset)
                for offset in (shift // field.jump, ceil(shift / field.jump))
            )
            rows.append((name, field.jump, shift, error))
    return pd.DataFrame(rows, columns=["operation", "jump", "shift", "error"])


def _difference(moved_outputs: Tensor, outputs: Tensor, margin: int, offset: int) -> float:
    """‖f(T_d x) − T_e f(x)‖ / ‖f(x)‖ over the outputs at least `margin` from each edge.

    Shape: (N, C, H, W) both.
    """
    height, width = outputs.shape[-2:]
    rows = slice(margin, height - margin)
    moved_output = moved_outputs[..., rows, margin : width - margin]
    output_moved = outputs[..., rows, margin - offset : width - margin - offset]
    return float((moved_output - output_moved).norm() / output_moved.norm())


def judge(errors: pd.DataFrame, accuracies: pd.DataFrame, study: Study) -> Finding:
    """The verdict on both words, from the tables of `equivariance_errors` and `train_and_move`."""
    params = study.params.translation
    shift = params.judged_shift
    lost = points_lost(accuracies, shift)
    losses = {name: Estimate.over_runs(values) for name, values in lost.items()}
    largest = float(judged_operation(errors)["error"].max())
    equivariant = largest <= ROUNDING
    # That moves cost less than the smallest difference that counts.
    answers = {name: above([-points for points in by_run], -POINT) for name, by_run in lost.items()}
    return CLAIM.finding(
        all_of(fact(equivariant), answers[MAX]),
        f"{_equivariance(errors)} {_invariance(losses, answers, shift)}",
        losses[MAX],
        unit=(
            "percentage points of accuracy that the network with max pooling loses on images "
            f"moved by {count(shift, 'pixel')}"
        ),
        uncertainty=f"{count(params.runs, 'run')}, each with its own images",
        data=(
            f"{study.title}: equivariance on {EQUIVARIANCE_IMAGES} test images in double "
            f"precision; each run draws {params.train_images:,} training images and "
            f"{study.tested(params.test_images)}, a quarter of which is moved each way; "
            f"{count(params.steps, 'step')} of {count(params.batch_size, 'image')}"
        ),
        tables={
            "networks": compare(accuracies, shift),
            "equivariance": errors,
            "accuracy": summarize(accuracies, by=["network", "shift"]),
            "runs": accuracies,
        },
        details={
            "equivariant": equivariant,
            "largest_interior_error": largest,
            "judged_shift": shift,
            "points_lost": {name: loss.mean for name, loss in losses.items()},
            "invariant": {name: answer.verdict() for name, answer in answers.items()},
        },
    )


def judged_operation(errors: pd.DataFrame) -> pd.DataFrame:
    """The rows of the operation that has to be equivariant: the table's first."""
    judged: pd.DataFrame = errors[errors["operation"] == errors["operation"].iloc[0]]
    return judged


def compare(accuracies: pd.DataFrame, shift: int) -> pd.DataFrame:
    """What the move costs each network, on average over the runs.

    Returns:
        columns network, parameters, accuracy, accuracy moved (fractions), points lost.
    """
    means = accuracies.groupby(["network", "parameters", "shift"], sort=False)["accuracy"].mean()
    table = means.unstack("shift").reset_index()
    moved_name = f"accuracy, moved by {count(shift, 'pixel')}"
    return pd.DataFrame(
        {
            "network": table["network"],
            "parameters": table["parameters"],
            "accuracy": table[0],
            moved_name: table[shift],
            "points lost": 100 * (table[0] - table[shift]),
        }
    )


def _equivariance(errors: pd.DataFrame) -> str:
    judged = judged_operation(errors)
    name, largest = judged["operation"].iloc[0], float(judged["error"].max())
    moves = f"images moved by up to {count(int(errors['shift'].max()), 'pixel')}"
    if largest <= ROUNDING:
        size = "to the last bit" if largest == 0 else f"up to rounding ({short(largest)})"
        sentence = f"Equivariance holds: {moves} move the output ({name}) with them, {size}."
    else:
        sentence = (
            f"Equivariance fails: {moves} give an output ({name}) up to {percent(largest, 0)} of "
            "its norm away from the moved one."
        )
    others = errors[(errors["operation"] != name) & (errors["jump"] > 1)]
    multiple = others["shift"] % others["jump"] == 0
    between, at = others.loc[~multiple, "error"], float(others.loc[multiple, "error"].max())
    return (
        f"{sentence} With stride or pooling the error is {percent(float(between.min()), 0)} to "
        f"{percent(float(between.max()), 0)} of the norm, except at multiples of the stride "
        f"(at most {short(at)})."
    )


def _invariance(losses: Mapping[str, Estimate], answers: Mapping[str, Evidence], shift: int) -> str:
    loss = losses[MAX]
    word = {
        "shown": "holds",
        "shown not to hold": "does not hold",
        "not decided": "is not decided",
    }[answers[MAX].verdict()]
    others = [
        f"{name} {tenths(other.mean)} ({other.range()}; less than a point: "
        f"{answers[name].verdict()})"
        for name, other in losses.items()
        if name != MAX
    ]
    return (
        f"Invariance {word}: on images moved by {count(shift, 'pixel')} the network with max "
        f"pooling loses {tenths(loss.mean)} points of accuracy (95{NBSP}% interval "
        f"{loss.range()}). The others lose: {listed(others)}."
    )

"""Claim: cross-correlation learns equivalently to true convolution.

    cross-correlation  (x ⋆ w)[p] = Σ_q x[p + q] · w[q]
    convolution        (x ∗ w)[p] = Σ_q x[p − q] · w[q] = (x ⋆ w′)[p],   w′[q] = w[−q]

So x ∗ w′ = x ⋆ w: with a flipped kernel, convolution gives the same output. A loss L of that output
has ∂L/∂w′ = (∂L/∂w)′, and an optimiser that treats each weight by itself takes the same step,
flipped. Kernels that start as mirror images must then stay mirror images.

Experiment, in double precision:

- Outputs: `conv2d` with random kernels against `convolve2d` with the flipped ones over a grid of
  arguments, and against SciPy's convolution, which shares no code with ours. Errors count in
  rounding bounds, 2·n·ε·Σ|x||w| for inner products of n terms.
- Training: LeNet-5 with cross-correlations and LeNet-5 with convolutions from flipped initial
  kernels see the same batches. After each step the kernels of the first are compared with the
  flipped kernels of the second. The two use different algorithms, so that their sums round
  differently and exact zeros cannot come from running the same instructions twice.
- Training in single precision, where rounding is 10⁹ times as large: how far the two come apart,
  and whether they give the same answers, without a part in the verdict.
- Control: convolutions from the *unflipped* initial kernels, which make another network. It shows
  that the comparison detects a different network.

Refuted if an output is off by more than one rounding bound, or if the kernels differ by more than
`TOLERANCE` of the distance that training moves them. That is far above accumulated rounding in
double precision (about 10⁻¹² here) and far below any difference in what was learned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

import numpy as np
import pandas as pd
import torch
from scipy.signal import convolve2d as scipy_convolve2d
from torch import Tensor, nn

from cnnpipe.findings.finding import Finding
from cnnpipe.findings.wording import count, percent, short
from cnnpipe.functional import conv2d, convolve2d
from cnnpipe.layers import Conv2d
from cnnpipe.models import build_model
from cnnpipe.params.principles import Schedule
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.figures.equivalence import draw
from cnnpipe.principles.study import Study, train

CLAIM = Claim(
    name="equivalence",
    sentence=(
        "Cross-correlation learns equivalently to true convolution: the kernels come out flipped, "
        "and nothing else changes."
    ),
    question="Does a network that convolves learn what one that cross-correlates learns?",
    limits=(
        "That rounding never matters: over many more steps the networks drift apart as any two "
        "runs with different rounding do, in single precision sooner."
    ),
    draw=draw,
)
TOLERANCE = 1e-6
"""Of the way that training moves the kernels."""
LR = 0.003
"""Peak of the one-cycle schedule."""

Operator = Callable[..., Tensor]
Kernels = dict[str, Tensor]


def measure(study: Study, convolution: Operator = convolve2d) -> Finding:
    """Outputs and training of cross-correlation and of `convolution` with flipped kernels."""
    double, single = (
        compare_training(study, convolution, dtype) for dtype in (torch.float64, torch.float32)
    )
    return judge(compare_outputs(study.seed, convolution), double, single, study)


def flip(kernels: Tensor) -> Tensor:
    """Turn kernels by half a turn: w′[i, j] = w[−i, −j].

    Shape: (O, C, kH, kW) → (O, C, kH, kW).
    """
    return kernels.flip(2, 3)


def compare_outputs(seed: int, convolution: Operator) -> pd.DataFrame:
    """Cross-correlation against `convolution` with flipped kernels, one row per set of arguments.

    Returns:
        columns kernel_size, stride, padding, dilation, groups, outputs, error (in rounding bounds)
        and scipy_error, the same against SciPy, which has stride 1, dilation 1 and one group only.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for (kH, kW), stride, padding, dilation, groups in product(
        [(1, 1), (3, 3), (2, 5)], [1, 2], [0, 2], [1, 2], [1, 2]
    ):
        x = torch.randn(2, 4, 14, 13, generator=generator, dtype=torch.float64)
        w = torch.randn(6, 4 // groups, kH, kW, generator=generator, dtype=torch.float64)
        arguments = (None, stride, padding, dilation, groups)
        expected = conv2d(x, w, *arguments)
        terms = w[0].numel()
        bound = 2 * terms * torch.finfo(x.dtype).eps * conv2d(x.abs(), w.abs(), *arguments)
        bound = bound.clamp_min(torch.finfo(x.dtype).tiny)  # windows of nothing but padding
        errors = (convolution(x, flip(w), *arguments) - expected).abs() / bound
        row = {
            "kernel_size": f"{kH}×{kW}",
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
            "outputs": expected.numel(),
            "error": errors.max().item(),
        }
        if stride == dilation == groups == 1:
            scipy_errors = (_scipy_convolution(x, flip(w), padding) - expected).abs() / bound
            row["scipy_error"] = scipy_errors.max().item()
        rows.append(row)
    return pd.DataFrame(rows)


def _scipy_convolution(x: Tensor, w: Tensor, padding: int) -> Tensor:
    """
    Shape: (N, C, H, W), (O, C, kH, kW) → (N, O, H_out, W_out).
    """
    padded = np.pad(x.numpy(), [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    maps = [
        sum(scipy_convolve2d(c, k, mode="valid") for c, k in zip(image, kernel, strict=True))
        for image in padded
        for kernel in w.numpy()
    ]
    stacked = np.stack(maps)  # (N·O, H_out, W_out)
    return torch.from_numpy(stacked.reshape(len(x), len(w), *stacked.shape[1:]))


class TrueConv2d(nn.Module):
    """A layer that convolves, made from one that cross-correlates: with its kernels turned.

    Shape: (N, C, H, W) → (N, O, H_out, W_out).
    """

    def __init__(self, layer: Conv2d, operator: Operator, turn: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(turn(layer.weight.detach()).clone())
        self.bias = layer.bias
        self.stride, self.padding = layer.stride, layer.padding
        self.operator = operator

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = self.operator(
            input, self.weight, self.bias, self.stride, self.padding, algorithm="auto"
        )
        return output


def compare_training(
    study: Study, convolution: Operator, dtype: torch.dtype
) -> dict[str, pd.DataFrame]:
    """Train LeNet-5 with cross-correlations, its mirror image with convolutions, and the control.

    Returns:
        training: columns step, moved, apart, control: the largest change of any kernel's weight
            since the start, its largest distance between the two networks, and the same for the
            control.
        layers: the same by layer, after the last step: layer, weights, moved, apart, control.
        kernels: the first layer after training: network, kernel, row, column, weight.
        answers: test images classified correctly, and as the cross-correlations classify them:
            network, right, same, images.
    """
    params = study.params.equivalence
    inputs, labels = study.training_examples(params.steps * params.batch_size)
    test_inputs, test_labels = study.test_examples(params.test_images)

    def original() -> nn.Sequential:
        return build_model("lenet5", classes=int(labels.max()) + 1, algorithm="im2col").to(dtype)

    def convolving(turn: Callable[[Tensor], Tensor]) -> nn.Sequential:
        network = original()
        for name, layer in network.named_children():
            if isinstance(layer, Conv2d):
                setattr(network, name, TrueConv2d(layer, convolution, turn))
        return network

    networks = {
        "cross-correlation": original,
        "convolution": lambda: convolving(flip),
        "control": lambda: convolving(lambda kernels: kernels),
    }
    schedule = Schedule(steps=params.steps, batch_size=params.batch_size, lr=LR)
    examples = inputs.to(dtype), labels
    histories, answers = {}, {}
    for name, build in networks.items():
        history: list[Kernels] = []  # before each step, and after the last

        def remember(_step: int, model: nn.Module, history: list[Kernels] = history) -> None:
            history.append(_kernels(model))

        network = train(build, examples, schedule, study.seed, watch=remember)
        histories[name] = [*history, _kernels(network)]
        with torch.inference_mode():
            answers[name] = network(test_inputs.to(dtype)).argmax(1)
    correlated = histories["cross-correlation"]
    distances = {  # (steps, layers) each
        "moved": _distances(correlated, [correlated[0]] * len(correlated)),
        "apart": _distances(_flipped(histories["convolution"]), correlated),
        "control": _distances(_flipped(histories["control"]), correlated),
    }
    weights = {layer: kernels.numel() for layer, kernels in correlated[0].items()}
    largest = {name: table.max(axis=1, skipna=False) for name, table in distances.items()}
    last = {name: table.iloc[-1] for name, table in distances.items()}
    return {
        "training": pd.DataFrame(largest).rename_axis("step").reset_index(),
        "layers": pd.DataFrame({"weights": pd.Series(weights), **last})
        .rename_axis("layer")
        .reset_index(),
        "kernels": _kernel_table({name: kernels[-1] for name, kernels in histories.items()}),
        "answers": pd.DataFrame(
            {
                "network": name,
                "right": int((answer == test_labels).sum()),
                "same": int((answer == answers["cross-correlation"]).sum()),
                "images": len(test_labels),
            }
            for name, answer in answers.items()
        ),
    }


def _largest(distances: pd.DataFrame) -> list[float]:
    """How far kernels moved, came apart, and came apart in the control, over all steps."""
    return [float(distances[name].max(skipna=False)) for name in ("moved", "apart", "control")]


def _kernels(model: nn.Module) -> Kernels:
    return {
        name: layer.weight.detach().clone()
        for name, layer in model.named_modules()
        if isinstance(layer, Conv2d | TrueConv2d)
    }


def _flipped(history: list[Kernels]) -> list[Kernels]:
    return [{layer: flip(w) for layer, w in kernels.items()} for kernels in history]


def _distances(history: list[Kernels], reference: list[Kernels]) -> pd.DataFrame:
    """The largest distance of any weight, a row per step and a column per layer."""
    return pd.DataFrame(
        {layer: (w - expected[layer]).abs().max().item() for layer, w in kernels.items()}
        for kernels, expected in zip(history, reference, strict=True)
    )


def _kernel_table(networks: Mapping[str, Kernels]) -> pd.DataFrame:
    rows = []
    for network, kernels in networks.items():
        first = next(iter(kernels.values()))[:, 0]  # (O, kH, kW)
        rows += [
            {"network": network, "kernel": o, "row": i, "column": j, "weight": round(weight, 6)}
            for (o, i, j), weight in np.ndenumerate(first.numpy())
        ]
    return pd.DataFrame(rows)


def judge(
    outputs: pd.DataFrame,
    training: Mapping[str, pd.DataFrame],
    single: Mapping[str, pd.DataFrame],
    study: Study,
) -> Finding:
    """Hold both errors against their thresholds.

    Args:
        outputs: of `compare_outputs`.
        training, single: of `compare_training`, in double and in single precision.
        study: budget and data, for the words.
    """
    params = study.params.equivalence
    error = float(max(outputs["error"].max(skipna=False), outputs["scipy_error"].max()))
    moved, apart, control = _largest(training["training"])
    moved_single, apart_single, _ = _largest(single["training"])
    share = apart / moved
    same_outputs, same_training = error <= 1, share <= TOLERANCE
    answers = training["answers"].set_index("network").to_dict("index")
    right, same, images = (int(answers["convolution"][key]) for key in ("right", "same", "images"))
    in_single = single["answers"].set_index("network").to_dict("index")
    same_single = int(in_single["convolution"]["same"])
    more_right = int(in_single["convolution"]["right"] - in_single["cross-correlation"]["right"])
    compared = int(outputs["outputs"].sum())
    steps = count(params.steps, "step")
    statement = (
        f"Over {count(len(outputs), 'set')} of arguments, {count(compared, 'output')} in all, "
        f"convolution with flipped kernels differs from cross-correlation by at most "
        f"{short(error)} rounding bounds"
        + (", so not at all. " if error == 0 else ". " if same_outputs else ": they differ. ")
        + f"Trained side by side for {steps}, the two networks’ kernels "
        + ("stay" if same_training else "do not stay")
        + f" mirror images: they come apart by at most {short(share)} of the way that training "
        f"moves them, and agree on {same:,} of {count(images, 'test image')}; convolution "
        f"classifies {percent(right / images)} of them correctly. In single precision they come "
        f"apart by {short(apart_single / moved_single)} of it, agree on {same_single:,}, and "
        f"convolution classifies {count(abs(more_right), 'image')} "
        f"{'more' if more_right >= 0 else 'fewer'} correctly. The control, convolution that "
        f"starts from unflipped kernels, ends {short(control / moved)} times as far away as "
        f"training moves them."
    )
    return CLAIM.finding(
        same_outputs and same_training,
        statement,
        share,
        unit="of the distance that training moves the kernels separates the two networks",
        uncertainty=(
            f"deterministic: the largest over {steps} and all kernels; what remains is rounding"
        ),
        data=(
            f"LeNet-5 in double precision, {steps} of {count(params.batch_size, 'image')} of "
            f"{study.title}, one seed; random images and kernels for the outputs."
        ),
        tables={
            "layers": training["layers"],
            "answers": training["answers"],
            "training": training["training"],
            "outputs": outputs,
            "kernels": training["kernels"],
        },
        details={
            "output_error_in_rounding_bounds": error,
            "outputs": compared,
            "moved": moved,
            "apart": apart,
            "control": control,
            "apart_in_single_precision": apart_single / moved_single,
            "tolerance": TOLERANCE,
        },
    )

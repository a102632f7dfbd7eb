"""Claim: max pooling keeps the strongest activation, average pooling smooths; pooling makes maps
smaller, and the network tolerant of small shifts.

    max: y[i, j] = max of the window at (s·i, s·j),  average: y[i, j] = its mean.

The effect of pooling must be separated from that of a stride of 2. A convolution with stride 2
computes every second pixel of its maps and leaves out the rest: the same sizes, without pooling.

Experiment on maps, those of LeNet-5's trained first convolution behind ReLU, for each image:

- the strongest activation kept: max(after) / max(before), averaged over the maps;
- roughness: mean difference of neighbouring pixels after, relative to the mean activation before;
- change by a shift: ‖f(T₁x) − f(x)‖ / ‖f(x)‖ where T₁ moves the image by one pixel.

The first two need no experiment: the largest of an even map's 2×2 windows is the map's, and the
difference of two means of four is the mean of four differences. They are verified on real maps.

Experiment on networks: one small network with max pooling, with average pooling, with blurred max
pooling and with stride 2, alike in parameters, in map sizes and in training, judged on images moved
by 0 to d pixels. How many points the moves cost is averaged over 1 to d, since at multiples of 2 a
stride of 2 moves with the image, and between them not. Blurring takes out what every second pixel
cannot represent; what it saves over max pooling has an answer of its own, beside the verdict.

The claim has four parts: sizes are ⌊(H − k)/s⌋ + 1; max pooling keeps the strongest activation of
every map exactly; average pooling leaves smoother maps than stride 2 does, on every image; moves
cost the network with max pooling at least one point less than the one with stride 2. It is shown if
all hold, and shown not to hold if one of the first three fails or the last is clearly less.

Source: Zhang, "Making convolutional networks shift-invariant again", ICML 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cnnpipe.findings.estimates import Estimate, summarize
from cnnpipe.findings.evidence import above, all_of, fact
from cnnpipe.findings.finding import Finding
from cnnpipe.findings.wording import NBSP, count, percent, short, tenths
from cnnpipe.functional import relu
from cnnpipe.geometry import output_size
from cnnpipe.layers import Conv2d
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.figures.pooling import draw
from cnnpipe.principles.moved_images import moved_in_turn, points_lost, train_and_move
from cnnpipe.principles.networks import (
    AVERAGE,
    BLUR,
    MAX,
    STRIDE,
    Reduction,
    pooling_layers,
    pooling_network,
)
from cnnpipe.principles.study import POINT, Study

CLAIM = Claim(
    name="pooling",
    sentence=(
        "Max pooling keeps the strongest activation and average pooling smooths; pooling reduces "
        "dimensions and buys tolerance of small shifts."
    ),
    question="What does pooling do to maps and to shifts that stride alone does not?",
    limits=(
        "Windows of 2×2 that do not overlap, in one small network. Pooling also costs more: a "
        "convolution before it computes four outputs for each that a stride of 2 computes."
    ),
    draw=draw,
)

WINDOWS: Mapping[Reduction, int] = {MAX: 2, AVERAGE: 2, BLUR: 2, STRIDE: 1}
"""Pixels along the side of the window that counts for the size of the maps; all step by 2."""

Reduce = Callable[[Tensor], Tensor]
REDUCTIONS: Mapping[Reduction, Reduce] = {
    **{name: nn.Sequential(*pooling_layers(name)) for name in (MAX, AVERAGE, BLUR)},
    STRIDE: lambda maps: maps[..., ::2, ::2],
}


def measure(study: Study) -> Finding:
    """Both experiments, and the verdict on the four parts."""
    params = study.params.pooling
    images, _ = study.test_examples(params.map_images)
    moved_images = moved_in_turn(images, 1, study.normalization.background)
    convolution = next(x for x in study.models["lenet5"] if isinstance(x, Conv2d))
    with torch.inference_mode():
        maps, moved_maps = (relu(convolution(x)) for x in (images, moved_images))  # (N, C, H, W)
    networks: dict[str, Callable[[], nn.Module]] = {
        name: partial(pooling_network, name, study.classes) for name in WINDOWS
    }
    compare = partial(train_and_move, params=params, networks=networks)
    accuracies = study.repeat(CLAIM.name, params.runs, compare)
    return judge(measure_maps(maps, moved_maps), example_of(maps), accuracies, study)


def measure_maps(
    maps: Tensor, moved_maps: Tensor, reductions: Mapping[Reduction, Reduce] = REDUCTIONS
) -> pd.DataFrame:
    """What each reduction makes of feature maps, image by image.

    Shape: (N, C, H, W) both, of images and of the same images moved by a pixel.

    Returns:
        columns reduction, image, before, after, expected (sizes, pixels), kept, roughness, change
        (fractions).
    """
    before = maps.shape[-1]
    tables = []
    for name, reduce in reductions.items():
        after, moved_after = reduce(maps), reduce(moved_maps)  # (N, C, H_out, W_out)
        table = {
            "reduction": name,
            "image": range(len(maps)),
            "before": before,
            "after": after.shape[-1],
            "expected": output_size(before, WINDOWS[name], stride=2),
            "kept": strongest_kept(maps, after),
            "roughness": roughness(after) / maps.mean(dim=(1, 2, 3)),
            "change": change(after, moved_after),
        }
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def example_of(maps: Tensor) -> pd.DataFrame:
    """The strongest map of the first image, before and after each reduction, pixel by pixel.

    Shape: maps (N, C, H, W).

    Returns:
        columns reduction ("before" for none), row, column, activation.
    """
    strongest = int(maps[0].mean(dim=(1, 2)).argmax())
    chosen = maps[:1, strongest : strongest + 1]  # (1, 1, H, W)
    versions = {"before": chosen} | {name: reduce(chosen) for name, reduce in REDUCTIONS.items()}
    rows = [
        (name, row, column, round(float(activation), 6))
        for name, version in versions.items()
        for (row, column), activation in np.ndenumerate(version[0, 0].numpy())
    ]
    return pd.DataFrame(rows, columns=["reduction", "row", "column", "activation"])


def strongest_kept(before: Tensor, after: Tensor) -> Tensor:
    """max(after) / max(before), averaged over the maps that are not zero everywhere.

    Shape: (N, C, H, W), (N, C, H_out, W_out) → (N,).
    """
    strongest = before.amax(dim=(2, 3))  # (N, C)
    kept: Tensor = after.amax(dim=(2, 3)) / strongest
    return torch.nanmean(kept, dim=1)  # 0 / 0 is NaN


def roughness(maps: Tensor) -> Tensor:
    """Mean |difference of neighbouring pixels|, below and beside each other.

    Shape: (N, C, H, W) → (N,).
    """
    below, beside = (maps.diff(dim=axis).abs().mean(dim=(1, 2, 3)) for axis in (2, 3))
    return (below + beside) / 2


def change(before: Tensor, after: Tensor) -> Tensor:
    """‖after − before‖ / ‖before‖.

    Shape: (N, C, H, W) twice → (N,).
    """
    distance: Tensor = (after - before).flatten(1).norm(dim=1)
    size: Tensor = before.flatten(1).norm(dim=1)
    return distance / size


def judge(
    maps: pd.DataFrame, example: pd.DataFrame, accuracies: pd.DataFrame, study: Study
) -> Finding:
    """The verdict on the four parts.

    Args:
        maps: of `measure_maps`.
        example: of `example_of`.
        accuracies: of `train_and_move`.
        study: budget and data, for the words.
    """
    params = study.params.pooling
    shift = params.judged_shift
    of = {name: group.reset_index() for name, group in maps.groupby("reduction", sort=False)}
    by_shift = [points_lost(accuracies, pixels) for pixels in range(1, shift + 1)]
    lost = {name: np.mean([of_shift[name] for of_shift in by_shift], axis=0) for name in WINDOWS}
    saved_by_run = (lost[STRIDE] - lost[MAX]).tolist()
    by_blur = (lost[MAX] - lost[BLUR]).tolist()
    saved, tolerance = Estimate.over_runs(saved_by_run), above(saved_by_run, POINT)
    smoother = of[AVERAGE]["roughness"] / of[STRIDE]["roughness"]
    parts = {
        "reduces dimensions": bool((maps["after"] == maps["expected"]).all()),
        "max keeps the strongest": bool((of[MAX]["kept"] == 1).all()),
        "average smooths": bool((smoother < 1).all()),
    }
    sizes, keeps, smooths = parts.values()
    buys = tolerance.verdict() == "shown"
    table = compare(maps, accuracies, shift)
    rows = table.set_index("reduction")
    kept = rows["strongest activation kept"].map(percent)
    costs = {name: tenths(values.mean()) for name, values in lost.items()}
    statement = (
        f"Maps go from {rows['sizes'][MAX]}. Max pooling {'keeps' if keeps else 'does not keep'} "
        f"the strongest activation of every map ({kept[MAX]} of it; average pooling "
        f"{kept[AVERAGE]}, stride alone {kept[STRIDE]}). Average pooling "
        f"{'smooths' if smooths else 'does not smooth'}: neighbouring pixels differ "
        f"{short(rows['roughness'][AVERAGE] / rows['roughness'][STRIDE])} times as much as with "
        f"stride alone. Pooling {'buys' if buys else 'is not shown to buy'} shift tolerance: "
        f"moves by up to {count(shift, 'pixel')} cost {costs[MAX]} points of accuracy with max "
        f"pooling, {costs[AVERAGE]} with average pooling, {costs[BLUR]} with blurred max pooling "
        f"and {costs[STRIDE]} with strided convolution; max pooling saves {tenths(saved.mean)} "
        f"(95{NBSP}% interval {saved.range()}). Blurring saves more than a point of what is left: "
        f"{above(by_blur, POINT).verdict()} ({Estimate.over_runs(by_blur).range()} points)."
    )
    return CLAIM.finding(
        all_of(fact(sizes), fact(keeps), fact(smooths), tolerance),
        statement,
        saved,
        unit=(
            "percentage points of accuracy that max pooling saves over strided convolution "
            f"where images are moved by up to {count(shift, 'pixel')}"
        ),
        uncertainty=f"{count(params.runs, 'run')}, paired: same images, same batches",
        data=(
            f"{study.title}: maps of LeNet-5's first convolution on "
            f"{count(len(of[MAX]), 'test image')}; each run draws {params.train_images:,} training "
            f"images and {study.tested(params.test_images)}, a quarter of which is moved each way; "
            f"{count(params.steps, 'step')} of {count(params.batch_size, 'image')}"
        ),
        tables={
            "reductions": table,
            "maps": maps.drop(columns=["before", "after", "expected"]),
            "example": example,
            "accuracy": summarize(accuracies, by=["network", "shift"]),
            "runs": accuracies,
        },
        details={
            "parts": parts,
            "tolerance": tolerance.verdict(),
            "judged_shift": shift,
            "points_lost": {name: float(values.mean()) for name, values in lost.items()},
            "roughness_of_average_over_stride": float(smoother.mean()),
        },
    )


def compare(maps: pd.DataFrame, accuracies: pd.DataFrame, shift: int) -> pd.DataFrame:
    """One row per reduction: sizes, and means over images and over runs."""
    rows = []
    for name in WINDOWS:
        of_maps = maps[maps["reduction"] == name]
        runs = accuracies[accuracies["network"] == name]
        before, after = int(of_maps["before"].iloc[0]), int(of_maps["after"].iloc[0])
        rows.append(
            {
                "reduction": name,
                "sizes": f"{before}×{before} to {after}×{after}",
                "parameters of the network": int(runs["parameters"].iloc[0]),
                "strongest activation kept": of_maps["kept"].mean(),
                "roughness": of_maps["roughness"].mean(),
                "change by 1 pixel": of_maps["change"].mean(),
                "accuracy": runs.loc[runs["shift"] == 0, "accuracy"].mean(),
                "accuracy, moved": runs.loc[runs["shift"] == shift, "accuracy"].mean(),
            }
        )
    return pd.DataFrame(rows)

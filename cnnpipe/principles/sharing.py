"""Claim: weight sharing. One kernel for all positions, instead of weights for each.

A layer from C channels of H×W pixels to O channels of the same size has

    shared           O·C·k²                3×3, 64 → 64 channels: 36,864, at any H and W
    locally connected  H·W · O·C·k²        the same windows, with separate weights for each
    fully connected  (O·H·W) · (C·H·W)     every output joined to every input

weights (biases apart: O, O·H·W and O·H·W). Experiment:

- Counts: the layers are built at each size of feature map and their numbers counted.
- The cause of tolerance to shifts: a small network of two convolutions, and its twin with locally
  connected layers of the same dimensions. The twin begins as *the same function*, weight for
  weight, so that only the freedom of its weights differs. Same images, same batches, same
  optimiser, and the same list of learning rates to choose from in each run. Each
  form has two heads: a classifier of every position, and one of each map's maximum, which drops
  the position. All four are judged on test images moved by d pixels.

      saved = points that the moves cost the twin − points that they cost the shared form,

  averaged over both heads, run by run.

Shown if the shared form has the fewest weights on every feature map of at least 2×2 pixels and
saves more than one point. Shown not to hold if a count contradicts, or sharing saves clearly less
than that, as it must where neighbouring pixels are unrelated. That a shared layer learns better
without any move is no part of the claim: how far it leads at 0 pixels is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

from cnnpipe.findings.estimates import Estimate, paired, summarize
from cnnpipe.findings.evidence import above, all_of, fact
from cnnpipe.findings.finding import Finding
from cnnpipe.findings.wording import NBSP, count, tenths, written
from cnnpipe.layers import Conv2d, Linear
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.figures.sharing import draw
from cnnpipe.principles.moved_images import points_lost, train_and_move
from cnnpipe.principles.networks import FORMS, HEADS, Form, Head, twin
from cnnpipe.principles.study import POINT, Study

CLAIM = Claim(
    name="sharing",
    sentence=(
        "Weight sharing: a 3×3 convolution from 64 to 64 channels has 36,864 weights at any size "
        "of feature map, the fully connected layer with the same dimensions far more, and "
        "sharing is what makes a network tolerant of shifts."
    ),
    question="What would it cost to give each position its own weights, and what would be lost?",
    limits=(
        "Deeper networks, augmentation, longer training; and images that are not centred, "
        "where weights that know only one place should fare worse."
    ),
    draw=draw,
)
FEATURE_MAPS = (1, 2, 3, 4, 7, 8, 14, 16, 22, 23, 28, 32, 56, 112, 224)
"""Sides at which the weights are counted: those of LeNet-5, VGG-16 and ours, the smallest, and
those between which a million becomes a billion."""
EXAMPLES = (7, 28, 224)
"""Sides that the statement quotes."""


def measure(study: Study) -> Finding:
    params = study.params.sharing
    networks = {
        name_of(form, head): partial(twin, form, head, study.classes)
        for form, head in product(FORMS, HEADS)
    }
    compare = partial(train_and_move, params=params, networks=networks)
    runs = study.repeat(CLAIM.name, params.runs, compare)
    return judge(runs, count_weights(FEATURE_MAPS), study)


def name_of(form: Form, head: Head) -> str:
    """Of a network in tables and figures."""
    return f"{form}, {head}"


def count_weights(sides: Sequence[int], channels: int = 64) -> pd.DataFrame:
    """Weights without biases of the three forms at each size of feature map, stride 1, padded.

    Returns:
        columns side, shared, local, full, ratio (full over shared).
    """
    # On the meta device a layer has its true shape and no memory.
    convolution = Conv2d(channels, channels, 3, padding="same", bias=False, device="meta")
    shared = convolution.weight.numel()
    rows = []
    for side in sides:
        features = channels * side**2
        full = Linear(features, features, bias=False, device="meta").weight.numel()
        rows.append((side, shared, side**2 * shared, full, full / shared))
    return pd.DataFrame(rows, columns=["side", "shared", "local", "full", "ratio"])


def judge(runs: pd.DataFrame, weights: pd.DataFrame, study: Study) -> Finding:
    """The counts at every size, and what sharing saves on moved images."""
    params = study.params.sharing
    shift = params.judged_shift
    lost = points_lost(runs, shift)
    by_head = {
        head: np.subtract(lost[name_of("local", head)], lost[name_of("shared", head)]).tolist()
        for head in HEADS
    }
    saved = [sum(heads) / len(heads) for heads in zip(*by_head.values(), strict=True)]
    estimate = Estimate.over_runs(saved)
    still = runs[runs["shift"] == 0]
    kept: Head = "position kept"
    lead = Estimate.over_runs(
        paired(still, "network", name_of("shared", kept), name_of("local", kept)).tolist()
    ).times(100)
    larger = weights[weights["side"] >= 2]
    fewest = bool((larger["shared"] < larger[["local", "full"]].min(axis=1)).all())
    full = {int(side): int(n) for side, n in zip(weights["side"], weights["full"], strict=True)}
    convolution = int(weights["shared"].iloc[0])
    examples = [f"{full[side]:,} at {side}×{side}" for side in EXAMPLES if side in full]
    fewer = [f"{side}×{side}: {n:,}" for side, n in full.items() if n <= convolution]
    millions = [f"{side}×{side}" for side, n in full.items() if 10**6 <= n < 10**9]
    moves = f"moved by {count(shift, 'pixel')}"
    costs = "; ".join(
        f"with {head} {tenths(sum(lost[name_of('shared', head)]) / params.runs)} points against "
        f"{tenths(sum(lost[name_of('local', head)]) / params.runs)}"
        for head in HEADS
    )
    statement = (
        f"A 3×3 convolution from 64 to 64 channels has {convolution:,} weights; "
        f"the fully connected layer with the same dimensions has {', '.join(examples)}"
        + (f" (and no more than that only at {', '.join(fewer)})" if fewer else "")
        + (f"; millions from {millions[0]} to {millions[-1]}" if millions else "")
        + f". Images {moves} cost the network with shared weights less accuracy than its unshared "
        f"twin ({costs}): sharing saves {tenths(estimate.mean)} points (95{NBSP}% interval "
        f"{estimate.range()}). On images that are not moved it is worth "
        f"{written(lead.mean, '+.1f')} points ({lead.range('+.1f')})."
    )
    return CLAIM.finding(
        all_of(fact(fewest), above(saved, POINT)),
        statement,
        estimate,
        unit=f"percentage points of accuracy that sharing saves on images {moves}",
        uncertainty=f"{count(params.runs, 'run')}, paired: same images, same start, same batches",
        data=(
            f"{study.title}: each run draws {params.train_images:,} training images and "
            f"{study.tested(params.test_images)}, a quarter of which is moved each way; "
            f"{count(params.steps, 'step')} of {count(params.batch_size, 'image')}."
        ),
        tables={
            "weights": weights,
            "accuracy": summarize(runs, by=["network", "shift"]),
            "runs": runs,
        },
        details={
            "shared_weights": convolution,
            "full_weights": {str(side): n for side, n in full.items()},
            "judged_shift": shift,
            "saved_by_head": {head: sum(v) / len(v) for head, v in by_head.items()},
            "lead_unmoved": lead.mean,
            "parameters": runs.groupby("network")["parameters"].first().to_dict(),
        },
    )

"""Claim: features form a hierarchy: each layer builds on the one before it, from edges to objects.

If layers build on each other, the class of an image must be easier to read from later layers. Three
measures of the output of each layer of weights (after activation and pooling), the first two also
for the same network with random weights:

- Linear probes (Alain, Bengio 2016): how well a linear classifier predicts the class from a layer's
  output x, by ridge regression on one-hot labels with a penalty λ of least leave-one-out error:

      W = argmin ‖X·W − Y‖² + λ‖W‖²

- What excites a filter most: the test images with its largest responses, cut to the pixels that
  this response sees, and how many of them are of one class.
- Receptive fields, by `cnnpipe.geometry`.

The number is by how much the accuracy of probes rises from the first layer to the last hidden one
in the trained network, in percentage points. Only what exceeds the rise in the untrained network
counts: architecture alone gives larger receptive fields, only training gives features.

The claim is false for a network without activation functions, which is one linear map. Its probes
may still rise, because its last layer has learned from the whole training set and a probe from part
of it. So the last probe must also beat a linear classifier of the pixels that was trained on the
whole training set.

The claim is supported if in every network probes rise, rise more than in the untrained network, end
above that linear classifier, and receptive fields grow; partly, if some network does all that;
otherwise not: random weights refute it. Networks of a single convolution have no hierarchy and are
left out. Intervals are 95 %, bootstrap over the test images; all of an interval must lie above
zero.

Sources: Alain, Bengio, "Understanding intermediate layers using linear classifier probes", 2016;
Zeiler, Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cnnpipe.findings.finding import Finding, Verdict, decide
from cnnpipe.findings.wording import percent, title_of
from cnnpipe.inspection.activations import capture_activations
from cnnpipe.inspection.responses import Strongest, cut, strongest
from cnnpipe.inspection.structure import Field, hidden_convolutions, hidden_layers
from cnnpipe.inspection.untrained import untrained
from cnnpipe.layers import Linear
from cnnpipe.params.principles import Schedule
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.estimates import Estimate, intervals, least, means
from cnnpipe.principles.figures.hierarchy import draw
from cnnpipe.principles.study import Examples, Study, train

CLAIM = Claim(
    name="hierarchy",
    sentence=(
        "Features form a hierarchy: early layers find simple ones such as edges, "
        "deeper layers combine them into ever more complex ones."
    ),
    question="What does each layer know of the class, and what excites its filters?",
    limits=(
        "That the class is ever easier to read does not show that features are parts or "
        "objects, nor that a person would name them. Patches show what excites a filter, not "
        "what leaves it cold."
    ),
    draw=draw,
)

PIXELS = "pixels"
PENALTIES = 10.0 ** np.arange(-4, 3)
"""λ, as multiples of the mean squared length of an example."""
TOP = 10
"""Most exciting images of a filter among which classes are counted."""

Array = NDArray[np.float64]


def measure(study: Study) -> Finding:
    params, seed = study.params.hierarchy, study.seed
    training = study.training_examples(params.images)
    test = test_inputs, test_labels = study.first_test_examples(params.test_images)
    images = study.dataset.test.images[: params.test_images]
    by_linear = _right(linear_classifier(study, params.steps)(test_inputs), test_labels)
    of_pixels = probe(training, test, study.classes)

    fields: dict[str, list[int]] = {}
    gains: dict[str, Estimate] = {}
    over_untrained: dict[str, Estimate] = {}
    over_linear: dict[str, Estimate] = {}
    probes, purities, patches = [], [], []
    for name, model in study.models.items():
        field_of = {layer: hidden.field for layer, hidden in hidden_convolutions(model).items()}
        if len(field_of) == 1:
            continue
        fields[name] = [field.size for field in field_of.values()]
        fresh = untrained(model, training[0][:500], seed=seed)
        rise: dict[str, Array] = {}
        for state, network in [("untrained", fresh), ("trained", model)]:
            place = {"model": name, "state": state}
            seen, seen_in_test = outputs(network, training[0]), outputs(network, test_inputs)
            correct = [
                probe((seen[layer], training[1]), (seen_in_test[layer], test_labels), study.classes)
                for layer in seen
            ]
            rise[state] = correct[-1] - correct[0]
            for layer, right in zip([PIXELS, *seen], [of_pixels, *correct], strict=True):
                accuracy, low, high = Estimate.over_examples(right, seed)
                row = place | {"layer": layer, "accuracy": accuracy, "low": low, "high": high}
                field = field_of[layer].size if layer in field_of else pd.NA
                probes.append(row | {"receptive field": field})
            for layer, responses in strongest(network, test_inputs).items():
                purities.append(
                    place | {"layer": layer, "purity": purity(responses.values, test_labels)}
                )
                if state == "trained":
                    cut = _patches(
                        responses, field_of[layer], images, params.filters, params.patches
                    )
                    patches += [{"model": name, "layer": layer, **patch} for patch in cut]
        for estimates, difference in [
            (gains, rise["trained"]),
            (over_untrained, rise["trained"] - rise["untrained"]),
            (over_linear, correct[-1] - by_linear),
        ]:
            estimates[name] = Estimate.over_examples(difference, seed).times(100)
    verdict = judge(fields, gains, over_untrained, over_linear)
    decisive = least(gains)
    details = {
        "rise": means(gains),
        "rise_interval": intervals(gains),
        "over_untrained_interval": intervals(over_untrained),
        "over_linear_interval": intervals(over_linear),
        "linear_accuracy": float(by_linear.mean()),
        "receptive_fields": fields,
        "top": TOP,
        "chance": 1 / study.classes,
    }
    tables = {
        name: pd.DataFrame(rows)
        for name, rows in [("probes", probes), ("purity", purities), ("patches", patches)]
    }
    return CLAIM.finding(
        verdict,
        _statement(verdict, gains, tables, details),
        gains[decisive],
        unit=(
            "percentage points that a linear probe gains from the first layer to the last hidden "
            f"one, in {title_of(decisive)}, which gains least"
        ),
        uncertainty=f"bootstrap over {len(by_linear):,} test images",
        data=(
            f"Probes learn from {len(training[1]):,} training images of {study.title} and are "
            f"judged on {len(by_linear):,} test images, among which filters find what excites "
            "them; the filters shown are spread evenly over a layer."
        ),
        tables=tables,
        details=details,
    )


def judge(fields: Mapping[str, Sequence[int]], *gains: Mapping[str, Estimate]) -> Verdict:
    """The verdict, by network.

    Args:
        fields: receptive field of each convolution, pixels.
        gains: rise of the probes' accuracy from the first layer to the last hidden one; how much
            more that is than in the untrained network; accuracy of the last probe minus that of the
            linear classifier of the pixels.
    """
    holds = [
        all(gain[name].low > 0 for gain in gains) and list(sizes) == sorted(set(sizes))
        for name, sizes in fields.items()
    ]
    return decide(all(holds), any(holds))


@torch.inference_mode()
def outputs(model: nn.Sequential, inputs: Tensor) -> dict[str, Tensor]:
    """The outputs of the hidden layers, in order, by the name of the layer of weights.

    Shape: inputs (N, 1, H, W) → (N, features) each.
    """
    layers = hidden_layers(model)
    with capture_activations(model, [layer.output.name for layer in layers]) as activations:
        model(inputs)
    return {layer.name: activations[layer.output.name].flatten(1) for layer in layers}


def probe(training: Examples, test: Examples, classes: int) -> Array:
    """Which test examples a linear classifier of the given features gets right, as 0 and 1.

    Ridge regression of one-hot labels on centred features, in its dual form, W = Xᵀ·A with
    A = (K + λ)⁻¹·Y and K = X·Xᵀ, as there are more features than examples. An example left out
    would be missed by residual_i / (1 − 1/n − H_ii) with H = K·(K + λ)⁻¹, so that choosing λ costs
    no further fits; 1/n is the intercept's part, without which the smallest λ would always seem
    best.

    Shape: inputs (n, …) to learn from, (m, …) to test → (m,).

    Source: Rifkin, Lippert, "Notes on regularized least squares", 2007, for the example left out.
    """
    (inputs, labels), (test_inputs, test_labels) = training, test
    X, T = inputs.flatten(1), test_inputs.flatten(1)
    mean = X.mean(dim=0)
    X, T = X - mean, T - mean
    Y = nn.functional.one_hot(labels, classes).double()
    level = Y.mean(dim=0)
    values, Q = torch.linalg.eigh((X @ X.T).double())  # K = Q·diag(values)·Qᵀ
    values = values.clamp(min=0)
    rotated = Q.T @ (Y - level)
    scale = values.mean().clamp(min=torch.finfo(torch.float32).tiny)
    fits = []
    for penalty in PENALTIES:
        shrink = 1 / (values + penalty * scale)  # (n,)
        A = Q @ (shrink[:, None] * rotated)  # (n, classes)
        leverage = Q.square() @ (values * shrink)  # (n,), the diagonal of H
        left_out = penalty * scale * A / (1 - 1 / len(X) - leverage)[:, None]
        fits.append((left_out.square().mean().item(), A))
    _, A = min(fits, key=lambda fit: fit[0])
    return _right((T @ X.T).double() @ A + level, test_labels)


def _right(logits: Tensor, labels: Tensor) -> Array:
    """Which examples are classified correctly, as 0 and 1.

    Shape: (N, classes), (N,) → (N,).
    """
    right: Array = (logits.argmax(dim=1) == labels).double().numpy()
    return right


def linear_classifier(study: Study, steps: int) -> nn.Module:
    """Logits as a linear map of the pixels, trained on the whole training set."""
    split = study.dataset.train
    inputs = study.normalization(split.images).flatten(1)
    build = partial(Linear, inputs.shape[1], study.classes)
    schedule = Schedule(steps=steps, batch_size=256, lr=0.004)
    linear = train(build, (inputs, split.labels), schedule, study.seed)
    return nn.Sequential(nn.Flatten(), linear).requires_grad_(requires_grad=False)


def purity(values: Tensor, labels: Tensor) -> float:
    """Mean over filters: share of the commonest class among the images that excite it most.

    Filters that respond to all images alike are left out.

    Shape: values (N, C), labels (N,).
    """
    alive = values.amax(dim=0) > values.amin(dim=0)
    top = values[:, alive].argsort(dim=0, descending=True, stable=True)[:TOP]  # (TOP, C)
    counts = nn.functional.one_hot(labels[top]).sum(dim=0)  # (C, classes)
    return (counts.amax(dim=1) / len(top)).mean().item()


def _patches(
    responses: Strongest, field: Field, images: Tensor, filters: int, patches: int
) -> Iterator[dict[str, Any]]:
    """The most exciting patches of some filters, evenly spread over the layer's."""
    channels = responses.values.shape[1]
    for channel in np.linspace(0, channels - 1, min(filters, channels)).round().astype(int):
        order = responses.values[:, channel].argsort(descending=True, stable=True)
        for rank, image in enumerate(order[:patches].tolist()):
            top = field.first(int(responses.rows[image, channel]))
            left = field.first(int(responses.columns[image, channel]))
            patch = cut(images[image], top, left, field.size)
            yield {
                "filter": int(channel),
                "rank": rank,
                "image": image,
                "response": responses.values[image, channel].item(),
                "field": field.size,
                "side": len(patch),
                "pixels, two hexadecimal digits each, row by row": patch.numpy().tobytes().hex(),
            }


def _statement(
    verdict: Verdict,
    gains: Mapping[str, Estimate],
    tables: Mapping[str, pd.DataFrame],
    details: Mapping[str, Any],
) -> str:
    probes, purities = (tables[name].set_index(["model", "state"]) for name in ("probes", "purity"))
    parts, pure, fields = [], [], []
    for model, rise in gains.items():
        name = title_of(model)
        trained, fresh = (probes["accuracy"][model, state] for state in ("trained", "untrained"))
        parts.append(
            f"in {name} a linear probe's accuracy goes, from the first layer to the last hidden "
            f"one, from {percent(trained.iloc[1])} to {percent(trained.iloc[-1])} trained and from "
            f"{percent(fresh.iloc[1])} to {percent(fresh.iloc[-1])} untrained; trained it rises by "
            f"{rise.mean:.1f} points ({rise.low:.1f} to {rise.high:.1f})"
        )
        trained, fresh = (purities["purity"][model, state] for state in ("trained", "untrained"))
        pure.append(
            f"from {percent(trained.iloc[0], 0)} to {percent(trained.iloc[-1], 0)} in {name} "
            f"(untrained from {percent(fresh.iloc[0], 0)} to {percent(fresh.iloc[-1], 0)})"
        )
        sizes = details["receptive_fields"][model]
        fields.append(f"from {sizes[0]} to {sizes[-1]} pixels in {name}")
    return (
        f"{verdict.capitalize()}: {'; '.join(parts)}. A linear classifier of the pixels trained on "
        f"the whole training set reaches {percent(details['linear_accuracy'])}. Of the "
        f"{TOP} images that excite a trained filter most, those of one class go "
        f"{' and '.join(pure)} with depth; receptive fields grow {' and '.join(fields)}."
    )

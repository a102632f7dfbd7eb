"""Hierarchy: probes, windows and patches are right; random and linear networks refute the claim."""

from collections import OrderedDict
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from cnnpipe.layers import AvgPool2d, Conv2d
from cnnpipe.models import build_model
from cnnpipe.params.principles import Schedule
from cnnpipe.principles import hierarchy
from cnnpipe.principles.estimates import Estimate
from cnnpipe.principles.hierarchy import judge, measure, probe, purity
from cnnpipe.principles.study import train
from tests.helpers.tiny_study import BUDGETS, tiny_study

STUDY = tiny_study(train=600, test=100, hierarchy=BUDGETS.hierarchy)


def trained(build):
    schedule = Schedule(steps=80, batch_size=32, lr=0.005)
    return train(build, STUDY.training_examples(600), schedule, 0)


def linear_network() -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            c1=Conv2d(1, 4, 5),
            s2=AvgPool2d(2),
            c3=Conv2d(4, 8, 5),
            s4=AvgPool2d(2),
            flatten=nn.Flatten(),
            f5=nn.Linear(128, 16),
            output=nn.Linear(16, 2),
        )
    )


def test_a_trained_network_supports_the_claim():
    vgg = partial(build_model, "vgg", blocks=((4,), (8,)), hidden=16, classes=2, dropout=0.0)
    finding = measure(replace(STUDY, models={"vgg": trained(vgg)}))
    assert finding.verdict == "supported"
    assert finding.interval[0] > 5
    assert finding.statement.startswith("Supported: in VGG")


def test_a_network_without_activations_refutes_the_claim():
    finding = measure(replace(STUDY, models={"lenet5": trained(linear_network)}))
    assert finding.verdict == "not supported"


def test_random_weights_refute_the_claim():
    finding = measure(STUDY)
    assert finding.verdict == "not supported"
    assert finding.statement.startswith("Not supported: ")


@pytest.mark.parametrize("doubtful", [None, "rise", "over untrained", "over linear", "fields"])
def test_verdict(doubtful):
    clear, doubt = Estimate(0.1, 0.05, 0.15), Estimate(0.1, -0.01, 0.2)
    fields = {"good": [5, 14], "other": [5, 5] if doubtful == "fields" else [5, 14]}
    gains = [
        {"good": clear, "other": doubt if doubtful == gain else clear}
        for gain in ("rise", "over untrained", "over linear")
    ]
    assert judge(fields, *gains) == ("partly supported" if doubtful else "supported")
    del fields["good"]
    assert judge(fields, *gains) == ("not supported" if doubtful else "supported")


@pytest.mark.parametrize(("features", "penalty"), [(8, 0.1), (60, 1.0)])
def test_probe_is_ridge_regression_with_the_penalty_of_least_error_left_out(
    features, penalty, monkeypatch
):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 3
    X = torch.randn(40, features, generator=generator) + nn.functional.one_hot(labels, features)
    T = torch.randn(200, features, generator=generator) + 3
    monkeypatch.setattr(hierarchy, "PENALTIES", np.array([penalty]))
    right = probe((X, labels), (T, torch.zeros(200, dtype=torch.int64)), 3)
    values = np.linalg.eigvalsh(np.cov(X.numpy().T, bias=True) * 40)
    ridge = Ridge(alpha=penalty * values.sum() / 40).fit(X.numpy(), np.eye(3)[labels])
    np.testing.assert_array_equal(right, ridge.predict(T.numpy()).argmax(axis=1) == 0)


def test_penalty_is_chosen_by_the_examples_left_out(monkeypatch):
    """Pure noise beside one weak feature: without a large penalty the fit is of the noise."""
    generator = torch.Generator().manual_seed(0)
    labels, test_labels = torch.arange(60) % 2, torch.arange(400) % 2
    noisy = [(torch.randn(len(y), 60, generator=generator), y) for y in (labels, test_labels)]
    for values, y in noisy:
        values[:, 0] += 3.0 * y
    chosen = probe(*noisy, 2).mean()
    monkeypatch.setattr(hierarchy, "PENALTIES", np.array([1e-4]))
    assert chosen > probe(*noisy, 2).mean() + 0.05


def test_purity_counts_the_commonest_class_of_filters_that_tell_images_apart():
    labels = torch.arange(20) // 10
    ordered = torch.arange(20.0).flip(0)  # the first ten images are all of class 0
    mixed = torch.tensor([1.0, 0.0]).repeat(10) + torch.arange(20) / 1000  # five of each
    dead = torch.zeros(20)
    assert purity(ordered[:, None], labels) == 1
    assert purity(torch.stack([ordered, mixed, dead], dim=1), labels) == pytest.approx(0.75)

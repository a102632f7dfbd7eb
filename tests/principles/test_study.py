"""What the experiments share: examples drawn by the seed, and a plain way to train."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from cnnpipe.data.preprocessing import Normalization
from cnnpipe.models import TrainedNetwork
from cnnpipe.params.principles import Schedule
from cnnpipe.principles.study import Study, accuracy, fit
from cnnpipe.system.errors import InputError
from tests.helpers.tiny_study import TINY, tiny_study


def test_networks_of_two_normalisations_are_refused():
    networks = [TrainedNetwork(name, m, TINY.normalization) for name, m in TINY.models.items()]
    study = Study.of(TINY.dataset, networks, TINY.params, TINY.seed)
    assert (study.normalization, study.models) == (TINY.normalization, TINY.models)
    networks[1] = replace(networks[1], normalization=Normalization(0.5, 0.5))
    with pytest.raises(InputError, match="lenet5 and vgg normalise images differently"):
        Study.of(TINY.dataset, networks, TINY.params, TINY.seed)


def test_examples_are_drawn_by_the_seed_and_grow_by_adding():
    study = tiny_study(train=64, test=32)
    inputs, labels = study.training_examples(10)
    more, more_labels = study.training_examples(20)
    assert inputs.shape == (10, 1, 28, 28)
    assert torch.equal(more[:10], inputs)
    assert torch.equal(more_labels[:10], labels)
    assert len(study.test_examples(1000)[1]) == 32


@pytest.fixture
def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))


CORNERS = torch.eye(4).reshape(4, 1, 2, 2)
SIDES = torch.tensor([0, 1, 0, 1])


def test_fit_learns_what_can_be_learned(linear):
    fit(linear, (CORNERS, SIDES), Schedule(steps=60, batch_size=4, lr=0.1), seed=0)
    assert accuracy(linear, (CORNERS, SIDES)) == 1
    assert not linear.training


def test_fit_depends_on_its_seed_alone():
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(9)
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        fit(model, (CORNERS, SIDES), Schedule(steps=5, batch_size=2, lr=0.1), seed)
        weights.append(model[1].weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_fit_shows_each_step_before_it_is_taken(linear):
    start, seen = linear[1].weight.detach().clone(), []

    def watch(step, model):
        seen.append((step, model[1].weight.detach().clone(), model[1].weight.grad is not None))

    fit(linear, (CORNERS, SIDES), Schedule(steps=3, batch_size=100, lr=0.1), 0, watch=watch)
    assert [step for step, _, _ in seen] == [0, 1, 2]
    assert torch.equal(seen[0][1], start)
    assert all(has_gradient for _, _, has_gradient in seen)

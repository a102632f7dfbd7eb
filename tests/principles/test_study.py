"""What the experiments share: examples drawn by the seed, and a plain way to train."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from cnnpipe.data.preprocessing import Normalization
from cnnpipe.models import TrainedNetwork
from cnnpipe.params.principles import Schedule
from cnnpipe.principles.study import Study, accuracy, train
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


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))


CORNERS = torch.eye(4).reshape(4, 1, 2, 2)
SIDES = torch.tensor([0, 1, 0, 1])


def test_what_can_be_learned_is_learned():
    schedule = Schedule(steps=60, batch_size=4, lr=0.1)
    network = train(linear, (CORNERS, SIDES), schedule, seed=0)
    assert accuracy(network, (CORNERS, SIDES)) == 1
    assert not network.training


def test_training_depends_on_its_seed_alone():
    schedule = Schedule(steps=5, batch_size=2, lr=0.1)
    first, same, other = (
        train(linear, (CORNERS, SIDES), schedule, seed)[1].weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_each_step_is_watched_before_it_is_taken():
    torch.manual_seed(0)
    start, seen = linear()[1].weight, []

    def watch(step, model):
        seen.append((step, model[1].weight.detach().clone(), model[1].weight.grad is not None))

    train(linear, (CORNERS, SIDES), Schedule(steps=3, batch_size=100, lr=0.1), 0, watch=watch)
    assert [step for step, _, _ in seen] == [0, 1, 2]
    assert torch.equal(seen[0][1], start)
    assert all(has_gradient for _, _, has_gradient in seen)

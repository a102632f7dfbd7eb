"""What the experiments share: examples drawn by the seed, and a plain way to train."""

from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
import torch
from torch import nn

from cnnpipe.data.preprocessing import Normalization
from cnnpipe.models import TrainedNetwork
from cnnpipe.params.principles import Budget, Schedule
from cnnpipe.principles.networks import perceptron
from cnnpipe.principles.study import Study, accuracy, train, tuned
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


def test_every_run_has_a_seed_that_no_other_study_has():
    seeds = {
        (base, claim, number): replace(TINY, seed=base).run(claim, number).seed
        for base in (1, 2)
        for claim in ("sharing", "pooling")
        for number in range(3)
    }
    assert len(set(seeds.values())) == len(seeds)
    first, second = (TINY.run("sharing", number) for number in (0, 1))
    for draw in (Study.training_examples, Study.test_examples):
        assert not torch.equal(draw(first, 8)[0], draw(second, 8)[0])


def test_finished_runs_are_not_run_again(tmp_path):
    study, seen = replace(TINY, kept=tmp_path), []

    def measure(run):
        seen.append(run.seed)
        return pd.DataFrame({"accuracy": [run.seed / 7]})

    two = study.repeat("sharing", 2, measure)
    three = study.repeat("sharing", 3, measure)
    assert len(seen) == len(set(seen)) == 3
    assert three["run"].tolist() == [0, 1, 2]
    pd.testing.assert_frame_equal(three[:2], two, check_exact=True)
    pd.testing.assert_frame_equal(three, TINY.repeat("sharing", 3, measure), check_exact=True)


def test_the_learning_rate_is_the_best_on_held_out_images():
    budget = Budget(runs=2, steps=20, batch_size=32, lr=[1e-7, 0.01], test_images=20)
    study = tiny_study(train=300, test=4)
    networks = {"MLP": partial(perceptron, 16, 2)}
    assert tuned(study, budget, networks, 200) == {"MLP": 0.01}


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

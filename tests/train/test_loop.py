"""The training loop on a data set of two shapes that is learned within seconds."""

from dataclasses import replace

import pytest
import torch
from ruamel.yaml import YAML
from torch import nn

from cnnpipe.data.dataset import Split
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.models import build_model, predict
from cnnpipe.params.runtime import RuntimeParams
from cnnpipe.params.train import AugmentParams, TrainParams
from cnnpipe.system.artifacts import load_csv
from cnnpipe.system.errors import InputError
from cnnpipe.train.loop import train
from cnnpipe.train.state import AveragedWeights, learning_curves
from tests.helpers.project import ROOT

SETTINGS = TrainParams(
    precision="float32",
    epochs=2,
    batch_size=16,
    label_smoothing=0.0,
    ema_decay=0.5,
    augment=AugmentParams(degrees=5, translate=0.05, scale=0.05, shear=5),
)


def bars(count: int, seed: int) -> Split:
    """Upright bars (class 0) and lying bars (class 1) at random places, with noise."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(60, (count, 28, 28), generator=generator, dtype=torch.uint8)
    labels = torch.randint(2, (count,), generator=generator)
    for image, label, place in zip(
        images, labels, torch.randint(8, 18, (count,), generator=generator), strict=True
    ):
        bar = image if label else image.T
        bar[place : place + 3, 6:22] = 255
    return Split(images, labels)


TRAINING, VALIDATION = bars(200, seed=0), bars(64, seed=1)
NORMALIZATION = Normalization.of(TRAINING.images)


def lenet5(backend: str = "scratch"):
    torch.manual_seed(0)
    return build_model("lenet5", backend=backend, classes=2)


def run(model=None, training=TRAINING, validation=VALIDATION, *, seed=0, observe=None, **changes):
    settings = SETTINGS.model_copy(update=changes)
    arguments = (model or lenet5(), training, validation, settings, NORMALIZATION)
    return train(*arguments, seed=seed, progress=False, observe=observe)


def assert_equal_weights(model, other):
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def test_defaults_are_the_shipped_parameters():
    """`train` needs no params.yaml: what the file ships and what Python assumes are the same."""
    shipped = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert TrainParams().model_dump() == shipped["train"]
    assert RuntimeParams().model_dump() == shipped["runtime"]


def test_a_model_and_two_splits_are_enough():
    model, _ = train(lenet5(), TRAINING, VALIDATION)
    arguments = (lenet5(), TRAINING, VALIDATION, TrainParams(), NORMALIZATION)
    assert_equal_weights(model, train(*arguments, seed=1)[0])


def test_without_a_terminal_each_epoch_is_a_line_and_a_row_of_the_curves(tmp_path, capfd):
    file, rows = tmp_path / "curves.csv", []
    arguments = (lenet5(), TRAINING, VALIDATION, SETTINGS, NORMALIZATION)

    def count(*_):
        """Before an epoch's validation, its row is not there yet."""
        rows.append(len(load_csv(file)) if file.exists() else 0)

    _, history = train(*arguments, observe=count, curves=file)
    assert rows == [0, 1]
    assert load_csv(file).equals(learning_curves(history))
    printed = capfd.readouterr()
    assert [line.partition(":")[0] for line in printed.out.splitlines()] == [
        "epoch 1/2",
        "epoch 2/2",
    ]
    assert printed.err == "", "no bar"


def test_it_learns():
    model, curves = run(epochs=3)
    assert [row.epoch for row in curves] == [1, 2, 3]
    assert curves[-1].train_loss < curves[0].train_loss
    assert curves[-1].validation_accuracy > 0.95
    unseen = bars(100, seed=2)
    predictions = predict(model, unseen.images, NORMALIZATION).argmax(1)
    assert (predictions == unseen.labels).float().mean() > 0.95
    assert not model.training


def test_the_same_seed_gives_the_same_bits():
    first, curves = run(epochs=1)
    second, again = run(epochs=1)
    assert curves == again
    assert_equal_weights(first, second)


def test_an_observer_sees_each_epochs_averaged_weights_and_changes_nothing():
    seen = []

    def observe(model, epoch):
        seen.append((epoch, {key: value.clone() for key, value in model.state_dict().items()}))
        predict(model, TRAINING.images, NORMALIZATION)

    plain, curves = run()
    watched, again = run(observe=observe)
    assert curves == again
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert_equal_weights(watched, plain)
    for key, value in watched.state_dict().items():
        assert torch.equal(value, seen[-1][1][key]), key


def test_another_seed_gives_another_run():
    assert run(epochs=1)[1] != run(epochs=1, seed=1)[1]


def test_both_backends_train_alike():
    """Alike, not equal: Adam turns rounding in tiny gradients into whole steps."""
    [scratch], [reference] = run(epochs=1)[1], run(lenet5("torch"), epochs=1)[1]
    assert scratch.train_loss == pytest.approx(reference.train_loss, abs=2e-3)
    assert scratch.validation_loss == pytest.approx(reference.validation_loss, abs=5e-3)


def test_learning_rate_follows_one_cycle():
    # 12 steps an epoch; OneCycleLR ends at lr / 25 / 10,000
    curves = run(epochs=5)[1]
    rates = [row.learning_rate for row in curves]
    assert max(rates) <= SETTINGS.lr
    assert rates.index(max(rates)) == 1  # the peak lies at 30 % of the run
    assert rates[-1] == pytest.approx(SETTINGS.lr / 25 / 10_000)


def test_averaged_weights_are_the_moving_average():
    """Three steps, averaged by hand: a₁ = w₁, a₂ = (2·a₁ + 9·w₂)/11, a₃ = (3·a₂ + 9·w₃)/12."""
    recorded = []

    class Recorder(nn.Sequential):
        def forward(self, images):
            if self.training:
                recorded.append(self[1].weight.detach().clone())
            return super().forward(images)

    torch.manual_seed(0)
    model = Recorder(nn.Flatten(), nn.Linear(784, 2))
    split = Split(TRAINING.images[:48], TRAINING.labels[:48])
    averaged, _ = run(model, split, epochs=1, ema_decay=0.75)
    after = [*recorded[1:], model[1].weight.detach()]  # the weights after each of the three steps
    expected = (2 * after[0] + 9 * after[1]) / 11
    expected = (3 * expected + 9 * after[2]) / 12
    torch.testing.assert_close(averaged[1].weight.detach(), expected)


def test_averaging_settles_at_its_decay():
    """Far into a run, one more update moves the average by 1 − decay of the difference."""
    network = nn.BatchNorm1d(3)  # its counter of batches is an integer
    averaged = AveragedWeights(network, 0.9)
    averaged.n_averaged.fill_(1_000)
    nn.init.ones_(network.bias)
    network.num_batches_tracked.fill_(35)
    averaged.update_counts(averaged.shares())
    averaged.update()
    torch.testing.assert_close(averaged.module.bias.detach(), torch.full((3,), 0.1))
    assert averaged.module.num_batches_tracked == 3  # 0.9·0 + 0.1·35, cut to an integer


def test_no_averaging_returns_the_last_weights():
    model = lenet5()
    assert_equal_weights(model, run(model, epochs=1, ema_decay=0.0)[0])


def test_bfloat16_learns_too():
    _, curves = run(epochs=3, precision="bfloat16")
    assert curves[-1].validation_accuracy > 0.95


def test_validation_images_are_never_trained_on():
    """Wrong validation labels change what is measured and not a bit of the weights."""
    wrong = replace(VALIDATION, labels=1 - VALIDATION.labels)
    trained, curves = run(validation=wrong, epochs=1)
    reference, right = run(epochs=1)
    assert_equal_weights(reference, trained)
    assert curves[0].validation_accuracy == pytest.approx(1 - right[0].validation_accuracy)


def test_a_batch_larger_than_the_training_set_is_refused():
    with pytest.raises(InputError, match="batch_size: got 201; expected at most 200"):
        run(batch_size=201)

"""Metrics on tables small enough to do by hand."""

import numpy as np
import pytest
import sklearn.metrics
import torch
from torch import nn

from cnnpipe.data.dataset import Split
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.evaluate.evaluation import (
    Evaluation,
    evaluate,
    expected_calibration_error,
    moved_copies,
    reliability,
)
from cnnpipe.models import TrainedNetwork

CLASSES = ("cat", "dog", "owl")
# five images: cat, cat, dog, dog, dog; the second and the last are wrong; nobody says owl
LABELS = np.array([0, 0, 1, 1, 1])
PROBABILITIES = np.array(
    [
        [0.8, 0.1, 0.1],
        [0.3, 0.6, 0.1],
        [0.1, 0.9, 0.0],
        [0.2, 0.7, 0.1],
        [0.5, 0.3, 0.2],
    ]
)


@pytest.fixture
def metrics():
    return Evaluation(LABELS, PROBABILITIES, CLASSES).metrics()


def test_accuracy_and_errors(metrics):
    assert metrics["images"] == 5
    assert metrics["test_accuracy"] == 3 / 5
    assert metrics["test_errors"] == 2


def test_wilson_interval_by_its_formula(metrics):
    # (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n)
    n, p, z = 5, 0.6, 1.959964
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    assert metrics["test_accuracy_interval"] == pytest.approx([centre - half, centre + half])


def test_loss_is_the_mean_negative_log_likelihood(metrics):
    assert metrics["test_loss"] == pytest.approx(-np.log([0.8, 0.3, 0.9, 0.7, 0.3]).mean())


def test_counts_and_scores_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 200)
    probabilities = generator.dirichlet(np.ones(6), 200) * [1, 2, 0.5, 1, 0, 1]
    evaluation = Evaluation(labels, probabilities, tuple("abcdef"))  # "e" is never predicted
    every_class = np.arange(6)
    predicted = evaluation.predictions
    expected = sklearn.metrics.confusion_matrix(labels, predicted, labels=every_class)
    metrics = evaluation.metrics()
    assert metrics["confusion"] == expected.tolist()
    scores = sklearn.metrics.precision_recall_fscore_support(
        labels, predicted, labels=every_class, zero_division=0.0
    )
    table = metrics["per_class"]
    assert [row["class"] for row in table] == [*"abcdef"]
    for name, values in zip(("precision", "recall", "f1", "support"), scores, strict=True):
        np.testing.assert_allclose([row[name] for row in table], values, rtol=1e-15)


def test_calibration_error_by_hand():
    # confidences 0.8 0.6 0.9 0.7 0.5, correct 1 0 1 1 0, with 2 bins (0, ½] and (½, 1]:
    # |0 − 0.5| + |(1 + 0 + 1 + 1) − (0.8 + 0.6 + 0.9 + 0.7)| = 0.5 + 0, over 5 images
    error = expected_calibration_error(PROBABILITIES, LABELS, bins=2)
    assert error == pytest.approx(0.5 / 5)


def test_perfect_confidence_that_is_right_is_calibrated():
    assert expected_calibration_error(np.eye(3), np.arange(3)) == 0
    assert expected_calibration_error(np.eye(3), np.array([1, 2, 0])) == 1


def test_reliability_bins_worked_by_hand():
    """Confidences .8, .6, .9, .7, .5 in four bins: (¼, ½] holds .5, (½, ¾] .6 and .7, the rest."""
    low, middle, high = reliability(PROBABILITIES, LABELS, bins=4)
    assert [row["images"] for row in (low, middle, high)] == [1, 2, 2]
    assert [row["accuracy"] for row in (low, middle, high)] == [0, 0.5, 1]
    assert [row["confidence"] for row in (low, middle, high)] == pytest.approx([0.5, 0.65, 0.85])
    assert (middle["low"], middle["high"]) == (0.5, 0.75)
    # Wilson with one of two: (1 + z²/2 ± z·√(1/2 + z²/4)) / (2 + z²)
    z2 = 1.959963985**2
    half = (z2 / 2 + z2 * z2 / 4) ** 0.5
    assert middle["interval"] == pytest.approx(
        [(1 + z2 / 2 + s * half) / (2 + z2) for s in (-1, 1)]
    )


def test_reliability_adds_up_to_the_calibration_error():
    bins = reliability(PROBABILITIES, LABELS)
    gaps = (row["images"] * abs(row["accuracy"] - row["confidence"]) for row in bins)
    ece = expected_calibration_error(PROBABILITIES, LABELS)
    assert sum(gaps) / len(LABELS) == pytest.approx(ece)
    assert Evaluation(LABELS, PROBABILITIES, CLASSES).metrics()["reliability"] == bins


def test_certain_and_wrong_has_a_finite_loss():
    metrics = Evaluation(np.array([0]), np.array([[0.0, 1.0]]), ("a", "b")).metrics()
    assert 700 < metrics["test_loss"] < 710  # −log of the smallest normal number


def test_tables_name_what_was_predicted():
    evaluation = Evaluation(LABELS, PROBABILITIES, CLASSES)
    table = evaluation.prediction_table()
    columns = "index", "label", "prediction", "confidence", "probability_of_label"
    assert table.loc[1].to_dict() == dict(zip(columns, (1, 0, 1, 0.6, 0.3), strict=True))
    confusion = evaluation.confusion_table()
    assert confusion.loc[4].tolist() == ["dog", "cat"]
    assert len(confusion) == 5


def test_evaluate_runs_the_network_over_the_split():
    split = Split(white_pixels((0, 2), (0, 0), (0, 1)), torch.tensor([2, 0, 0]))
    evaluation = evaluate(network(Corners()), split, CLASSES)
    assert evaluation.predictions.tolist() == [2, 0, 1]
    assert evaluation.probabilities[0] == pytest.approx(np.array([1, 1, np.e]) / (2 + np.e))
    assert evaluation.metrics()["test_accuracy"] == pytest.approx(2 / 3)


def network(model, mean=0.0, std=1.0):
    return TrainedNetwork("lenet5", model, Normalization(mean, std))


def linear():
    """A linear network of random weights, and five images of noise."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 3))
    split = Split(torch.randint(0, 256, (5, 28, 28), dtype=torch.uint8), torch.zeros(5).long())
    return network(model, 0.13, 0.31), split


class Corners(nn.Module):
    """Logit of class k: how bright, from 0 to 1, the k-th pixel of the image's first row is."""

    def forward(self, images):
        return images[:, 0, 0, :3]


def white_pixels(*places):
    """A black image of 28×28 for each (row, column), which is white."""
    images = torch.zeros(len(places), 28, 28, dtype=torch.uint8)
    for image, place in zip(images, places, strict=True):
        image[place] = 255
    return images


def test_moved_copies_by_hand():
    """A pixel in the corner, moved by one: it leaves by the edge in five of nine copies."""
    [corner] = white_pixels((0, 0))
    found = [copy[0].nonzero().tolist() for copy in moved_copies(corner[None], 1)]
    gone = []
    # up: gone; same row: gone to the left, there, to the right; down: the same a row lower
    assert found == [gone, gone, gone, gone, [[0, 0]], [[0, 1]], gone, [[1, 0]], [[1, 1]]]


def test_copies_are_filled_with_black_and_nothing_wraps_around():
    images = torch.full((2, 28, 28), 7, dtype=torch.uint8)
    copies = list(moved_copies(images, 3))
    assert len(copies) == 49
    assert all(copy.shape == images.shape and copy.dtype == torch.uint8 for copy in copies)
    first = copies[0]  # three pixels up and to the left
    assert (first[:, :25, :25] == 7).all()
    assert (first[:, 25:] == 0).all()
    assert (first[:, :, 25:] == 0).all()


def test_background_is_what_a_black_pixel_becomes():
    """The network sees the same number at a filled edge as at paper."""
    seen = []

    class Watching(nn.Module):
        def forward(self, images):
            seen.append(images)
            return images[:, 0, 0, :3]

    watched = network(Watching(), 0.13, 0.31)
    split = Split(torch.full((1, 28, 28), 255, dtype=torch.uint8), torch.tensor([0]))
    evaluate(watched, split, CLASSES, shift=1)
    down_and_right = seen[-1][0, 0]
    assert down_and_right[0, 5].item() == pytest.approx(watched.normalization.background)
    assert down_and_right[5, 0].item() == pytest.approx(watched.normalization.background)


def test_shifted_answer_by_hand():
    """The white pixel (0, 1) lights up class 0, 1 or 2 where it is moved left, not, or right.

    Of the nine copies the three of the same row have logits (1, 0, 0), (0, 1, 0), (0, 0, 1); in
    the other six the pixel is in no place that counts: their mean is (1, 1, 1)/9. The pixel (1, 0)
    is seen where it moves up: (1, 0, 0), (0, 1, 0), or out of the image: the mean is (1, 1, 0)/9.
    """
    split = Split(white_pixels((0, 1), (1, 0)), torch.tensor([1, 0]))
    evaluation = evaluate(network(Corners()), split, CLASSES, shift=1)
    assert evaluation.probabilities[0].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    e = np.exp(1 / 9)
    assert evaluation.probabilities[1].tolist() == pytest.approx(
        [e / (2 * e + 1), e / (2 * e + 1), 1 / (2 * e + 1)]
    )
    assert evaluation.metrics()["copies"] == 9


def test_averaging_logits_is_averaging_log_softmax():
    trained, split = linear()
    evaluation = evaluate(trained, split, CLASSES, shift=2)
    with torch.no_grad():
        answers = [
            trained.model(trained.normalization(copy)).double().log_softmax(1)
            for copy in moved_copies(split.images, 2)
        ]
    expected = torch.stack(answers).mean(0).softmax(1)
    assert torch.allclose(torch.from_numpy(evaluation.probabilities), expected)


def test_without_shift_it_is_the_answer_to_the_image_bit_for_bit():
    trained, split = linear()
    evaluation = evaluate(trained, split, CLASSES)
    with torch.no_grad():
        expected = trained.model(trained.normalization(split.images)).double().softmax(1).numpy()
    assert (evaluation.probabilities == expected).all()
    assert "copies" not in evaluation.metrics()

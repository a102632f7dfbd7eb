"""Metrics on tables small enough to do by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from cnnpipe.data import Split
from cnnpipe.evaluation import Evaluation, evaluate, expected_calibration_error, reliability
from cnnpipe.preprocessing import Normalization

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


def test_confusion_has_the_truth_in_rows(metrics):
    assert metrics["confusion"] == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]


def test_per_class_scores(metrics):
    cat, dog, owl = metrics["per_class"]
    assert cat == {"class": "cat", "precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "support": 2}
    # precision 2 of 3 that were called dog, recall 2 of 3 dogs
    assert dog["precision"] == dog["recall"] == pytest.approx(2 / 3)
    assert owl == {"class": "owl", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


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
    assert table.columns.tolist() == [
        "index",
        "label",
        "prediction",
        "confidence",
        "probability_of_label",
    ]
    assert table.loc[1].tolist() == [1, 0, 1, 0.6, 0.3]
    confusion = evaluation.confusion_table()
    assert confusion.loc[4].tolist() == ["dog", "cat"]
    assert len(confusion) == 5


def test_evaluate_runs_the_network_over_the_split():
    """A network whose logit of class k is the brightness of pixel k."""
    images = torch.zeros(3, 28, 28, dtype=torch.uint8)
    images[0, 0, 2] = images[1, 0, 0] = images[2, 0, 1] = 255
    split = Split(images, torch.tensor([2, 0, 0]))
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 3, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.eye(784)[:3])
    evaluation = evaluate(model, split, CLASSES, Normalization(0.0, 1.0))
    assert evaluation.predictions.tolist() == [2, 0, 1]
    e = np.e
    assert evaluation.probabilities[0].tolist() == pytest.approx(
        [1 / (2 + e), 1 / (2 + e), e / (2 + e)]
    )
    assert evaluation.metrics()["test_accuracy"] == pytest.approx(2 / 3)

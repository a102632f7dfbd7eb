"""Mean, standard deviation and vote of several seeds, on tables small enough to do by hand."""

import pandas as pd
import pytest

from cnnpipe.record.seeds import Run, summarize_runs, vote_errors
from cnnpipe.system.errors import InputError


def table(labels, predictions, confidence=0.9):
    return pd.DataFrame({"label": labels, "prediction": predictions, "confidence": confidence})


def run(seed, predictions, labels=(0, 1, 2, 3), seconds=60.0):
    errors = sum(p != label for p, label in zip(predictions, labels, strict=True))
    evaluation = {"dataset": "toy", "test_errors": errors, "test_accuracy": 1 - errors / 4}
    timing = {"train_seconds": seconds, "torch": "2.14.1"}
    return Run(seed, evaluation, table(labels, predictions), timing)


def test_mean_and_standard_deviation_by_hand():
    """Accuracies 1, 3/4, 1/2: mean 3/4; sd √((1/16 + 0 + 1/16) / (3 − 1)) = 1/4."""
    runs = [run(1, [0, 1, 2, 3]), run(2, [0, 1, 2, 0]), run(3, [0, 1, 1, 0], seconds=61.5)]
    summary = summarize_runs(runs)
    assert summary["seeds"] == 3
    assert summary["mean_test_accuracy"] == pytest.approx(3 / 4)
    assert summary["sd_test_accuracy"] == pytest.approx(1 / 4)
    # by majority 0, 1, 2, 0: the last image is wrong
    assert summary["vote"] == {"test_errors": 1, "test_accuracy": 3 / 4}
    assert summary["runs"][2] == {
        "seed": 3,
        "test_errors": 2,
        "test_accuracy": 1 / 2,
        "train_seconds": 61.5,
        "torch": "2.14.1",
    }
    assert (summary["dataset"], summary["images"]) == ("toy", 4)


def test_one_run_has_no_standard_deviation():
    summary = summarize_runs([run(7, [0, 1, 2, 0])])
    assert summary["mean_test_accuracy"] == 3 / 4
    assert summary["sd_test_accuracy"] is None
    assert summary["vote"]["test_errors"] == 1


def test_the_majority_outvotes_one_more_confident_run():
    tables = [table([1], [1], 0.4), table([1], [1], 0.4), table([1], [0], 1.0)]
    assert vote_errors(tables) == 0


def test_a_tie_is_decided_by_confidence_then_by_the_first_class():
    # image 0: 0.6 for class 2, 0.7 for class 1; image 1: 0.5 for each of classes 3 and 1
    one = table([1, 1], [2, 3], [0.6, 0.5])
    other = table([1, 1], [1, 1], [0.7, 0.5])
    assert vote_errors([one, other]) == 0
    assert vote_errors([other, one]) == 0
    wrong = table([2, 3], [1, 1], [0.7, 0.5])
    assert vote_errors([table([2, 3], [2, 3], [0.6, 0.5]), wrong]) == 2


def test_runs_on_different_images_are_refused():
    with pytest.raises(InputError, match=r"seeds 1 and 2 were judged on different test images"):
        summarize_runs([run(1, [0, 1, 2, 3]), run(2, [0, 1, 2, 3], labels=(0, 1, 2, 2))])


def test_no_run_is_an_error():
    with pytest.raises(InputError, match="expected at least one seed"):
        summarize_runs([])

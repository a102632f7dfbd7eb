"""What all models scored, in one place."""

from typing import Any

COMPARED = ("test_accuracy", "test_errors", "test_loss", "ece", "parameters", "macs")
"""What `dvc exp show` and `dvc metrics diff` list; the rest is in reports/evaluation."""


def compared(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The metrics of one model that runs are compared by, from its evaluation."""
    low, high = evaluation["test_accuracy_interval"]
    metrics = {key: evaluation[key] for key in COMPARED}
    return metrics | {"test_accuracy_low": low, "test_accuracy_high": high}

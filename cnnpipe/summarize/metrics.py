"""What the models scored, in one place."""

from typing import Any

COMPARED = ("test_accuracy", "test_errors", "parameters", "macs")
"""The columns of `dvc exp show`, for each model; reports/evaluation has the rest."""


def compared(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The metrics of one model by which runs are compared, from its evaluation."""
    return {key: evaluation[key] for key in COMPARED}

"""The summarize stage: the metrics and times of all models, gathered, and a card of each."""

COMPARED = ("test_accuracy", "test_errors", "parameters", "macs")
"""What `dvc exp show` has of each model, to compare runs by; reports/evaluation has the rest."""

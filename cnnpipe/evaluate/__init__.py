"""The evaluate stage: a trained network, judged on the test set."""

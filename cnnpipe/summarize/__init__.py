"""The summarize stage: the metrics and times of all models, gathered, and a card of each."""

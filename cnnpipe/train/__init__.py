"""The train stage.

loop.py          `train`: from batch to optimiser step
graph.py         a step's forward and backward pass as one call, on a GPU
session.py       continuing, saving and showing a run
snapshots.py     the first convolution's weights as they change
state.py         everything that changes while a network trains
checkpoint.py    files that an interrupted run continues from
trial.py         whether this machine can train a model at all
distributed.py   several processes that share each batch
"""

"""The train stage.

loop.py          `train`: from batch to optimiser step
state.py         all that changes while a network trains
checkpoint.py    what an interrupted run goes on from
distributed.py   several processes that share each batch
"""

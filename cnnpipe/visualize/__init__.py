"""The visualize stage: figures of a trained network.

figures.py   all figures of one model
journey.py   a digit on its way through the network
results.py   learning curves, confusion, reliability, the worst mistakes
"""

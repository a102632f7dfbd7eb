"""Looking into a network.

structure.py     its layers in order: shapes, windows, receptive fields, parameters
activations.py   the output of every layer
responses.py     the strongest responses of each filter, and the patches that they see
untrained.py     the same network with random weights
"""

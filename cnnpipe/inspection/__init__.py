"""Looking into a network.

activations.py   the output of every layer
responses.py     a filter's responses: the layers that give them, the pixels they see
untrained.py     the same network with random weights
"""

"""The visualize stage: figures of a trained network, each in the module of its name.

figures.py        all figures of one model, with the facts that the report states about them
journey.py        a digit on its way through the network
feature_maps.py   every feature map of an image
curves.py         learning curves
confusion.py      which class is taken for which
reliability.py    accuracy by confidence
mistakes.py       the worst mistakes
"""

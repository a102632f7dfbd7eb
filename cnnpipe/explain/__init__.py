"""The explain stage: what the filters of a trained network do, and what its answers rest on.

explanation.py   all that is measured of one model
filters.py       of every filter: norm, silence, the patches that excite it, what it is worth
familiarity.py   whether an image is like those that a network was trained on
embedding.py     a map of images by what the last layer gets
attribution.py   which pixels an answer rests on, compared with the same network with random weights
figures/         all figures of one model; patches.py and attribution.py draw them
"""

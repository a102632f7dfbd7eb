"""The explain stage: what the filters of a trained network do, and what its answers rest on.

filters.py       for every filter: norm, silence, the patches that excite it, what it is worth
attribution.py   which pixels an answer rests on, beside the same network with random weights
figures/         all figures of one model; patches.py and attribution.py draw them
"""

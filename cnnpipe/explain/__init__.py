"""The explain stage: what the filters of a trained network do, and what its answers rest on.

explanation.py   all that is measured of one model
filters.py       of every filter: norm, silence, the patches that excite it, what it is worth
attribution.py   which pixels an answer rests on, compared with the same network with random weights
figures.py       all figures of one model; drawing.py draws them
"""

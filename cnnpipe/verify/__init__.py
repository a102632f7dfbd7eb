"""The verify stage: the operators against references.

cases.py          calls of the operators: grids and random ones
reference.py      the same calls by torch in float64 and SciPy, with a bound on rounding
blocks.py         layers that are computed together, as an operator
transforms.py     what a transform of torch finds in an operator, against the operator itself
verification.py   both compared, and the report
"""

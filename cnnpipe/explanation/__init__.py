"""What the filters of a trained network do, and what its answers rest on, measured.

filters.py       of every filter: norm, silence, the patches that excite it, what it is worth
attribution.py   which pixels an answer rests on, beside the same network with random weights
"""

from cnnpipe.explanation.attribution import Attributions, attribute, finding
from cnnpipe.explanation.filters import describe_filters, exciting_patches

__all__ = ["Attributions", "attribute", "describe_filters", "exciting_patches", "finding"]

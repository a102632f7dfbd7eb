"""Read a picture of one's own: find its digits, bring them to MNIST's form, ask the networks.

>>> [reading.name for reading in classify("photo.jpg")]  # doctest: +SKIP
['7']
"""

from cnnpipe.predict.reading import Answer, Reader, Reading, classify
from cnnpipe.predict.seen import Seen, see

__all__ = ["Answer", "Reader", "Reading", "Seen", "classify", "see"]

"""Read a picture of one's own: find its digits, bring them to MNIST's form, ask the networks.

picture.py   pictures of any kind as colours of one range
ink.py       what of a picture is ink
digits.py    from ink to images as MNIST has them
seen.py      these steps together: what is seen before any network answers
reading.py   what networks read, and where they are in doubt
figure.py    both, drawn

>>> [reading.name for reading in classify("photo.jpg")]  # doctest: +SKIP
['7']
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnpipe.predict.reading import Answer, Reader, Reading, classify
    from cnnpipe.predict.seen import Seen, see

__all__ = ["Answer", "Reader", "Reading", "Seen", "classify", "see"]


def __getattr__(name: str) -> Any:
    """Imported when asked for: torch takes longer than `python -m cnnpipe.predict --help`."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "seen" if name in ("Seen", "see") else "reading"
    return getattr(import_module(f"{__name__}.{module}"), name)

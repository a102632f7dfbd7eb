"""One figure per module, by `draw`: accuracy by severity, the corruptions, what features see."""

from cnnpipe.handcrafted.figures import corruptions, robustness, views

__all__ = ["corruptions", "robustness", "views"]

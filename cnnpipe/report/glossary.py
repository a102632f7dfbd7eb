"""Terms of statistics and of the field that the page uses, each in a sentence; links to them."""

import re

from markupsafe import Markup, escape

GLOSSARY = {
    "95 % interval": (
        "A range that is computed so that in 95 of 100 repetitions of the measurement it holds "
        "the true value."
    ),
    "Wilson": (
        "Wilson’s 95 % interval of a proportion, such as an accuracy. Unlike the common one it "
        "stays between 0 and 100 % and holds for few images, too."
    ),
    "McNemar": (
        "A test of whether one of two classifiers is better: it looks only at the images that "
        "exactly one of them reads correctly, and asks how often a coin would divide them so "
        "unevenly."
    ),
    "Holm": (
        "A correction for many tests at once: among 200 filters that are worth nothing, some "
        "would seem worth something by chance. Holm’s method allows for that."
    ),
    "label smoothing": (
        "Training asks the network for a little less than full certainty in the right class and "
        "a little of every other. It learns better, and gives lower probabilities."
    ),
    "expected calibration error": (
        "How far confidence and accuracy lie apart, on average over all answers (ECE): of the "
        "answers with 90 % confidence, 90 % should be right."
    ),
    "Grad-CAM": (
        "A coarse map of where the last convolutional layer found what speaks for an answer."
    ),
    "occlusion": (
        "A square of the image is covered: as a corruption, to see whether the answer survives; as "
        "a map, to see at which places the answer suffers from it, and how much."
    ),
    "linear probe": (
        "A linear classifier that is given a layer’s activations: how well it does shows how "
        "plainly the layer tells the classes apart."
    ),
    "rounding bound": (
        "The largest difference that rounding alone can make in a computation, derived from the "
        "number of operations and the precision of the numbers."
    ),
    "receptive field": "The pixels of the image that a neuron depends on.",
    "captum": "PyTorch’s library of attribution methods.",
    "quartiles": (
        "A quarter of the measurements lie below the lower one, a quarter above the upper."
    ),
}
"""By the words that stand on the page."""


def address(term: str) -> str:
    """The id of a term’s explanation."""
    return "term-" + re.sub(r"[^a-z0-9]+", "-", term.lower())


def explained(text: str) -> Markup:
    """A text, escaped, in which the first mention of each term leads to its explanation.

    >>> explained("an exact McNemar test")[:40]
    Markup('an exact <a class="explained" href="#ter')
    """
    mentioned: set[str] = set()

    def link(found: re.Match[str]) -> str:
        words = found[0]
        term = next(each for each in GLOSSARY if each.lower() == words.lower().replace("\xa0", " "))
        if term in mentioned:
            return words
        mentioned.add(term)
        opened = f'<a class="explained" href="#{address(term)}" title="{escape(GLOSSARY[term])}">'
        return f"{opened}{words}</a>"

    # A term’s first letter may be a capital where a sentence begins.
    terms = "|".join(re.escape(term).replace(r"\ ", "[ \xa0]") for term in GLOSSARY)
    return Markup(re.sub(terms, link, str(escape(text)), flags=re.IGNORECASE))  # noqa: S704

"""Names and numbers as people read them, the same in figures and in the report."""

from collections.abc import Callable, Sequence

from cnnpipe.networks import NETWORKS

NBSP = "\N{NO-BREAK SPACE}"
TITLES = {
    **{name: network.title for name, network in NETWORKS.items()},
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "kmnist": "Kuzushiji-MNIST",
    "digits": "scikit-learn’s digits",
    "folder": "a custom data set",
}
"""Of models and data sets, by their names in params.yaml."""


def title_of(name: str) -> str:
    """What people call a model or a data set; any other name is its own title."""
    return TITLES.get(name, name)


def written(value: float, form: str) -> str:
    """A number in Python's format `form`, such as "+.1f", with a true minus sign."""
    return f"{value:{form}}".replace("-", "−")


def short(value: float) -> str:
    """A number in at most three significant digits."""
    return written(value, ".3g")


def tenths(value: float) -> str:
    """A number to one decimal place."""
    return written(value, ".1f")


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction in percent; what is neither 0 nor 1 is not rounded to 0 % or 100 %."""
    step = 10.0 ** -(digits + 2)
    if 0 < fraction < step:
        return f"<{NBSP}{step:.{digits}%}".replace("%", f"{NBSP}%")
    if 1 - step < fraction < 1:
        return f">{NBSP}{1 - step:.{digits}%}".replace("%", f"{NBSP}%")
    return f"{fraction:.{digits}%}".replace("%", f"{NBSP}%")


def points(fraction: float) -> str:
    """A difference of fractions in percentage points, without their name: 0.0125 is 1.25."""
    return written(round(100 * fraction, 2) + 0.0, ".2f")


def plus_minus(mean: float, sd: float | None, write: Callable[[float], str]) -> str:
    """A mean and, if there is one, a standard deviation: 1.5 ± 0.2."""
    return write(mean) if sd is None else f"{write(mean)} ± {write(sd)}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, the two largest that matter."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def count(total: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun: 1 error, 2 errors, 10,000 images."""
    return f"{total:,} {singular if total == 1 else plural or singular + 's'}"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them: a; a and b; a, b and c."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last

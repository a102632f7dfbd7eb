"""Two classifiers judged on the same images: how far apart they are, and if chance explains it.

Only images that exactly one of them classifies correctly distinguish them. Of n images let b be
those that only the first gets right, and c those that only the second does.
"""

import math

from scipy.stats import binomtest, norm


def mcnemar_p_value(b: int, c: int) -> float:
    """Exact McNemar test: the probability of a split at least this uneven by chance alone.

    Two-sided binomial test of b in b + c at one half; 1 if there is no such image.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12, 1947.
    """
    return float(binomtest(b, b + c).pvalue) if b + c else 1.0


def paired_difference(b: int, c: int, n: int) -> tuple[float, float]:
    """95 % interval of the difference of two accuracies, (b − c)/n, measured on the same n images.

    With b* = b + ½, c* = c + ½, n* = n + 2 the ends are

        (b* − c*)/n* ± z·√(b* + c* − (b* − c*)²/n*)/n*,  z = 1.96

    The halves keep the interval from vanishing where no image distinguishes the two.

    Raises:
        ValueError: a count is negative, or b + c exceeds n.

    Source: Agresti, Min, "Simple improved confidence intervals for comparing matched proportions",
    Statistics in Medicine 24, 2005.
    """
    if min(b, c) < 0 or b + c > n:
        raise ValueError(f"counts: got b = {b} and c = {c} of n = {n}; expected 0 ≤ b + c ≤ n")
    total, difference, images = b + c + 1, b - c, n + 2
    middle = difference / images
    half = float(norm.ppf(0.975)) * math.sqrt(total - difference**2 / images) / images
    return middle - half, middle + half

"""The exponential function and the logarithm, of additions and multiplications.

Libraries compute them by other polynomials for each width of vectors, so their last bits differ
from one processor to another. These do not.
"""

from __future__ import annotations

import math

from cnnpipe.functional.loops.nest import Nest, Vector

LEAST = -708.0
"""e^x for a smaller x becomes 0: the smallest normal number of float64 is e^−708.4."""


def exp(nest: Nest, x: Vector) -> Vector:
    """e^x for x ≤ 0, of float64, with an error of less than 1 unit in the last place.

    With the integer k next to x / log 2, e^x = 2^k·e^r with r = x − k·log 2, |r| ≤ ½·log 2. There
    the Taylor series Σ r^n / n! needs 14 terms for 53 bits. log 2 is the sum of two numbers, the
    first with so few bits that its product with k is exact.
    """

    def number(value: float) -> Vector:
        return nest.number(value, "float64", x.lanes)

    within = nest.where(x.compare(">", number(LEAST)), x, number(LEAST))  # and where x is NaN
    k = nest.rounded(within * number(1 / math.log(2)))
    factor = nest.converted(k)
    high = float.fromhex("0x1.62e42feep-1")
    low = float.fromhex("0x1.a39ef35793c76p-33")
    r = nest.fma(factor, number(-low), nest.fma(factor, number(-high), within))
    series = number(1 / math.factorial(13))
    for n in range(12, -1, -1):
        series = nest.fma(series, r, number(1 / math.factorial(n)))
    power = series * nest.from_bits((k + 1023) * 2**52)
    vanishes = x.compare("<", number(LEAST))
    return nest.where(x.is_nan(), x, nest.where(vanishes, number(0.0), power))


def log(nest: Nest, x: Vector) -> Vector:
    """log x for a finite x ≥ 1, one number of float64; NaN stays NaN.

    The error is less than 3 units in the last place.

    x = 2^k·m with m between √½ and √2, so log x = k·log 2 + log m. With t = (m − 1)/(m + 1),
    log m = 2·(t + t³/3 + t⁵/5 + …); |t| ≤ 0.172, so 11 terms give 53 bits.
    """

    def number(value: float) -> Vector:
        return nest.number(value, "float64")

    # Dividing by √½ before taking the exponent lets k change at √2 instead of 2.
    bits = nest.bits(x * number(math.sqrt(2)))
    k = bits // 2**52 - 1023
    m = x * nest.from_bits((1023 - k) * 2**52)
    t = (m - number(1.0)) / (m + number(1.0))
    square = t * t
    series = number(1 / 21)
    for n in range(19, 0, -2):
        series = nest.fma(series, square, number(1 / n))
    value = nest.fma(nest.converted(k), number(math.log(2)), series * (t + t))
    return nest.where(x.is_nan(), x, value)

"""Settings of the verify stage."""

from cnnpipe.params.section import Positive, Section
from cnnpipe.params.train import Algorithm


class Tolerance(Section):
    """Largest accepted error by dtype, in the rounding bounds of `cnnpipe.verify.reference`."""

    float64: Positive
    float32: Positive
    float16: Positive
    bfloat16: Positive


class VerifyParams(Section):
    tolerance: Tolerance
    normwise: dict[Algorithm, Positive]
    """By how much an algorithm that mixes neighbouring outputs (Winograd, FFT) may exceed the
    tolerance, when each element is held against the largest bound among all."""

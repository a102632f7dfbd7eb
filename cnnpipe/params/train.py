"""Settings of the train stage that both models share; the defaults are those of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from cnnpipe.params.section import Count, Fraction, Section

Backend = Literal["scratch", "torch"]
Algorithm = Literal["auto", "direct", "im2col", "winograd", "fft", "compiled", "implicit_gemm"]


class AugmentParams(Section):
    """Half-widths of the uniform distributions that the random affine maps are drawn from."""

    degrees: Annotated[float, Field(ge=0, le=180)] = 10.0
    """Rotation, degrees."""
    translate: Fraction = 0.1
    """Shift, fraction of the image's side."""
    scale: Fraction = 0.1
    """Relative change of size."""
    shear: Annotated[float, Field(ge=0, lt=90)] = 5.0
    """Shear, degrees."""


class TrainParams(Section):
    """Settings of a training run."""

    backend: Backend = "scratch"
    """Whose layers: this project's own, or torch's."""
    algorithm: Algorithm = "auto"
    """How the convolutions of the scratch backend are computed."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of forward and backward; `auto` is bfloat16 on CUDA GPUs that have it."""
    epochs: Count = 12
    batch_size: Annotated[int, Field(ge=2, le=2**16)] = 128
    lr: Annotated[float, Field(gt=0, le=1)] = 0.004
    """Learning rate at the peak of the one-cycle schedule."""
    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Fraction of all steps in which the learning rate rises to its peak."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    label_smoothing: Fraction = 0.05
    ema_decay: Fraction = 0.99
    """Of the exponential moving average of the weights, per step; 0 turns it off."""
    augment: AugmentParams = AugmentParams()

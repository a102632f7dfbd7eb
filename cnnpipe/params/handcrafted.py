"""Settings of the handcrafted stage."""

from typing import Annotated, Literal

from pydantic import Field

from cnnpipe.params.section import Count, Section


class HandcraftedParams(Section):
    """Sizes of the comparison of hand-crafted features with networks."""

    training: Annotated[int, Field(ge=100, le=60_000)]
    """Training images, in the tables and figures, of every method but the pipeline's models; fewer
    where there are fewer."""
    copies: Annotated[int, Field(ge=1, le=100)]
    """Randomly mapped copies of each training image, beside itself, for the classifiers trained
    with augmentation; the maps are those of the networks' training."""
    test: Annotated[int, Field(ge=10, le=10_000)]
    """Test images, each judged clean and in every corruption at every severity."""
    draws: Annotated[int, Field(ge=2, le=100)]
    """Independent draws of all that is random, over which the claim is judged."""
    draw_training: Annotated[int, Field(ge=50, le=60_000)]
    """Training images of each draw."""
    draw_test: Annotated[int, Field(ge=10, le=10_000)]
    """Test images of each draw, each in every corruption at every severity."""
    draw_transfer: Annotated[int, Field(ge=50, le=70_000)]
    """Images of each other data set in a draw."""
    words: Annotated[int, Field(ge=2, le=4096)]
    """Size of the vocabulary of SIFT's visual words."""
    epochs: Count
    """Of the LeNet-5 that is trained on the same images."""
    batch_size: Annotated[int, Field(ge=2, le=100)]
    """Of its training: small, since there are few images."""
    transfer: list[Literal["digits", "fashion_mnist", "kmnist"]]
    """Other data sets to judge on: digits comes with scikit-learn, the others count where their
    files lie in data/<name>."""

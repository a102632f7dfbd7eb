"""What each feature makes of one image, as arrays to be drawn."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.feature import SIFT, hog

from cnnpipe.handcrafted.corruptions import CORRUPTIONS, Corruption, corrupted
from cnnpipe.handcrafted.descriptors import Images, canny_maps, sobel_maps
from cnnpipe.inspection.activations import capture_activations
from cnnpipe.models import TrainedNetwork

Array = NDArray[Any]
Digit = NDArray[np.uint8]
SHOWN = {"shift": 4, "noise": 0.2, "blur": 1.5, "inversion": 1}
"""Corruptions of which it is drawn what each feature sees, and the severity."""


def strips(digit: Digit, seed: int) -> dict[Corruption, Images]:
    """One digit under every corruption.

    Shape: (H, W) → (severities, H, W) of each.
    """
    return {c: corrupted(digit[np.newaxis], c, seed)[:, 0] for c in CORRUPTIONS}


def views(digit: Digit, network: TrainedNetwork, seed: int) -> dict[str, dict[str, Array]]:
    """What each feature makes of a digit, clean and corrupted: see `see`.

    Shape: digit (H, W).
    """
    images = {"clean": digit}
    for corruption, levels in strips(digit, seed).items():
        if severity := SHOWN.get(corruption.name):
            images[corruption.name] = levels[corruption.severities.index(severity)]
    return {name: see(image, network) for name, image in images.items()}


def see(image: Digit, network: TrainedNetwork) -> dict[str, Array]:
    """What each feature makes of one image (H, W).

    Returns:
        image (H, W); sobel (2, H, W); canny (H, W) of 0 and 1; hog (rows, columns, orientations),
        each cell's histogram, normalised on its own; keypoints (n, 4) of SIFT; maps (C, H, W), the
        first ones that the network's activation gives out.
    """
    one = image[np.newaxis]
    return {
        "image": image,
        "sobel": sobel_maps(one)[0],
        "canny": canny_maps(one)[0],
        "hog": _cells(image),
        "keypoints": sift_keypoints(image),
        "maps": _first_maps(one, network),
    }


def sift_keypoints(image: Digit) -> Array:
    """Where the differences of Gaussians have extrema, with scale and orientation.

    Shape: (H, W) → (n, 4): row, column, radius, angle. An image may have none.
    """
    detector: Any = SIFT(upsampling=2, n_octaves=2)  # type: ignore[no-untyped-call]
    try:
        detector.detect(image / np.float32(255))
    except RuntimeError:  # skimage's way to say that there are none
        return np.zeros((0, 4))
    radius = 2 * detector.sigmas[:, np.newaxis]
    angle = detector.orientations[:, np.newaxis]
    return np.concatenate([detector.positions, radius, angle], axis=1)


def _cells(image: Digit) -> Array:
    blocks = hog(
        image / np.float32(255),
        orientations=9,
        pixels_per_cell=(4, 4),
        cells_per_block=(1, 1),
        block_norm="L2",
        feature_vector=False,
    )  # (rows, columns, 1, 1, 9)
    return np.asarray(blocks[:, :, 0, 0])


@torch.inference_mode()
def _first_maps(images: Images, network: TrainedNetwork) -> Array:
    _convolution, (first, _activation), *_ = network.model.named_children()
    with capture_activations(network.model, [first]) as activations:
        network.predict(torch.from_numpy(images))
    return np.asarray(activations[first][0])

"""The control that takes what is visual out of images: their pixels in one random order.

Nothing is lost but where pixels lie. Neighbours become unrelated, and no edge or part is left.
"""

import torch
from torch import Tensor

ORDERED, SCRAMBLED = "images as they are", "pixels in a random order"
ORDERS = (ORDERED, SCRAMBLED)


def scrambled(images: Tensor, seed: int) -> Tensor:
    """The pixels of every image in the same random order.

    Shape: (N, 1, H, W) → (N, 1, H, W).
    """
    pixels = images.flatten(1)
    order = torch.randperm(pixels.shape[1], generator=torch.Generator().manual_seed(seed))
    return pixels[:, order].view_as(images)

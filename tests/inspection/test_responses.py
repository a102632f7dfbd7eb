"""Where patches of an image are cut."""

import torch

from cnnpipe.inspection.responses import cut


def test_patches_are_cut_where_they_are_seen_and_black_beyond_the_edge():
    image = torch.arange(1, 17, dtype=torch.uint8).reshape(4, 4)
    assert cut(image, 1, 2, 2).tolist() == [[7, 8], [11, 12]]
    assert cut(image, -1, 3, 2).tolist() == [[0, 0], [4, 0]]
    assert torch.equal(cut(image, -2, -2, 8), image)

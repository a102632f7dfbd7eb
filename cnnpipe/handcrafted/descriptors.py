"""Features that people designed before networks learned them: from image to vector by fixed rules.

Axes: N images, H height, W width, D length of the vector, P patches, K visual words. Every
extractor takes stored images, uint8 (N, H, W), and gives float32 (N, D). None learns anything from
labels; only the visual vocabulary learns from images at all.

Their parameters suit digits of 28×28 with strokes three pixels wide. They were chosen by hand on
2,000 of MNIST's training images (50,000 to 51,999), never on test images.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, correlate1d, gaussian_filter
from skimage.feature import canny
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

Images = NDArray[np.uint8]
Features = NDArray[np.float32]
Extractor = Callable[[Images], Features]

HOG_CELL, HOG_BINS = 4, 9
"""Of HOG: pixels along the side of a cell, and orientations."""
PATCH_CELLS, PATCH_BINS = 4, 8
"""Of a SIFT descriptor: 4×4 cells of 8 orientations, 128 numbers, as in the paper."""
CELL = 3
"""Side of a SIFT cell, pixels: a patch is 12×12, two strokes wide."""
STRIDE = 2
"""Pixels between neighbouring patches."""
SAMPLED_PATCHES = 40_000
"""Number of patches that the vocabulary is learned from, drawn at random."""
GROUP = 50
"""Images whose patches are described together: few enough for them to stay near the processor."""


def raw_pixels(images: Images) -> Features:
    """The pixels themselves: the baseline that every feature should exceed.

    Shape: (N, H, W) → (N, H·W), in [0, 1].
    """
    return _rows(images / np.float32(255))


def sobel_edges(images: Images) -> Features:
    """Strength of horizontal and of vertical edges: |Gy| and |Gx|, the Sobel derivatives.

    The two stay separate, since √(Gx² + Gy²) alone does not contain the direction of a stroke. Both
    maps are smoothed by a Gaussian of one pixel and averaged over 2×2 pixels. Otherwise the
    features of an edge would change completely when it moves by a pixel. Signs are dropped, so an
    image and its negative have the same features.

    Shape: (N, H, W) → (N, 2·⌊H/2⌋·⌊W/2⌋).

    Source: Sobel, Feldman, "A 3×3 isotropic gradient operator for image processing", 1968.
    """
    return _rows(_softened(sobel_maps(images)))


def sobel_maps(images: Images) -> Features:
    """|Gy| and |Gx| themselves.

    Shape: (N, H, W) → (N, 2, H, W).
    """
    pixels = images / np.float32(255)
    slope, smooth = np.array([1, 0, -1]), np.array([1, 2, 1]) / 4
    maps = [
        np.abs(correlate1d(correlate1d(pixels, slope, axis=along), smooth, axis=across))
        for along, across in ((1, 2), (2, 1))
    ]
    return np.stack(maps, axis=1).astype(np.float32)


def canny_edges(images: Images) -> Features:
    """Thin edges: maxima of the smoothed gradient, kept where they connect to strong ones.

    The binary edges, mostly horizontal and mostly vertical ones separately, are smoothed and
    averaged as Sobel's are. Both thresholds are quantiles of the image's own gradient, so that a
    fainter image keeps its edges.

    Shape: (N, H, W) → (N, 2·⌊H/2⌋·⌊W/2⌋).

    Source: Canny, "A computational approach to edge detection", IEEE TPAMI 8(6), 1986.
    """
    horizontal, vertical = sobel_maps(images).swapaxes(0, 1)  # (N, H, W) each
    across = horizontal > vertical
    edges = canny_maps(images)
    return _rows(_softened(np.stack([edges * across, edges * ~across], axis=1)))


def canny_maps(images: Images) -> Features:
    """The binary edges themselves.

    Shape: (N, H, W) → (N, H, W) of 0 and 1.
    """
    maps = [
        canny(  # type: ignore[no-untyped-call]
            image, sigma=1.0, low_threshold=0.7, high_threshold=0.85, use_quantiles=True
        )
        for image in images / np.float32(255)
    ]
    return np.stack(maps).astype(np.float32)


def hog_descriptor(images: Images) -> Features:
    """Histograms of oriented gradients: 9 orientations in cells of 4×4 pixels, blocks of 2×2 cells.

    Each pixel's gradient votes for one orientation modulo 180°, so an image and its negative have
    the same features. Each block is brought to length 1, clipped at 0.2 and brought to length 1
    again (L2-Hys), so contrast does not matter. The numbers are those of `skimage.feature.hog`,
    which takes one image at a time and many times as long.

    Shape: (N, H, W) → (N, 36·(⌊H/4⌋ − 1)·(⌊W/4⌋ − 1)).

    Source: Dalal, Triggs, "Histograms of oriented gradients for human detection", CVPR 2005.
    """
    pixels = images / np.float32(255)
    dy, dx = np.zeros((2, *images.shape), dtype=np.float32)
    dy[:, 1:-1] = pixels[:, 2:] - pixels[:, :-2]
    dx[:, :, 1:-1] = pixels[:, :, 2:] - pixels[:, :, :-2]
    orientation = np.degrees(np.arctan2(dy, dx)) % 180 // (180 / HOG_BINS)
    strength = np.hypot(dy, dx)
    rows, columns = (size // HOG_CELL for size in images.shape[1:])
    votes = np.stack([strength * (orientation == bin_) for bin_ in range(HOG_BINS)], axis=3)
    votes = votes[:, : rows * HOG_CELL, : columns * HOG_CELL]  # (N, H, W, 9)
    cells = votes.reshape(-1, rows, HOG_CELL, columns, HOG_CELL, HOG_BINS).mean(axis=(2, 4))
    blocks = np.concatenate(
        [cells[:, :-1, :-1], cells[:, :-1, 1:], cells[:, 1:, :-1], cells[:, 1:, 1:]], axis=3
    )  # (N, rows − 1, columns − 1, 36)
    return _rows(_hysteresis(blocks))


def dense_sift(images: Images) -> Features:
    """SIFT descriptors of upright patches on a regular grid.

    A patch is 4×4 cells of 3×3 pixels. Each pixel's gradient votes for the two nearest of 8
    orientations and, by distance, for the cells around it. The vector is brought to length 1,
    clipped at 0.2 and brought to length 1 again. A patch without any gradient stays zero.

    A grid replaces SIFT's keypoints, because a digit of 28×28 has only about ten of them, and some
    have none. The orientation is fixed, since a 6 that is turned is a 9.

    Shape: (N, H, W) → (N, P, 128), P = ⌊(H − 12)/2 + 1⌋·⌊(W − 12)/2 + 1⌋.

    Source: Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 60(2), 2004;
    on a grid: Bosch, Zisserman, Muñoz, "Scene classification via pLSA", ECCV 2006.
    """
    pixels = images / np.float32(255)
    dy, dx = np.gradient(pixels, axis=(1, 2))  # (N, H, W)
    turn = np.arctan2(dy, dx) / np.float32(2 * np.pi) * PATCH_BINS
    lower = np.floor(turn)
    strength, upper_share = np.hypot(dy, dx), turn - lower
    votes = np.zeros((PATCH_BINS, *images.shape), dtype=np.float32)
    for bin_ in range(PATCH_BINS):
        votes[bin_] += strength * (1 - upper_share) * (lower % PATCH_BINS == bin_)
        votes[bin_] += strength * upper_share * ((lower + 1) % PATCH_BINS == bin_)
    triangle = 1 - np.abs(np.arange(1 - CELL, CELL)) / np.float32(CELL)
    for axis in (2, 3):
        votes = convolve1d(votes, triangle, axis=axis, mode="constant")

    H, W = images.shape[1:]
    side = PATCH_CELLS * CELL
    cells = CELL * np.arange(PATCH_CELLS) + CELL // 2
    tops = np.arange(0, H - side + 1, STRIDE)[:, None] + cells  # (rows of patches, 4)
    lefts = np.arange(0, W - side + 1, STRIDE)[:, None] + cells
    patches = votes[:, :, tops[:, None, :, None], lefts[None, :, None, :]]  # (8, N, r, c, 4, 4)
    patches = patches.transpose(1, 2, 3, 4, 5, 0).reshape(len(images), len(tops) * len(lefts), -1)
    return _hysteresis(patches)  # (N, P, 128)


@dataclass(frozen=True, eq=False)
class VisualWords:
    """A bag of visual words with a spatial pyramid: how often each word occurs in each part.

    Every patch takes the nearest word of the vocabulary. Words are counted over the whole image and
    over its parts. The features are square roots of the counts, so that frequent words weigh less.

    Source: Csurka, Dance, Fan, Willamowski, Bray, "Visual categorization with bags of keypoints",
    2004; Lazebnik, Schmid, Ponce, "Beyond bags of features: spatial pyramid matching", CVPR 2006.
    """

    centres: NDArray[np.float32]
    """(K, 128)"""
    parts: int = 3
    """Rows, and columns, that the image is divided into."""

    @classmethod
    def learn(cls, images: Images, words: int, seed: int) -> Self:
        """K-means over patches of the images, drawn at random."""
        generator = np.random.default_rng(seed)
        patches = dense_sift(images).reshape(-1, PATCH_CELLS**2 * PATCH_BINS)
        patches = patches[patches.any(axis=1)]
        chosen = generator.permutation(len(patches))[:SAMPLED_PATCHES]
        means = MiniBatchKMeans(words, random_state=seed, n_init=1, batch_size=4096, max_iter=30)
        with warnings.catch_warnings(), threadpool_limits(1):  # or the means depend on the threads
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct patches than words
            means.fit(patches[chosen])
        return cls(means.cluster_centers_.astype(np.float32))

    def __call__(self, images: Images) -> Features:
        """
        Shape: (N, H, W) → (N, K·(1 + parts²)).
        """
        groups = [images[start : start + GROUP] for start in range(0, len(images), GROUP)]
        return np.concatenate([self._count(group) for group in groups])

    def _count(self, images: Images) -> Features:
        patches = dense_sift(images)  # (N, P, 128)
        N, P, _ = patches.shape
        K, parts = len(self.centres), self.parts
        # |p − c|² = |p|² − 2p·c + |c|², of which the first is the same for all words
        distance = np.square(self.centres).sum(axis=1) - 2 * patches @ self.centres.T  # (N, P, K)
        word = distance.argmin(axis=2)  # (N, P)
        side = round(P**0.5)
        row, column = np.divmod(np.arange(P), side)
        part = row * parts // side * parts + column * parts // side  # (P,)
        seen = patches.any(axis=2)  # flat patches show no word
        place = (np.arange(N)[:, None] * parts**2 + part) * K + word
        counts = np.bincount(place[seen], minlength=N * parts**2 * K).reshape(N, parts**2, K)
        pyramid = np.concatenate([counts.sum(axis=1, keepdims=True), counts], axis=1)
        return _rows(np.sqrt(pyramid / np.float32(P)))


def _softened(maps: Features) -> Features:
    """
    Shape: (N, C, H, W) → (N, C, ⌊H/2⌋, ⌊W/2⌋).
    """
    H, W = (size // 2 * 2 for size in maps.shape[2:])
    soft = gaussian_filter(maps, (0, 0, 1, 1))[:, :, :H, :W]
    return np.asarray(soft.reshape(*maps.shape[:2], H // 2, 2, W // 2, 2).mean(axis=(3, 5)))


def _hysteresis(vectors: Features) -> Features:
    """To length 1, clipped at 0.2, and to length 1 again."""
    return _unit_length(np.minimum(_unit_length(vectors), np.float32(0.2)))


def _unit_length(vectors: Features) -> Features:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, np.float32(1e-6)))


def _rows(values: NDArray[np.floating]) -> Features:
    return np.asarray(values.reshape(len(values), -1), dtype=np.float32)

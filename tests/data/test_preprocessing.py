"""Normalisation against numpy, augmentation against scipy's geometry."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from cnnpipe.data import preprocessing
from cnnpipe.data.preprocessing import Normalization, augment
from cnnpipe.params.train import AugmentParams

OFF = AugmentParams(degrees=0, translate=0, scale=0, shear=0)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_normalization_measures_what_numpy_measures_and_brings_it_to_zero_and_one():
    images = torch.randint(256, (20, 28, 28), dtype=torch.uint8, generator=rng())
    normalization = Normalization.of(images)
    scaled = images.numpy() / 255
    assert normalization.mean == pytest.approx(scaled.mean())
    assert normalization.std == pytest.approx(scaled.std())
    normalised = normalization(images)
    assert normalised.shape == (20, 1, 28, 28)
    assert normalised.dtype == torch.float32
    assert normalised.mean().item() == pytest.approx(0, abs=1e-5)
    assert normalised.var(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_normalization_by_hand():
    # (255/255 − 0.5)/0.25 = 2;  (0 − 0.5)/0.25 = −2
    images = torch.tensor([[[255, 0]]], dtype=torch.uint8)
    normalization = Normalization(mean=0.5, std=0.25)
    assert normalization(images).flatten().tolist() == [2.0, -2.0]
    assert normalization.background == -2.0


def test_a_constant_data_set_is_not_divided_by_zero():
    images = torch.zeros(2, 28, 28, dtype=torch.uint8)
    assert Normalization.of(images)(images).abs().max() == 0


def test_augmentation_with_all_widths_zero_changes_nothing():
    images = torch.randn(3, 1, 28, 28, generator=rng())
    assert torch.equal(augment(images, OFF, -0.4, rng()), images)


def test_augmentation_is_a_function_of_the_generator():
    images = torch.randn(3, 1, 28, 28, generator=rng())
    widths = AugmentParams(degrees=10, translate=0.1, scale=0.1, shear=5)
    first = augment(images, widths, 0.0, rng(5))
    assert torch.equal(first, augment(images, widths, 0.0, rng(5)))
    assert not torch.equal(first, augment(images, widths, 0.0, rng(6)))


def test_each_image_gets_its_own_map():
    image = torch.randn(1, 1, 28, 28, generator=rng())
    widths = AugmentParams(degrees=10, translate=0, scale=0, shear=0)
    one, other = augment(image.repeat(2, 1, 1, 1), widths, 0.0, rng())
    assert not torch.equal(one, other)


def test_what_comes_in_from_outside_is_background():
    images = torch.full((4, 1, 28, 28), -0.42)
    widths = AugmentParams(degrees=30, translate=0.3, scale=0.2, shear=20)
    torch.testing.assert_close(augment(images, widths, -0.42, rng()), images)


def test_maps_stay_within_their_half_widths():
    widths = AugmentParams(degrees=10, translate=0.1, scale=0.2, shear=5)
    maps = preprocessing.random_affine_maps(10_000, widths, rng())
    linear, shift = maps[:, :, :2], maps[:, :, 2]
    # A = R(θ)·Shear(φ)/s: det A = 1/s², and A's first column is (cos θ, sin θ)/s
    scale = linear.det().rsqrt()
    angle = torch.atan2(linear[:, 1, 0], linear[:, 0, 0]).rad2deg()
    assert scale.min() == pytest.approx(0.8, abs=1e-3)
    assert scale.max() == pytest.approx(1.2, abs=1e-3)
    assert angle.abs().max() == pytest.approx(10, abs=1e-2)
    assert shift.abs().max() == pytest.approx(2 * 0.1, abs=1e-3)
    assert angle.mean().abs() < 0.2  # symmetric: 10/√3/√10,000 = 0.06 is one standard error


@pytest.mark.parametrize("seed", range(4))
def test_a_map_resamples_as_scipy_does(seed):
    """The same map, written in pixels (row, column) for `scipy.ndimage.affine_transform`."""
    side, background = 28, -0.5
    image = torch.randn(1, 1, side, side, generator=rng())
    image[..., :6, :] = image[..., -6:, :] = image[..., :6] = image[..., -6:] = background
    widths = AugmentParams(degrees=20, translate=0.1, scale=0.2, shear=10)
    maps = preprocessing.random_affine_maps(1, widths, rng(seed))
    a = maps[0].double().numpy()
    flip = np.array([[0, 1], [1, 0]])  # (x, y) to (row, column)
    matrix = flip @ a[:, :2] @ flip
    centre = (side - 1) / 2
    offset = centre + flip @ a[:, 2] * side / 2 - matrix @ [centre, centre]
    expected = affine_transform(
        image[0, 0].double().numpy(), matrix, offset, order=1, cval=background
    )
    got = augment(image, widths, background, rng(seed))[0, 0]
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-4)
    assert math.sqrt(float(((got - image[0, 0]) ** 2).mean())) > 0.1  # it did move

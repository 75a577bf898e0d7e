"""Photos in memory: adding noise, comparing, blending and showing what was removed."""

from itertools import product

import numpy as np
import pytest
import torch
from memory import peak_of
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from denoiser import (
    ImageError,
    Photo,
    add_noise,
    blend,
    compare,
    inference,
    metrics,
    noise,
    residual,
)
from denoiser.inference import FULL_SCALE

pytestmark = pytest.mark.usefixtures("float32_on_any_machine")


def pixels_of(shape, dtype, seed=0):
    drawn = np.random.default_rng(seed).uniform(0.2, 0.8, shape)
    return (drawn * FULL_SCALE[np.dtype(dtype)]).astype(dtype)


def as_floats(pixels):
    return pixels / FULL_SCALE[pixels.dtype]


# What is refused

GOOD = np.zeros((8, 8, 3), np.uint8)


# Noise for trying it out


def test_the_noise_depends_only_on_the_seed(untouched_global_generators):
    photo = Photo(pixels_of((24, 40, 3), np.uint8))
    first = add_noise(photo, 25, seed=1).pixels
    np.testing.assert_array_equal(add_noise(photo, 25, seed=1).pixels, first)
    assert not np.array_equal(add_noise(photo, 25, seed=2).pixels, first)
    np.testing.assert_array_equal(add_noise(photo, 25).pixels, add_noise(photo, 25, seed=0).pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(200, 300), (100, 200, 3)], ids=str)
def test_added_noise_has_the_level_asked_for(shape, dtype):
    grey = np.full(shape, FULL_SCALE[np.dtype(dtype)] // 2, dtype)
    noisy = add_noise(Photo(grey), 25).pixels
    assert noisy.dtype == dtype
    assert np.std(as_floats(noisy)) * 255 == pytest.approx(25, rel=0.02)
    assert (as_floats(noisy) - as_floats(grey)).mean() * 255 == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_noise_of_level_zero_changes_nothing(dtype):
    pixels = pixels_of((24, 40, 3), dtype)
    np.testing.assert_array_equal(add_noise(Photo(pixels), 0).pixels, pixels)


def test_added_noise_does_not_wrap_around():
    for value in (0, 255):
        noisy = add_noise(Photo(np.full((50, 50), value, np.uint8)), 25).pixels
        assert np.mean(noisy == value) > 0.4  # half of it is clipped
        assert np.abs(noisy.astype(int) - value).max() < 150


def test_added_noise_needs_a_level():
    with pytest.raises(ImageError, match="number from 0 to 100"):
        add_noise(Photo(GOOD), None)


def test_noise_added_in_parts_equals_that_of_the_whole():
    pixels = pixels_of((1201, 1803, 3), np.uint8)  # over three parts; the last isn't a multiple of sixteen
    assert pixels.size > 3 * inference.PART_VALUES and pixels.size % 16
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    whole = noise.gaussian(planes, 25 / 255, torch.Generator().manual_seed(7)).clamp(0, 1).mul(255).round()
    np.testing.assert_array_equal(add_noise(Photo(pixels), 25, seed=7).pixels, whole[0].permute(1, 2, 0).numpy())


def test_adding_noise_uses_little_memory():
    photo = Photo(pixels_of((2000, 3000, 3), np.uint8))
    noisy, peak = peak_of(lambda: add_noise(photo, 25))
    assert peak < 4 * noisy.pixels.nbytes + (100 << 20)  # 24 megapixels: 390 MB


@pytest.mark.parametrize("seed", [-1, 2**64, 0.5, "1", None, True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ImageError, match="whole number from 0 to"):
        add_noise(Photo(GOOD), 25, seed=seed)


def test_seeds_may_be_large_or_of_numpy():
    for seed in (2**64 - 1, 3):
        expected = add_noise(Photo(GOOD), 25, seed=seed).pixels
        np.testing.assert_array_equal(add_noise(Photo(GOOD), 25, seed=np.uint64(seed)).pixels, expected)


# Comparing


def expected_scores(image, reference):
    options = {"channel_axis": 2 if image.ndim == 3 else None, "gaussian_weights": True, "sigma": 1.5}
    image, reference = as_floats(image), as_floats(reference)
    return {
        "psnr": peak_signal_noise_ratio(reference, image, data_range=1),
        "ssim": structural_similarity(image, reference, data_range=1, use_sample_covariance=False, **options),
    }


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(11, 11, 3), (24, 40), (37, 53, 3)], ids=str)
def test_scores_equal_scikit_image(shape, dtype):
    reference = Photo(pixels_of(shape, dtype))
    noisy = add_noise(reference, 10)
    assert compare(noisy, reference) == pytest.approx(expected_scores(noisy.pixels, reference.pixels), abs=1e-4)


def test_scores_of_a_photo_equal_scikit_image(photo_pixels):
    reference = Photo(photo_pixels.copy())
    noisy = add_noise(reference, 25)
    assert compare(noisy, reference) == pytest.approx(expected_scores(noisy.pixels, reference.pixels), abs=1e-4)


def test_photos_of_different_depths_can_be_compared():
    pixels = pixels_of((24, 40, 3), np.uint8)
    scores = compare(Photo(pixels.astype(np.uint16) * 257), Photo(pixels))
    assert scores["psnr"] > 100 and scores["ssim"] == pytest.approx(1)


def test_a_photo_scores_best_against_itself():
    photo = Photo(pixels_of((24, 40, 3), np.uint8))
    assert compare(photo, photo) == {"psnr": np.inf, "ssim": pytest.approx(1)}


def test_scores_in_bands_equal_those_of_the_whole(monkeypatch, subtests):
    for shape, part in product([(37, 23, 3), (11, 40), (24, 11, 3), (40, 10, 3), (9, 40)], (1, 400, 700, 1 << 21)):
        with subtests.test(shape=shape, part=part):
            monkeypatch.setattr(inference, "PART_VALUES", part)
            image, reference = (pixels_of(shape, np.uint8, seed) for seed in (0, 1))
            pair = [
                torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)[None] / 255 for pixels in (image, reference)
            ]
            scores = compare(Photo(image), Photo(reference))
            assert scores["psnr"] == pytest.approx(float(metrics.psnr(*pair)), abs=1e-5)
            assert ("ssim" in scores) == (min(shape[:2]) >= 11)
            if "ssim" in scores:
                assert scores["ssim"] == pytest.approx(float(metrics.ssim(*pair)), abs=1e-6)


@pytest.mark.slow
def test_comparing_uses_little_memory(photo_pixels):
    reference = Photo(np.tile(photo_pixels, (12, 14, 1)))  # 6 megapixels
    noisy = add_noise(reference, 25)
    scores, peak = peak_of(lambda: compare(noisy, reference))
    assert peak < 500 << 20
    pair = [torch.from_numpy(photo.pixels[:700]).permute(2, 0, 1)[None] / 255 for photo in (noisy, reference)]
    assert scores["ssim"] == pytest.approx(float(metrics.ssim(*pair)), abs=0.01)  # the photo repeats


@pytest.mark.long
def test_comparing_24_megapixels_uses_little_memory_and_is_exact(photo_pixels):
    reference = Photo(np.tile(photo_pixels, (20, 34, 1))[:4000, :6000].copy())
    noisy = add_noise(reference, 25)
    scores, peak = peak_of(lambda: compare(noisy, reference))
    assert peak < 1.5 * 2**30
    error = sum(
        float(np.square(a.astype(float) - b).sum()) for a, b in zip(noisy.pixels, reference.pixels, strict=True)
    )
    mean = error / 255**2 / reference.pixels.size
    assert scores["psnr"] == pytest.approx(-10 * np.log10(mean), rel=1e-6)
    similarity = 0.0
    for channel in range(3):  # of which the mean is; in double precision, by scikit-image
        pair = [as_floats(photo.pixels[..., channel]) for photo in (reference, noisy)]
        options = {"data_range": 1, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        similarity += structural_similarity(*pair, **options) / 3
    assert scores["ssim"] == pytest.approx(similarity, abs=1e-5)  # ours is in single precision


@pytest.mark.parametrize("shape", [(10, 40, 3), (40, 10), (1, 1, 3)], ids=str)
def test_ssim_is_left_out_for_images_smaller_than_its_window(shape):
    photo = Photo(pixels_of(shape, np.uint8))
    assert compare(add_noise(photo, 25), photo).keys() == {"psnr"}


@pytest.mark.parametrize("shape", [(24, 41, 3), (40, 24, 3), (24, 40)], ids=str)
def test_photos_of_different_shapes_cannot_be_compared(shape):
    with pytest.raises(ImageError, match="can't be compared"):
        compare(Photo(pixels_of(shape, np.uint8)), Photo(pixels_of((24, 40, 3), np.uint8)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_blend_goes_from_one_photo_to_the_other(dtype):
    before, after = (Photo(pixels_of((9, 7, 3), dtype, seed)) for seed in (0, 1))
    assert blend(before, after, 0) is before and blend(before, after, 1) is after
    for amount in (0.25, 0.5, 0.99):
        mixed = blend(before, after, amount)
        expected = (1 - amount) * before.pixels.astype(float) + amount * after.pixels
        assert mixed.pixels.dtype == dtype and np.abs(mixed.pixels - expected).max() <= 0.5 + 1e-2


def test_what_was_removed_is_shown_on_grey_and_amplified():
    before, after = Photo(np.full((4, 5, 3), 100, np.uint8)), Photo(np.full((4, 5, 3), 90, np.uint8))
    assert (residual(before, after).pixels == 128 + 4 * 10).all() and (residual(before, before).pixels == 128).all()
    assert (residual(after, before, gain=20).pixels == 0).all()  # more than can be shown
    deep = [Photo(photo.pixels.astype(np.uint16) * 257) for photo in (before, after)]
    assert (residual(*deep).pixels == 128 + 4 * 10).all() and residual(*deep).bit_depth == 8


def test_blend_and_residual_refuse_photos_of_different_kinds():
    small, large, deep = (
        Photo(pixels_of(*kind)) for kind in (((4, 4), np.uint8), ((5, 4), np.uint8), ((4, 4), np.uint16))
    )
    for other in (large, deep):
        for function in (lambda *pair: blend(*pair, 0.5), residual):
            with pytest.raises(ImageError, match="size or depth"):
                function(small, other)
    for amount in (-0.1, 1.1, float("nan"), None, "1"):
        with pytest.raises(ImageError, match="The amount is"):
            blend(small, small, amount)

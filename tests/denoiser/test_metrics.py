"""The metrics, compared with scikit-image and with values worked out by hand."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from denoiser import metrics

SHAPES = [(1, 11, 11), (3, 11, 40), (3, 64, 48), (1, 33, 27), (4, 20, 20)]


def reference_ssim(image, reference):
    return structural_similarity(
        image, reference, data_range=1, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )


def reference_psnr(image, reference):
    return peak_signal_noise_ratio(reference, image, data_range=1)


def random_pair(*shape, seed=0):
    """Two float64 arrays on [0, 1]: a picture with structure, and a noisy version of it."""
    rng = np.random.default_rng(seed)
    clean = np.cumsum(rng.standard_normal(shape), axis=-1)
    clean = (clean - clean.min()) / np.ptp(clean)
    return np.clip(clean + 0.1 * rng.standard_normal(shape), 0, 1), clean


def photo_pair(photo_pixels):
    clean = photo_pixels.transpose(2, 0, 1) / 255.0
    return np.clip(clean + 0.1 * np.random.default_rng(0).standard_normal(clean.shape), 0, 1), clean


def score(metric, image, reference, dtype=torch.float64):
    """The metric of one (C, H, W) pair of arrays, as a number."""
    return metric(*(torch.from_numpy(array).to(dtype)[None] for array in (image, reference))).item()


AGAINST = [(metrics.psnr, reference_psnr), (metrics.ssim, reference_ssim)]
every_metric = pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim, metrics.argmax_channel_accuracy])


@pytest.mark.parametrize(("metric", "expected"), AGAINST)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_scikit_image(metric, expected, shape):
    pair = random_pair(*shape)
    assert score(metric, *pair) == pytest.approx(expected(*pair), abs=1e-9)


@pytest.mark.parametrize(("metric", "expected"), AGAINST)
def test_equals_scikit_image_on_a_photo(metric, expected, photo_pixels):
    pair = photo_pair(photo_pixels)
    assert score(metric, *pair) == pytest.approx(expected(*pair), abs=1e-9)


@pytest.mark.parametrize(("metric", "expected"), AGAINST)
def test_single_precision_is_good_to_four_digits(metric, expected, photo_pixels):
    pair = photo_pair(photo_pixels)
    assert score(metric, *pair, dtype=torch.float32) == pytest.approx(expected(*pair), abs=1e-4)


@every_metric
def test_a_batch_scores_each_picture_on_its_own(metric):
    pairs = [random_pair(3, 20, 24, seed=seed) for seed in range(3)]
    image, reference = (torch.from_numpy(np.stack(side)) for side in zip(*pairs, strict=True))
    scores = metric(image, reference)
    assert scores.shape == (3,)
    assert scores.tolist() == pytest.approx([score(metric, *pair) for pair in pairs])


@every_metric
def test_swapping_picture_and_reference_changes_nothing(metric):
    image, reference = random_pair(3, 20, 24)
    assert score(metric, image, reference) == pytest.approx(score(metric, reference, image))


@every_metric
def test_more_noise_scores_lower(metric):
    _, clean = random_pair(3, 48, 48)
    noise = np.random.default_rng(1).standard_normal(clean.shape)
    scores = [score(metric, clean + sigma * noise, clean) for sigma in (0.02, 0.1, 0.3)]
    assert scores == sorted(scores, reverse=True)


@every_metric
def test_inputs_are_not_changed(metric):
    image, reference = (torch.from_numpy(array)[None] for array in random_pair(3, 20, 24))
    before = image.clone(), reference.clone()
    metric(image, reference)
    assert torch.equal(image, before[0]) and torch.equal(reference, before[1])


@pytest.mark.parametrize(
    ("metric", "best"), [(metrics.psnr, math.inf), (metrics.ssim, 1.0), (metrics.argmax_channel_accuracy, 1.0)]
)
def test_identical_pictures_score_best(metric, best, photo_tensor, subtests):
    for dtype, value in product((torch.float32, torch.float64), ("photo", 0.0, 1.0)):
        with subtests.test(dtype=dtype, value=value):
            picture = photo_tensor.to(dtype) if value == "photo" else torch.full((1, 3, 16, 16), value, dtype=dtype)
            assert metric(picture, picture.clone()).item() == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize(("difference", "decibel"), [(1.0, 0.0), (0.1, 20.0), (0.01, 40.0)])
def test_psnr_of_a_constant_difference(difference, decibel):
    black = torch.zeros(1, 3, 4, 5, dtype=torch.float64)
    assert metrics.psnr(black + difference, black).item() == pytest.approx(decibel)


def test_ssim_of_the_negative_is_below_zero():
    _, picture = random_pair(1, 32, 32)
    assert score(metrics.ssim, 1 - picture, picture) < 0


@pytest.mark.parametrize("size", [(10, 11), (11, 10), (1, 1)], ids=str)
def test_ssim_refuses_images_smaller_than_its_window(size):
    with pytest.raises(ValueError, match="11x11"):
        metrics.ssim(torch.zeros(1, 3, *size), torch.zeros(1, 3, *size))


def test_argmax_accuracy_of_four_pixels_counted_by_hand():
    #                       red   green blue   grey (a tie: red is first)
    reference = torch.tensor([[0.9, 0.1, 0.2, 0.5], [0.1, 0.8, 0.3, 0.5], [0.0, 0.2, 0.7, 0.5]]).view(1, 3, 2, 2)
    image = torch.tensor([[0.4, 0.3, 0.9, 0.7], [0.3, 0.4, 0.1, 0.6], [0.2, 0.0, 0.8, 0.6]]).view(1, 3, 2, 2)
    assert metrics.argmax_channel_accuracy(image, reference).tolist() == [0.75]  # only blue turned red


def test_argmax_accuracy_ignores_brightness(photo_tensor):
    assert metrics.argmax_channel_accuracy(photo_tensor * 0.5, photo_tensor).item() == 1

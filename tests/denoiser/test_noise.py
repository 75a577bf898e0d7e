"""The noise models: of the requested strength, the same for the same seed, and not clipped."""

from itertools import product

import numpy as np
import pytest
import torch

from denoiser import noise

GREY = torch.full((4, 3, 128, 128), 0.5)
ENOUGH = 5 / GREY.numel() ** 0.5  # five standard errors of a mean over so many samples of unit variance


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# Every noise model as one function of (pixels, generator).
MODELS = {
    "gaussian": lambda pixels, source: noise.gaussian(pixels, 0.3, source),
    "poisson_gaussian": lambda pixels, source: noise.poisson_gaussian(pixels, 0.1, 0.2, source),
}
every_model = pytest.mark.parametrize("add", MODELS.values(), ids=MODELS.keys())


@every_model
def test_the_same_seed_gives_the_same_pixels(add):
    assert torch.equal(add(GREY, generator(7)), add(GREY, generator(7)))
    assert not torch.equal(add(GREY, generator(7)), add(GREY, generator(8)))


@every_model
def test_one_generator_gives_new_noise_at_every_call(add):
    source = generator()
    assert not torch.equal(add(GREY, source), add(GREY, source))


@every_model
def test_only_the_generator_is_used(add, untouched_global_generators):
    add(GREY, generator())


@every_model
def test_the_input_is_not_changed(add):
    pixels = GREY.clone()
    add(pixels, generator())
    assert torch.equal(pixels, GREY)


@every_model
def test_noise_is_not_clipped(add):
    for value in (0.0, 1.0):
        noisy = add(torch.full_like(GREY, value), generator())
        assert (noisy < value).float().mean() == pytest.approx(0.5, abs=0.01)


@every_model
def test_shape_and_type_are_kept(add, subtests):
    for shape, dtype in product(((1,), (7, 5), (3, 1, 1), (2, 3, 4, 5)), (torch.float32, torch.float64)):
        with subtests.test(shape=shape, dtype=dtype):
            noisy = add(torch.full(shape, 0.5, dtype=dtype), generator())
            assert noisy.shape == shape
            assert noisy.dtype == dtype


@pytest.mark.parametrize("add", [noise.gaussian, lambda pixels, sigma: noise.poisson_gaussian(pixels, sigma, sigma)])
def test_the_type_is_that_of_the_pixels_not_of_sigma(add):
    assert add(GREY, torch.full((4, 1, 1, 1), 0.1, dtype=torch.float64)).dtype == torch.float32


@pytest.mark.parametrize("level", [1, 15, 25, 50, 100])
def test_gaussian_noise_has_the_requested_strength(level):
    sigma = noise.sigma_from_level(level)
    difference = noise.gaussian(GREY, sigma, generator()) - GREY
    assert difference.std().item() == pytest.approx(sigma, rel=ENOUGH)
    assert difference.mean().item() == pytest.approx(0, abs=sigma * ENOUGH)


def test_gaussian_noise_is_white():
    difference = noise.gaussian(GREY, 1.0, generator()) - GREY
    for dimension in range(4):
        neighbours = difference * difference.roll(1, dims=dimension)
        assert abs(neighbours.mean().item()) < ENOUGH


def test_gaussian_noise_has_gaussian_tails():
    difference = (noise.gaussian(GREY, 1.0, generator()) - GREY).abs()
    for bound, share in [(1, 0.6827), (2, 0.9545), (3, 0.9973)]:
        assert (difference < bound).float().mean().item() == pytest.approx(share, abs=ENOUGH)


def test_sigma_zero_changes_nothing():
    assert torch.equal(noise.gaussian(GREY, 0.0, generator()), GREY)
    assert torch.equal(noise.poisson_gaussian(GREY, 0.0, 0.0, generator()), GREY)


def test_sigma_broadcasts_over_pictures():
    sigmas = torch.tensor([0.0, 0.1, 0.2, 0.4])
    measured = (noise.gaussian(GREY, sigmas.view(4, 1, 1, 1), generator()) - GREY).std(dim=(1, 2, 3))
    torch.testing.assert_close(measured, sigmas, rtol=2 * ENOUGH, atol=0)


def test_sigma_broadcasts_over_pixels():
    sigma = torch.zeros(1, 1, 128, 128)
    sigma[..., 64:] = 0.2
    difference = noise.gaussian(GREY, sigma, generator()) - GREY
    assert not difference[..., :64].any()
    assert difference[..., 64:].std().item() == pytest.approx(0.2, rel=2 * ENOUGH)


@pytest.mark.parametrize(("shot", "read"), [(0.01, 0.0), (0.0, 0.05), (0.02, 0.03)])
def test_poisson_gaussian_variance_is_affine_in_the_intensity(shot, read, subtests):
    for intensity in (0.0, 0.1, 0.5, 1.0):
        with subtests.test(intensity=intensity):
            pixels = torch.full_like(GREY, intensity)
            difference = noise.poisson_gaussian(pixels, shot, read, generator()) - pixels
            assert difference.var().item() == pytest.approx(shot * intensity + read**2, rel=2 * ENOUGH)
            assert abs(difference.mean().item()) <= ENOUGH * (shot * intensity + read**2) ** 0.5


def test_poisson_gaussian_strengths_broadcast_over_pictures():
    shot, read = torch.tensor([0.0, 0.01, 0.02, 0.04]), torch.tensor([0.1, 0.0, 0.05, 0.2])
    noisy = noise.poisson_gaussian(GREY, shot.view(4, 1, 1, 1), read.view(4, 1, 1, 1), generator())
    torch.testing.assert_close((noisy - GREY).var(dim=(1, 2, 3)), shot / 2 + read**2, rtol=4 * ENOUGH, atol=0)


def test_below_black_only_the_read_noise_is_left():
    pixels = torch.full_like(GREY, -0.2)
    assert (noise.poisson_gaussian(pixels, 0.1, 0.05, generator()) - pixels).std().item() == pytest.approx(
        0.05, rel=2 * ENOUGH
    )


def test_quantizing_equals_saving_to_8_bits():
    pixels = torch.rand(3, 50, 50, generator=generator()) * 1.4 - 0.2
    stored = np.rint(np.clip(pixels.numpy(), 0, 1) * np.float32(255)).astype(np.uint8)
    np.testing.assert_array_equal(noise.quantize(pixels).numpy(), stored.astype(np.float32) / np.float32(255))


def test_quantizing_twice_is_quantizing_once():
    once = noise.quantize(torch.rand(3, 50, 50, generator=generator()))
    assert torch.equal(noise.quantize(once), once)


def test_quantizing_keeps_all_256_values_apart():
    values = torch.arange(256) / 255
    assert torch.equal(noise.quantize(values), values)


@pytest.mark.parametrize("level", [0, 0.5, 25, 55, 100, 255])
def test_level_and_sigma_are_inverse(level):
    assert noise.level_from_sigma(noise.sigma_from_level(level)) == pytest.approx(level)
    assert noise.sigma_from_level(level) == pytest.approx(level / 255)

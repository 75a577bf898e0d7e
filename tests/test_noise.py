"""The noise models: as strong as asked, the same for the same seed, and nothing cut off; a camera's: like a photo's."""

import numpy as np
import pytest
import torch

from denoiser import noise
from denoiser.camera import draw_camera, unprocess

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
def test_a_generator_is_the_only_state_that_is_used(add, untouched_global_generators):
    add(GREY, generator())


@every_model
def test_the_input_stays_as_it_was(add):
    pixels = GREY.clone()
    add(pixels, generator())
    assert torch.equal(pixels, GREY)


@every_model
def test_noise_is_not_clipped(add):
    for value in (0.0, 1.0):
        noisy = add(torch.full_like(GREY, value), generator())
        assert (noisy < value).float().mean() == pytest.approx(0.5, abs=0.01)


@every_model
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1,), (7, 5), (3, 1, 1), (2, 3, 4, 5)], ids=str)
def test_shape_and_type_stay(add, shape, dtype):
    noisy = add(torch.full(shape, 0.5, dtype=dtype), generator())
    assert noisy.shape == shape
    assert noisy.dtype == dtype


@pytest.mark.parametrize("add", [noise.gaussian, lambda pixels, sigma: noise.poisson_gaussian(pixels, sigma, sigma)])
def test_the_type_is_that_of_the_pixels_whatever_that_of_sigma(add):
    assert add(GREY, torch.full((4, 1, 1, 1), 0.1, dtype=torch.float64)).dtype == torch.float32


@pytest.mark.parametrize("level", [1, 15, 25, 50, 100])
def test_gaussian_noise_is_as_strong_as_asked(level):
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
@pytest.mark.parametrize("intensity", [0.0, 0.1, 0.5, 1.0])
def test_poisson_gaussian_variance_is_affine_in_the_intensity(intensity, shot, read):
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


def test_quantizing_is_what_an_8_bit_file_does():
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


# A camera's noise


def crops(photo, count, size, low=0.0, high=1.0):
    """Pieces of a photo from all over it, with contrast squeezed to low..high: (count, 3, size, size)."""
    corners = [torch.randint(side - size, (count,), generator=generator()).tolist() for side in photo.shape[-2:]]
    pieces = [photo[0, :, top : top + size, left : left + size] for top, left in zip(*corners, strict=True)]
    return low + (high - low) * torch.stack(pieces)


def level_of(difference):
    """The 0-255 noise level of each picture."""
    return noise.level_from_sigma(difference.square().mean(dim=(1, 2, 3)).sqrt())


@pytest.mark.parametrize("downscale", [1, 2, 4])
def test_a_camera_gives_pictures_and_their_clean_twins(photo_tensor, downscale):
    pixels = crops(photo_tensor, 12, 48)
    noisy, clean = noise.camera(pixels, generator(), downscale)
    assert noisy.shape == clean.shape == (12, 3, 48 // downscale, 48 // downscale)
    assert noisy.dtype == clean.dtype == torch.float32
    for picture in (noisy, clean):
        assert picture.min() >= 0
        assert picture.max() <= 1
    assert torch.equal(noisy, noise.quantize(noisy))
    assert not torch.equal(clean, noise.quantize(clean))
    assert (level_of(noisy - clean) > 0.3).all()


def test_a_camera_draws_from_its_generator_alone(photo_tensor, untouched_global_generators):
    pixels = crops(photo_tensor, 4, 32)
    before = pixels.clone()
    first, second, other = (noise.camera(pixels, generator(seed)) for seed in (7, 7, 8))
    assert torch.equal(pixels, before)
    for one, two, three in zip(first, second, other, strict=True):
        assert torch.equal(one, two)
        assert not torch.equal(one, three)


def test_the_clean_twin_has_next_to_nothing_of_the_noise(photo_tensor, monkeypatch):
    pixels = crops(photo_tensor, 8, 32)
    monkeypatch.setattr(noise, "reduce_noise", lambda error, shots: error)
    noisy, clean = noise.camera(pixels, generator())
    monkeypatch.setattr(noise, "poisson_gaussian", lambda light, shot, read, source: light)
    noiseless, same_clean = noise.camera(pixels, generator())
    assert not torch.equal(noisy, noiseless)
    assert (level_of(clean - same_clean) < 0.25 * level_of(noisy - noiseless)).all()  # the drift of the colours
    # What is left is JPEG and rounding.
    lossless = ~draw_camera(8, generator()).compressed.flatten()
    assert lossless.any()
    assert torch.equal(noiseless[lossless], noise.quantize(same_clean[lossless]))
    assert not torch.equal(noiseless[~lossless], noise.quantize(same_clean[~lossless]))


def test_shrinking_is_the_mean_of_areas(photo_tensor):
    pixels = crops(photo_tensor, 4, 32)
    whole, halved = noise.camera(pixels, generator())[1], noise.camera(pixels, generator(), downscale=2)[1]
    torch.testing.assert_close(halved, whole.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(-2, -1)))


def test_a_camera_is_not_computed_in_mixed_precision(photo_tensor):
    pixels = crops(photo_tensor, 4, 32)
    expected = noise.camera(pixels, generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = noise.camera(pixels, generator())
    for one, two in zip(expected, found, strict=True):
        assert torch.equal(one, two)


def test_a_camera_takes_any_memory_layout(photo_tensor):
    pixels = crops(photo_tensor, 4, 32)
    expected = noise.camera(pixels, generator())
    found = noise.camera(pixels.contiguous(memory_format=torch.channels_last), generator())
    for one, two in zip(expected, found, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=0)


def test_the_sensor_s_noise_follows_its_law():
    shots = draw_camera(4, generator())
    light = unprocess(GREY, shots)
    variance = (noise.poisson_gaussian(light, shots.shot, shots.read, generator()) - light).var(dim=(2, 3))
    expected = (shots.shot * light + shots.read**2).mean(dim=(2, 3))
    torch.testing.assert_close(variance, expected, rtol=4 * (2 / 128**2) ** 0.5, atol=0)


def test_a_camera_s_noise_shifts_no_colour(photo_tensor):
    noisy, clean = noise.camera(crops(photo_tensor, 300, 64, low=0.4, high=0.6), generator())
    difference = noisy - clean
    strong = level_of(difference) > 10
    assert strong.sum() > 20
    for some in (strong, ~strong):
        assert difference[some].mean(dim=(0, 2, 3)).abs().max() < 0.002


@pytest.mark.parametrize("contrast", [0.0, 1.0], ids=["grey", "photo"])
def test_a_camera_s_noise_is_as_strong_as_that_of_photos(photo_tensor, contrast):
    middle = 0.5 * (1 - contrast)
    noisy, clean = noise.camera(crops(photo_tensor, 400, 32, low=middle, high=middle + contrast), generator())
    low, median, high = level_of(noisy - clean).quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
    assert 1 < low < 3
    assert 3 < median < 12
    assert 12 < high < 45


@pytest.mark.parametrize("channels", [1, 3])
def test_local_sigma_is_right_everywhere(channels):
    difference = 0.1 * torch.randn(100, channels, 40, 30, generator=generator())
    sigma = noise.local_sigma(difference)
    assert sigma.shape == (100, 1, 40, 30)
    assert sigma.mean(dim=0).sub(0.1).abs().max() < 0.01  # corners, borders and all
    assert sigma.std(dim=0).max() < 0.02


def test_local_sigma_follows_a_step():
    difference = 0.02 * torch.randn(30, 3, 40, 80, generator=generator())
    difference[..., 40:] *= 4
    sigma = noise.local_sigma(difference).mean(dim=0)
    assert sigma[..., : 40 - 7].sub(0.02).abs().max() < 0.002
    assert sigma[..., 40 + 7 :].sub(0.08).abs().max() < 0.008
    assert (sigma[..., 40 - 8 : 40 + 8].mean(dim=(0, 1)).diff() > 0).all()


def test_a_wider_window_is_smoother_and_one_pixel_is_itself():
    difference = torch.randn(1, 3, 60, 60, generator=generator())
    narrow, wide = (noise.local_sigma(difference, window).std() for window in (5, 25))
    assert wide < narrow / 2
    assert torch.equal(noise.local_sigma(difference, window=1), difference.square().mean(dim=1, keepdim=True).sqrt())


def test_local_sigma_of_a_picture_smaller_than_the_window():
    difference = torch.randn(1, 3, 4, 6, generator=generator())
    torch.testing.assert_close(
        noise.local_sigma(difference, window=15), difference.square().mean().sqrt().expand(1, 1, 4, 6)
    )

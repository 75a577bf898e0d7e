"""Simulated photographs: noisy pictures and the clean ones that belong to them."""

import pytest
import torch

from denoiser import noise
from train.data import camera
from train.data.camera import draw_camera, photograph, unprocess

GREY = torch.full((4, 3, 128, 128), 0.5)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def crops(photo, count, size, low=0.0, high=1.0):
    """Pieces of a photo from all over it, with contrast squeezed to low..high: (count, 3, size, size)."""
    corners = [torch.randint(side - size, (count,), generator=generator()).tolist() for side in photo.shape[-2:]]
    pieces = [photo[0, :, top : top + size, left : left + size] for top, left in zip(*corners, strict=True)]
    return low + (high - low) * torch.stack(pieces)


def level_of(difference):
    """The 0-255 noise level of each picture."""
    return noise.level_from_sigma(difference.square().mean(dim=(1, 2, 3)).sqrt())


def test_photograph_returns_noisy_and_clean_pictures(photo_tensor):
    pixels = crops(photo_tensor, 12, 48)
    noisy, clean = photograph(pixels, generator())
    assert noisy.shape == clean.shape == (12, 3, 48, 48)
    assert noisy.dtype == clean.dtype == torch.float32
    for picture in (noisy, clean):
        assert picture.min() >= 0
        assert picture.max() <= 1
    assert torch.equal(noisy, noise.quantize(noisy))
    assert not torch.equal(clean, noise.quantize(clean))
    assert (level_of(noisy - clean) > 0.3).all()


def test_photograph_draws_only_from_its_generator(photo_tensor, untouched_global_generators):
    pixels = crops(photo_tensor, 4, 32)
    before = pixels.clone()
    first, second, other = (photograph(pixels, generator(seed)) for seed in (7, 7, 8))
    assert torch.equal(pixels, before)
    for one, two, three in zip(first, second, other, strict=True):
        assert torch.equal(one, two)
        assert not torch.equal(one, three)


def test_the_clean_picture_has_almost_no_noise(photo_tensor, monkeypatch):
    pixels = crops(photo_tensor, 8, 32)
    monkeypatch.setattr(camera, "reduce_noise", lambda error, shots: error)
    noisy, clean = photograph(pixels, generator())
    monkeypatch.setattr(noise, "poisson_gaussian", lambda light, shot, read, source: light)
    noiseless, same_clean = photograph(pixels, generator())
    assert not torch.equal(noisy, noiseless)
    assert (level_of(clean - same_clean) < 0.25 * level_of(noisy - noiseless)).all()  # the drift of the colours
    # What is left is JPEG and rounding.
    lossless = ~draw_camera(8, generator()).compressed.flatten()
    assert lossless.any()
    assert torch.equal(noiseless[lossless], noise.quantize(same_clean[lossless]))
    assert not torch.equal(noiseless[~lossless], noise.quantize(same_clean[~lossless]))


def test_a_camera_is_not_computed_in_mixed_precision(photo_tensor):
    pixels = crops(photo_tensor, 4, 32)
    expected = photograph(pixels, generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = photograph(pixels, generator())
    for one, two in zip(expected, found, strict=True):
        assert torch.equal(one, two)


def test_photograph_accepts_any_memory_layout(photo_tensor):
    pixels = crops(photo_tensor, 4, 32)
    expected = photograph(pixels, generator())
    found = photograph(pixels.contiguous(memory_format=torch.channels_last), generator())
    for one, two in zip(expected, found, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=0)


def test_the_sensor_s_noise_follows_its_law():
    shots = draw_camera(4, generator())
    light = unprocess(GREY, shots)
    variance = (noise.poisson_gaussian(light, shots.shot, shots.read, generator()) - light).var(dim=(2, 3))
    expected = (shots.shot * light + shots.read**2).mean(dim=(2, 3))
    torch.testing.assert_close(variance, expected, rtol=4 * (2 / 128**2) ** 0.5, atol=0)


def test_a_camera_s_noise_shifts_no_colour_unless_it_is_stored_as_it_is(photo_tensor):
    """Where it is, the clean photo is as bright as the scene, and strong noise has darkened the noisy one."""
    pixels = crops(photo_tensor, 300, 64, low=0.4, high=0.6)
    noisy, clean = photograph(pixels, generator())
    straight = draw_camera(300, generator()).straight.flatten()
    difference = noisy - clean
    strong = level_of(difference) > 10
    for some in (strong & ~straight, ~strong & ~straight):
        assert some.sum() > 15
        assert difference[some].mean(dim=(0, 2, 3)).abs().max() < 0.002
    assert (strong & straight).sum() > 20
    assert (difference[strong & straight].mean(dim=(0, 2, 3)) < -0.005).all()


def test_the_clean_photo_of_a_camera_that_stores_its_noise_does_not_depend_on_it(photo_tensor, monkeypatch):
    pixels = crops(photo_tensor, 16, 32)
    clean = photograph(pixels, generator())[1]
    monkeypatch.setattr(noise, "poisson_gaussian", lambda light, shot, read, source: light)
    noiseless = photograph(pixels, generator())[1]
    straight = draw_camera(16, generator()).straight.flatten()
    assert 0 < straight.sum() < 16
    assert torch.equal(clean[straight], noiseless[straight])
    assert not torch.equal(clean[~straight], noiseless[~straight])


@pytest.mark.parametrize("contrast", [0.0, 1.0], ids=["grey", "photo"])
def test_a_camera_s_noise_is_as_strong_as_that_of_photos(photo_tensor, contrast):
    middle = 0.5 * (1 - contrast)
    noisy, clean = photograph(crops(photo_tensor, 400, 32, low=middle, high=middle + contrast), generator())
    low, median, high = level_of(noisy - clean).quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
    assert 1 < low < 3
    assert 3 < median < 12
    assert 12 < high < 45

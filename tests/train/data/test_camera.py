"""The stages of a camera: inverses invert, and flat pictures stay flat."""

from dataclasses import fields, replace

import pytest
import torch

from train.data import camera, colour

NO_RETOUCHING = {"luma_blur": 0.0, "chroma_blur": 0.0, "sharpening": 0.0}
COLORS = torch.tensor([0.3, 0.5, 0.4]).view(1, 3, 1, 1)
both_demosaics = pytest.mark.parametrize("gradients", [False, True], ids=["bilinear", "malvar"])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def per_picture(value, count=1):
    return torch.full((count, 1, 1, 1), value)


def cameras(count, **fixed):
    """Random cameras, with some of their properties fixed."""
    drawn = camera.draw_camera(count, generator())
    return replace(drawn, **{name: per_picture(value, count) for name, value in fixed.items()})


def neighbour_correlation(noise):
    """Correlation of each pixel with the one to its right, over all of (N, C, H, W)."""
    return ((noise[..., 1:] * noise[..., :-1]).mean() / noise.square().mean()).item()


# Drawing


def test_the_same_seed_draws_the_same_cameras(untouched_global_generators):
    first, second, other = (camera.draw_camera(4, generator(seed)) for seed in (7, 7, 8))
    for field in fields(camera.Camera):
        assert torch.equal(getattr(first, field.name), getattr(second, field.name))
    assert not torch.equal(first.shot, other.shot)


def test_cameras_are_drawn_for_each_picture_within_their_ranges():
    drawn = camera.draw_camera(5000, generator())
    for name, low, high in [
        ("tone", 0.05, 1),
        ("shot", 4.5e-5, 6.72e-2),
        ("black", -1 / 16, 0),
        ("luma_blur", 0, 1.2),
        ("chroma_blur", 0, 3),
        ("sharpening", 0, 1),
        ("sharpening_blur", 0.7, 1.2),
        ("optics", 0, 2),
        ("exposure", 0.1, 1),
        ("luma_reduction", 0, 1),
        ("luma_reach", 0.5, 3),
        ("chroma_reduction", 0, 1),
        ("chroma_reach", 0.5, 6),
        ("quality", 60, 100),
    ]:
        values = getattr(drawn, name)
        assert values.shape == (5000, 1, 1, 1)
        assert values.min().item() == pytest.approx(low, rel=0.02, abs=0.01 * high)
        assert values.max().item() == pytest.approx(high, rel=0.02)
    for name, share in [
        ("mosaic", 0.7),
        ("black", -0.5 / 16),
        ("gradients", 0.5),
        ("compressed", 0.78),
        ("halved_chroma", 0.5),
    ]:
        assert getattr(drawn, name).float().mean().item() == pytest.approx(share, abs=0.03)
    assert (drawn.chroma_blur >= drawn.luma_blur).all()
    assert (drawn.chroma_reduction >= drawn.luma_reduction).all()
    assert (drawn.luma_reduction == 0).float().mean().item() == pytest.approx(0.4 + 0.6 * 0.4, abs=0.03)
    straight = drawn.straight  # phones in the dark
    assert straight.float().mean().item() == pytest.approx(0.4, abs=0.03)
    assert not (drawn.luma_blur + drawn.chroma_blur + drawn.luma_reduction + drawn.chroma_reduction)[straight].any()
    assert drawn.shot[straight].median() > 3 * drawn.shot[~straight].median()
    assert (drawn.exposure < 1)[straight].float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert (drawn.exposure[~straight] == 1).all()
    assert (drawn.quality == drawn.quality.round()).all()
    assert 0.6 < (drawn.quality >= 85).float().mean() < 0.8


def test_read_noise_follows_shot_noise_as_published():
    drawn = camera.draw_camera(5000, generator())
    rest = 2 * drawn.read.log() - 2.18 * drawn.shot.log()
    assert rest.mean().item() == pytest.approx(1.20, abs=0.02)
    assert rest.std().item() == pytest.approx(0.26, rel=0.05)


# Colours: there and back


@pytest.mark.parametrize("strength", [0.05, 0.3, 0.7, 0.99, 1.0])
def test_the_inverse_tone_curve_is_an_inverse(strength):
    pixels, strength = torch.linspace(0, 1, 1001).view(1, 1, 1, -1), per_picture(strength)
    torch.testing.assert_close(
        camera.tone_curve(camera.inverse_tone_curve(pixels, strength), strength), pixels, atol=2e-6, rtol=0
    )
    torch.testing.assert_close(  # less exact where smoothstep is flat
        camera.inverse_tone_curve(camera.tone_curve(pixels, strength), strength), pixels, atol=5e-4, rtol=0
    )


def test_the_tone_curve_raises_contrast_by_its_strength():
    quarter = per_picture(0.25)
    assert camera.tone_curve(quarter, per_picture(1.0)).item() == pytest.approx(3 / 16 - 2 / 64)
    assert camera.tone_curve(quarter, per_picture(0.5)).item() == pytest.approx((0.25 + 3 / 16 - 2 / 64) / 2)


def test_srgb_is_inverted_and_follows_the_standard():
    pixels = torch.linspace(0, 1, 1001)
    torch.testing.assert_close(camera.linear_to_srgb(camera.srgb_to_linear(pixels)), pixels, atol=1e-6, rtol=0)
    assert camera.srgb_to_linear(torch.tensor(0.5)).item() == pytest.approx(0.214041, abs=1e-6)
    assert camera.srgb_to_linear(torch.tensor(0.04)).item() == pytest.approx(0.04 / 12.92, abs=1e-6)


def test_the_colour_matrix_is_inverted_and_leaves_grey_unchanged():
    to_sensor = cameras(50).to_sensor
    pixels = torch.rand(50, 3, 8, 8, generator=generator())
    seen = colour.mix(pixels, to_sensor)
    assert (seen - pixels).abs().mean() > 0.05
    torch.testing.assert_close(colour.mix(seen, torch.linalg.inv(to_sensor)), pixels, atol=1e-5, rtol=0)
    grey = torch.full((50, 3, 2, 2), 0.4)
    torch.testing.assert_close(colour.mix(grey, to_sensor), grey)


def test_gains_are_inverted_below_the_highlights():
    gains = cameras(50).gains
    pixels = 0.9 * torch.rand(50, 3, 8, 8, generator=generator())
    torch.testing.assert_close(camera.inverse_gains(pixels, gains) * gains, pixels)


def test_inverse_gains_leave_white_white_and_darken_no_colour_more_than_gains_would():
    gains = cameras(50).gains
    white = torch.ones(50, 3, 1, 1)
    torch.testing.assert_close(camera.inverse_gains(white, gains), white)
    pixels = torch.rand(50, 3, 8, 8, generator=generator())
    assert (camera.inverse_gains(pixels, gains) >= pixels / gains - 1e-6).all()


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_black_and_white_come_back_through_every_camera(level):
    picture, shots = torch.full((50, 3, 8, 8), level), cameras(50)
    torch.testing.assert_close(camera.develop(camera.unprocess(picture, shots), shots), picture, atol=1e-3, rtol=0)


def test_developing_undoes_unprocessing(photo_tensor):
    photo = photo_tensor.expand(8, -1, -1, -1)
    photo = 0.05 + 0.8 * torch.lerp(photo.mean(dim=1, keepdim=True), photo, 0.7)  # neither clipped nor garish
    shots = cameras(8, mosaic=False, **NO_RETOUCHING)
    light = camera.unprocess(photo, shots)
    assert light.min() >= 0
    assert light.max() <= 1
    assert (light - photo).abs().mean() > 0.1
    torch.testing.assert_close(camera.develop(light, shots), photo, atol=1e-3, rtol=0)


# The mosaic


def test_a_mosaic_is_rggb():
    sites = camera.mosaic(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1).expand(2, 3, 4, 6))
    assert torch.equal(sites, torch.tensor([[1.0, 2.0], [2.0, 3.0]]).repeat(2, 1, 2, 3))


@both_demosaics
def test_a_flat_picture_survives_a_mosaic(gradients):
    flat = COLORS.expand(1, 3, 8, 10)
    torch.testing.assert_close(camera.demosaic(camera.mosaic(flat), per_picture(gradients)), flat)


@both_demosaics
def test_linear_ramps_survive_a_mosaic(gradients):
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing="ij")
    ramps = torch.stack([0.01 * rows, 0.02 * columns, 0.03 * rows - 0.01 * columns])[None]
    rebuilt = camera.demosaic(camera.mosaic(ramps), per_picture(gradients))
    inside = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(rebuilt[inside], ramps[inside], atol=1e-6, rtol=0)


def test_gradients_rebuild_a_photo_better(photo_tensor):
    photo = photo_tensor.expand(2, -1, -1, -1)
    rebuilt = camera.demosaic(camera.mosaic(photo), torch.tensor([False, True]).view(2, 1, 1, 1))
    bilinear, malvar = (rebuilt - photo)[..., 2:-2, 2:-2].square().mean(dim=(1, 2, 3)).tolist()
    assert bilinear < 0.002
    assert malvar < bilinear / 2


@both_demosaics
def test_a_mosaic_spreads_noise_to_neighbours(gradients):
    noise = torch.randn(1, 3, 128, 128, generator=generator())
    assert abs(neighbour_correlation(noise)) < 0.05
    assert neighbour_correlation(camera.demosaic(camera.mosaic(noise), per_picture(gradients))) > 0.2


@pytest.mark.parametrize("mosaic", [False, True])
def test_developing_spreads_noise_only_where_there_is_a_mosaic(mosaic):
    shots = cameras(8, mosaic=mosaic, **NO_RETOUCHING)
    light = camera.unprocess(torch.full((8, 3, 64, 64), 0.5), shots)
    noisy = light + 0.01 * torch.randn(light.shape, generator=generator())
    correlation = neighbour_correlation(camera.develop(noisy, shots) - camera.develop(light, shots))
    assert correlation > 0.2 if mosaic else abs(correlation) < 0.05


# Retouching


def test_blur_has_each_picture_s_own_sigma():
    sigmas = torch.tensor([0.7, 1.5, 3.0])
    impulse = torch.zeros(3, 1, 41, 61)
    impulse[..., 20, 30] = 1
    spread = camera.blur(impulse, sigmas.view(3, 1, 1, 1))
    place = torch.arange(61.0) - 30
    torch.testing.assert_close(spread.sum(dim=(1, 2, 3)), torch.ones(3))
    torch.testing.assert_close((spread.sum(dim=(1, 2)) * place**2).sum(1).sqrt(), sigmas, rtol=0.01, atol=0)
    torch.testing.assert_close(spread[..., 10:31, 20:41], spread[..., 10:31, 20:41].mT)


def test_blur_leaves_flat_pictures_unchanged_up_to_the_borders():
    flat = torch.full((2, 3, 9, 7), 0.4)
    torch.testing.assert_close(camera.blur(flat, torch.tensor([0.5, 3.0]).view(2, 1, 1, 1)), flat)


def test_no_blur_is_the_identity(photo_tensor):
    torch.testing.assert_close(camera.blur(photo_tensor, per_picture(0.0)), photo_tensor)


def test_retouching_blurs_chroma_and_sharpens_luma_separately():
    to_ycc = colour.constant(colour.RGB_TO_YCC, COLORS)
    noisy = 0.5 + 0.05 * torch.randn(1, 3, 64, 64, generator=generator())
    luma, *chroma = colour.mix(noisy, to_ycc)[0]
    for fixed, luma_factor, chroma_factor in [
        ({}, (0.999, 1.001), (0.999, 1.001)),
        ({"chroma_blur": 2.0}, (0.999, 1.001), (0.1, 0.2)),
        ({"luma_blur": 0.7}, (0.3, 0.6), (0.999, 1.001)),
        ({"sharpening": 0.5}, (1.3, 1.5), (0.999, 1.001)),
    ]:
        retouched = camera.retouch(noisy, cameras(1, **NO_RETOUCHING | fixed))
        new_luma, *new_chroma = colour.mix(retouched, to_ycc)[0]
        assert luma_factor[0] < new_luma.std() / luma.std() < luma_factor[1]
        for before, after in zip(chroma, new_chroma, strict=True):
            assert chroma_factor[0] < after.std() / before.std() < chroma_factor[1]


def test_no_noise_reduction_is_the_identity(photo_tensor):
    shots = cameras(1, luma_reduction=0.0, chroma_reduction=0.0)
    torch.testing.assert_close(camera.reduce_noise(photo_tensor, shots), photo_tensor)


def test_noise_reduction_takes_its_share_of_the_fine_grain_and_leaves_the_coarse():
    to_ycc = colour.constant(colour.RGB_TO_YCC, COLORS)
    error = 0.05 * torch.randn(1, 3, 256, 256, generator=generator())
    shots = cameras(1, luma_reduction=0.6, luma_reach=1.0, chroma_reduction=0.9, chroma_reach=2.0)
    reduced = camera.reduce_noise(error, shots)
    spectra = [torch.fft.rfft2(colour.mix(noise, to_ycc)).abs().square()[0] for noise in (error, reduced)]
    before, after = (spectrum[..., torch.fft.rfftfreq(256) > 0.4].sum((1, 2)) for spectrum in spectra)
    left = 1 - torch.tensor([0.6, 0.9, 0.9])
    torch.testing.assert_close(after / before, left.square(), rtol=0.05, atol=0)
    coarse_before, coarse_after = (camera.blur(noise, per_picture(8.0)) for noise in (error, reduced))
    assert coarse_after.std() > 0.9 * coarse_before.std()

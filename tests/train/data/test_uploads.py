"""The noise of uploads: clean pictures stay clean, grids start anywhere, and each step does its part."""

import numpy as np
import pytest
import torch
from skimage.restoration import denoise_bilateral

from denoiser import noise
from train.data import colour, uploads
from train.data.photo_set import PhotoSet


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def photos(photo_tensor):
    pixels = (photo_tensor[0].permute(1, 2, 0) * 255).round().byte().numpy()
    return PhotoSet([pixels])


def level_of(difference):
    """The 0-255 noise level of each picture."""
    return noise.level_from_sigma(difference.square().mean(dim=(1, 2, 3)).sqrt())


@pytest.mark.parametrize(("count", "size"), [(1, 16), (12, 64), (3, 96)])
def test_pairs_are_8_bit_pictures_and_clean_ones(photos, count, size, untouched_global_generators):
    noisy, clean = uploads.upload_pairs(photos, count, size, 0.1, generator())
    assert noisy.shape == clean.shape == (count, 3, size, size) and noisy.dtype == torch.float32
    assert torch.equal(noisy, noise.quantize(noisy))
    assert clean.min() >= 0 and clean.max() <= 1
    again, other = (uploads.upload_pairs(photos, count, size, 0.1, generator(seed)) for seed in (0, 1))
    assert torch.equal(noisy, again[0]) and torch.equal(clean, again[1]) and not torch.equal(noisy, other[0])


def test_photos_hardly_larger_than_a_crop_can_be_used():
    noisy, clean = uploads.upload_pairs(PhotoSet([np.full((17, 19, 3), 128, np.uint8)]), 30, 16, 0.1, generator())
    assert noisy.shape == clean.shape == (30, 3, 16, 16)


def test_noise_is_as_strong_as_in_phones_in_the_dark_and_darkens_on_average(photos):
    noisy, clean = uploads.upload_pairs(photos, 400, 48, 0.1, generator())
    levels = level_of(noisy - clean)
    assert 0.05 < (levels > 25).float().mean() < 0.2
    assert 4 < levels.median() < 14
    shift = (noisy - clean).mean(dim=(0, 2, 3))
    assert -0.006 < shift.mean() < 0 and shift.abs().max() < 0.006


def test_the_first_pixel_lies_anywhere_on_the_grids_of_bayer_and_jpeg():
    row, column = torch.meshgrid(torch.arange(80), torch.arange(80), indexing="ij")
    place = torch.stack([row, column, row]).float().expand(500, -1, -1, -1)
    noisy, clean = uploads.cut(place, place, 64, generator())
    assert torch.equal(noisy, clean)
    corners = noisy[:, :2, 0, 0].long()
    assert corners.min() == 0 and corners.max() == uploads.MARGIN
    assert len((corners % 8).unique(dim=0)) == 64  # every place in a block of JPEG
    assert (noisy[:, 0, -1, 0] - noisy[:, 0, 0, 0] == 63).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_change_some_changes_the_given_share_of_the_pictures(share):
    pixels = torch.rand(2000, 3, 2, 2, generator=generator())
    changed = uploads.change_some(pixels, share, generator(), lambda some, chosen: some + chosen.sum() / 2000)
    touched = (changed != pixels).flatten(1).all(dim=1)
    assert touched.float().mean().item() == pytest.approx(share, abs=0.04)
    assert torch.equal(changed[~touched], pixels[~touched])
    torch.testing.assert_close(changed[touched], pixels[touched] + touched.float().mean())


def test_grain_is_in_luma_or_chroma_or_both_and_correlated():
    noisy, clean = uploads.grain(torch.full((400, 3, 64, 64), 0.5), generator())
    luma, *chroma = colour.mix(noisy - clean, colour.constant(colour.RGB_TO_YCC, clean)).transpose(0, 1)
    strength = [255 * plane.square().mean(dim=(1, 2)).sqrt() for plane in (luma, *chroma)]
    only_luma = (strength[1] < 0.5) & (strength[2] < 0.5)
    only_chroma = strength[0] < 0.5
    assert only_luma.float().mean().item() == pytest.approx(0.5, abs=0.08)
    assert only_chroma.float().mean().item() == pytest.approx(0.25, abs=0.08)
    assert not (only_luma & only_chroma).any()
    neighbours = (luma[..., 1:] * luma[..., :-1]).mean(dim=(1, 2)) / luma.square().mean(dim=(1, 2))
    assert neighbours[only_luma].median() > 0.5


@pytest.mark.parametrize("seed", range(3))
def test_partial_noise_leaves_the_rest_clean(seed):
    clean = torch.full((1, 3, 48, 48), 0.5)
    noisy = clean + 0.1 + 0.1 * torch.rand(clean.shape, generator=generator(seed))
    partly = uploads.in_part(noisy, clean, generator(seed))
    share = (partly - clean) / (noisy - clean)
    assert share.min() >= 0 and share.max() <= 1 + 1e-4
    assert share.min() < 0.05 and share.max() > 0.95
    assert torch.allclose(share, share[:, :1].expand_as(share), atol=1e-3)


def test_the_filter_equals_that_of_scikit_image(photo_tensor):
    plane = photo_tensor.mean(dim=1, keepdim=True)[..., :40, :50]
    ours = uploads.neighbourhood_filter(plane.expand(-1, 3, -1, -1), torch.full((1, 1, 1, 1), 0.1), radius=2)
    theirs = denoise_bilateral(plane[0, 0].numpy(), win_size=5, sigma_color=0.1, sigma_spatial=1e6, bins=100_000)
    inside = (slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(ours[0, 0].numpy()[inside], theirs[inside], atol=1e-4)


def test_the_filter_removes_noise_and_keeps_edges():
    clean = torch.full((1, 3, 40, 40), 0.3)
    clean[..., 20:] = 0.7
    noisy = clean + 0.03 * torch.randn(clean.shape, generator=generator())
    smoothed = uploads.smooth(noisy, clean, generator())
    assert (smoothed - clean).std() < 0.6 * (noisy - clean).std()
    edge = smoothed[..., 20].mean() - smoothed[..., 19].mean()
    assert edge > 0.35


@pytest.mark.parametrize("side", [24, 48, 96])
@pytest.mark.parametrize("by_area", [False, True])
def test_resizing_keeps_the_mean_and_the_range(photo_tensor, side, by_area):
    square = photo_tensor[..., :48, :48]
    resized = uploads.resize(square, side, by_area)
    assert resized.shape == (1, 3, side, side) and resized.min() >= 0 and resized.max() <= 1
    torch.testing.assert_close(resized.mean(dim=(2, 3)), square.mean(dim=(2, 3)), atol=5e-3, rtol=0)


def test_a_second_jpeg_has_another_grid(photo_tensor):
    """The borders of blocks, where steps between pixels are largest, depend on the seed."""
    picture = photo_tensor[..., :96, :96]
    places = set()
    for seed in range(12):
        stored = uploads.recompress(picture, generator(seed))
        assert stored.shape == picture.shape
        added = (stored - picture)[..., 16:80, 16:80]
        steps = added.diff(dim=-1).abs().mean(dim=(0, 1, 2))
        places.add(int(torch.stack([steps[start::8].mean() for start in range(8)]).argmax()))
    assert len(places) > 4


def test_grey_is_the_luma_of_picture_files(photo_tensor):
    grey = uploads.grey(photo_tensor)
    red, green, blue = photo_tensor.unbind(1)
    torch.testing.assert_close(grey[:, 0], 0.299 * red + 0.587 * green + 0.114 * blue)
    assert torch.equal(grey[:, 0], grey[:, 1]) and torch.equal(grey[:, 1], grey[:, 2])

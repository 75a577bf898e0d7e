"""The simulated JPEG equals libjpeg's."""

import io
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image

from train.data.jpeg import jpeg


def per_picture(value, count=1):
    return torch.full((count, 1, 1, 1), value)


def pillow_jpeg(pixels, quality, subsampling):
    """A picture (1, 3, H, W) of multiples of 1/255, stored and opened by libjpeg."""
    stored = io.BytesIO()
    array = (pixels[0] * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(array).save(stored, "JPEG", quality=quality, subsampling=subsampling)
    return torch.from_numpy(np.array(Image.open(stored))).permute(2, 0, 1)[None].float() / 255


def root_mean_square(difference):
    return difference.square().mean().sqrt().item()


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_jpeg_is_what_libjpeg_makes(photo_tensor, subsampling, subtests):
    for quality, size in product((30, 50, 75, 90, 100), ((200, 180), (37, 51))):
        with subtests.test(quality=quality, size=size):
            photo = photo_tensor[..., : size[0], : size[1]]
            theirs = pillow_jpeg(photo, quality, subsampling)
            ours = jpeg(photo, per_picture(float(quality)), per_picture(subsampling == "4:2:0"))
            difference = (ours * 255).round() - theirs * 255
            allowed = {"4:4:4": 0.45, "4:2:0": 0.75}[subsampling]  # libjpeg counts in whole numbers
            assert difference.abs().mean() < allowed
            assert difference.mean(dim=(0, 2, 3)).abs().max() < 0.4  # no colour cast


def test_halved_chroma_comes_back_as_smooth_as_libjpeg_s():
    stripes = (torch.arange(64) % 16 < 8).float().expand(64, 64)
    picture = (torch.stack([0.8 * stripes, 0.5 + 0 * stripes, 0.3 + 0.4 * stripes.mT])[None] * 255).round() / 255
    difference = jpeg(picture, per_picture(95.0), per_picture(True)) - pillow_jpeg(picture, 95, "4:2:0")
    assert difference.abs().mean() < 0.75 / 255


def test_the_best_jpeg_changes_almost_nothing(photo_tensor):
    stored = jpeg(photo_tensor, per_picture(100.0), per_picture(False))
    assert 0 < root_mean_square(stored - photo_tensor) < 1 / 255


@pytest.mark.parametrize("halved_chroma", [False, True])
def test_lower_quality_is_further_from_the_photo(photo_tensor, halved_chroma):
    qualities = torch.tensor([100.0, 95, 85, 75, 60, 40, 20, 5]).view(-1, 1, 1, 1)
    photos = photo_tensor.expand(len(qualities), -1, -1, -1)
    stored = jpeg(photos, qualities, per_picture(halved_chroma, len(qualities)))
    errors = [root_mean_square(difference) for difference in stored - photos]
    assert errors == sorted(errors)
    assert errors[-1] > 4 * errors[0]


def test_each_picture_of_a_batch_has_its_own_quality_and_sampling(photo_tensor):
    photos = torch.cat([photo_tensor, photo_tensor.flip(-1), photo_tensor.flip(-2)])
    qualities = torch.tensor([50.0, 70, 90]).view(3, 1, 1, 1)
    halved = torch.tensor([True, False, True]).view(3, 1, 1, 1)
    alone = [jpeg(photos[i : i + 1], qualities[i : i + 1], halved[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(jpeg(photos, qualities, halved), torch.cat(alone))


@pytest.mark.parametrize("halved_chroma", [False, True])
def test_jpeg_keeps_a_flat_grey_at_every_size(halved_chroma):
    for size in [(1, 1), (7, 9), (16, 16), (17, 33)]:
        grey = torch.full((1, 3, *size), 100 / 255)
        stored = jpeg(grey, per_picture(90.0), per_picture(halved_chroma))
        torch.testing.assert_close(stored, grey, atol=2 / 255, rtol=0)

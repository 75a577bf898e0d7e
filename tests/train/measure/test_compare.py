"""Photos before and after, side by side."""

import numpy as np
import pytest

from denoiser import Photo, open_image, save_image
from train.__main__ import main
from train.measure.compare import compare, middle
from train.measure.evaluate import noisy_version


class Darker:
    """Darkens every pixel by up to 10/255."""

    def denoise(self, pixels, level=None):
        return pixels - np.minimum(pixels, 10)


def photo_of(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def path(tmp_path):
    save_image(Photo(photo_of(24, 40)), tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_noisy_photos_are_shown_beside_the_result_and_what_was_removed():
    photo = photo_of(30, 24)
    noisy, restored, removed = np.split(compare([Darker()], [photo], side=20), 3, axis=1)
    assert np.array_equal(noisy, photo[5:25, 2:22])
    assert np.array_equal(restored, Darker().denoise(noisy))
    assert np.array_equal(removed, 128 + 4 * np.minimum(noisy, 10))


def test_clean_photos_get_noise_and_are_shown_beside_the_result():
    photo = photo_of(30, 24)
    noisy, restored, clean = np.split(compare([Darker()], [photo], level=25), 3, axis=1)
    assert np.array_equal(clean, photo) and np.array_equal(restored, Darker().denoise(noisy))
    assert np.array_equal(noisy, (noisy_version(photo, 25, quantized=True) * 255).round().astype(np.uint8))


def test_each_denoiser_has_a_column():
    photo = photo_of(30, 24)
    twice = compare([Darker(), Darker()], [photo])
    once = compare([Darker()], [photo])
    assert np.array_equal(twice[:, :48], once[:, :48]) and np.array_equal(twice[:, 24:48], twice[:, 48:72])
    assert np.array_equal(twice[:, 72:], once[:, 48:])


@pytest.mark.parametrize(("side", "shape"), [(None, (60, 90, 3)), (20, (40, 60, 3)), (50, (100, 150, 3))])
def test_each_photo_has_a_row_and_small_ones_are_padded_with_black(side, shape):
    picture = compare([Darker()], [photo_of(30, 24), photo_of(18, 30)], side=side)
    assert picture.shape == shape
    if side != 20:
        assert not picture[-1].any()


def test_the_middle_is_the_middle():
    photo = np.arange(11)[:, None, None] * np.ones((1, 7, 3), int)
    assert middle(photo, 5)[:, 0, 0].tolist() == [3, 4, 5, 6, 7]
    assert middle(photo, 20) is not None and middle(photo, 20).shape == photo.shape
    assert middle(photo, None) is photo


def test_the_command_writes_the_picture(path, tmp_path, capsys):
    output = tmp_path / "compared.png"
    assert main(["compare", str(path), str(path), "--side", "16", "-o", str(output)]) == 0
    assert open_image(output).pixels.shape == (32, 48, 3)
    assert main(["compare", str(path), "--level", "25", "-o", str(output)]) == 0
    assert open_image(output).pixels.shape == (24, 120, 3)


@pytest.mark.parametrize("wrong", [["--side", "0"], ["--level", "-5"], ["--level", "nan"]])
def test_what_cannot_be_compared_is_refused_by_its_flag(path, tmp_path, wrong, capsys):
    assert main(["compare", str(path), *wrong, "-o", str(tmp_path / "compared.png")]) == 1
    assert wrong[0] in capsys.readouterr().err

"""The reference network's noise, on which its accuracy is measured."""

import json

import numpy as np
import pytest

from denoiser import Photo, save_image
from train.__main__ import main
from train.measure.evaluate import EXPONENTIAL_MEAN, exponential_version, measure_exponential
from train.measure.results import markdown_table

GREY = np.full((64, 64, 3), 128, np.uint8)


class Identity:
    def denoise(self, pixels, level=None):
        assert level is None
        return pixels

    def estimate_level(self, pixels):
        return 0.0


def levels(count):
    """Estimate the drawn levels from a central row of the noise, where clipping doesn't matter."""
    drawn = [np.random.default_rng(seed).exponential(EXPONENTIAL_MEAN) for seed in range(count)]
    for seed, level in enumerate(drawn):
        if level < 25:
            noise = exponential_version(GREY, seed) * 255.0 - GREY
            assert noise.std() == pytest.approx(level, rel=0.03)
    return drawn


def test_the_levels_are_exponential_with_the_mean_of_the_reference():
    drawn = levels(400)
    assert np.mean(drawn) == pytest.approx(EXPONENTIAL_MEAN, rel=0.15)
    assert np.median(drawn) == pytest.approx(EXPONENTIAL_MEAN * np.log(2), rel=0.2)


def test_the_noise_is_clipped_and_the_same_every_time():
    for seed in range(20):
        noisy = exponential_version(GREY, seed)
        assert noisy.dtype == np.float32 and noisy.min() >= 0 and noisy.max() <= 1
        assert np.array_equal(noisy, exponential_version(GREY, seed))


def test_each_photo_has_a_level_of_its_own_and_all_make_one_row():
    row = measure_exponential(Identity(), "grey", [GREY, GREY, GREY])
    assert (row.images, row.noise, row.told, row.level) == (3, "exponential", False, None)
    errors = [np.mean((np.rint(exponential_version(GREY, seed) * 255.0) - GREY) ** 2) for seed in range(3)]
    assert row.psnr == pytest.approx(np.mean([10 * np.log10(255**2 / error) for error in errors]), abs=0.01)
    assert "| grey (3) | exponential | – |" in markdown_table([row])


def test_the_command_measures_it_once_and_blindly(tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    save_image(Photo(np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)), folder / "a.png")
    arguments = ["--model", "classic", "--data", str(folder), "--noise", "exponential", "--json", str(tmp_path / "r")]
    assert main(["evaluate", *arguments]) == 0
    (row,) = json.loads((tmp_path / "r").read_text())
    assert row["noise"] == "exponential" and row["level"] is None and 0 < row["argmax_channel_accuracy"] <= 1

"""Measuring pairs of a noisy and a clean photo: how they are found, named and scored."""

import json

import numpy as np
import pytest
from identity_denoiser import Identity
from skimage.metrics import peak_signal_noise_ratio

from denoiser import Denoiser, Photo, save_image
from denoiser.weights import Weights
from train.__main__ import main
from train.config import ConfigError
from train.measure.evaluate import REAL, find_pairs, load_pairs, measure_pairs
from train.measure.results import Result, markdown_table


def evaluate(model, *arguments):
    return main(["evaluate", "--model", str(model), "--device", "cpu", *map(str, arguments)])


def write(path, value, side=24):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((side, side, 3), value, np.uint8)
    save_image(Photo(pixels), path)
    return path


@pytest.mark.parametrize("endings", [("_real", "_mean"), ("_NOISY", "_GT"), ("_noisy", "_gt")])
def test_pairs_are_found_by_the_endings_of_their_names(tmp_path, endings):
    expected = [tuple(write(tmp_path / f"{name}{end}.png", 9) for end in endings) for name in ("a", "sub/b")]
    write(tmp_path / "other.png", 9)
    assert find_pairs(tmp_path) == expected


def test_two_folders_are_paired_by_name(tmp_path):
    noisy, clean = (write(tmp_path / folder / "a.png", value) for folder, value in (("noisy", 9), ("clean", 5)))
    assert find_pairs(noisy.parent, clean.parent) == [(noisy, clean)]
    name, [(first, second)] = load_pairs(noisy.parent, clean.parent)
    assert name == "noisy" and (first == 9).all() and (second == 5).all()


def test_pairs_that_cannot_be_measured_are_named(tmp_path):
    with pytest.raises(ConfigError, match="no pairs in .*_real and .*_mean"):
        find_pairs(tmp_path)
    write(tmp_path / "a_real.png", 9)
    with pytest.raises(ConfigError, match="a_mean.png isn't there"):
        find_pairs(tmp_path)
    write(tmp_path / "a_mean.png", 9, side=25)
    with pytest.raises(ConfigError, match="a_real.png and .*a_mean.png can't be compared"):
        load_pairs(tmp_path)


@pytest.mark.parametrize("told", [[], ["--told"]], ids=["blind", "told"])
def test_pairs_too_small_to_measure_are_refused_by_name(tmp_path, model_folder, told, capsys):
    for ending in ("_real", "_mean"):
        write(tmp_path / "pairs" / f"a{ending}.png", 9, side=11)
    assert evaluate(model_folder, "--pairs", tmp_path / "pairs", *told) == 0
    for ending in ("_real", "_mean"):
        write(tmp_path / "pairs" / f"b{ending}.png", 9, side=10)
    assert evaluate(model_folder, "--pairs", tmp_path / "pairs", *told) == 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "b_real.png is 10×10 pixels" in line and "at least 11" in line


def test_a_pair_is_measured_without_added_noise(photos):
    noisy = [np.clip(photo.astype(int) + 10, 0, 255).astype(np.uint8) for photo in photos]
    denoiser = Identity()
    row = measure_pairs(denoiser, "pairs", list(zip(noisy, photos, strict=True)))
    expected = np.mean([peak_signal_noise_ratio(c, n) for n, c in zip(noisy, photos, strict=True)])
    assert row.psnr == row.noisy_psnr == pytest.approx(expected, abs=1e-3)
    assert (row.images, row.noise, row.level, row.told, row.estimated_level) == (3, REAL, None, False, 12.5)
    assert all(np.array_equal(np.round(given * 255), n) for given, n in zip(denoiser.inputs, noisy, strict=True))
    assert "| pairs (3) | real | – |" in markdown_table([row])
    assert Result.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_with_told_the_network_gets_the_true_noise_map(photos, tiny_model):
    noisy = [photo.copy() for photo in photos]
    for pixels in noisy[1:]:
        pixels[:, :, 0] ^= 1
    denoiser, seen = Denoiser(Weights(tiny_model, "tiny"), "cpu"), []
    tiny_model.register_forward_pre_hook(lambda network, inputs: seen.append(inputs[1]) if len(inputs) > 1 else None)
    row = measure_pairs(denoiser, "pairs", list(zip(noisy, photos, strict=True)), told=True)
    assert row.told and "pairs (3), told the level" in markdown_table([row])
    assert [float(told.mean()) * 255 for told in seen] == pytest.approx([0, 3**-0.5, 3**-0.5], rel=1e-4)

"""Measuring with added noise: the protocol, the scores, and the command."""

import json

import numpy as np
import pytest
from identity_denoiser import Identity
from skimage.color import rgb2yuv
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from toy_training import CLASSIC, TINY

from denoiser import Photo, open_image, save_image, weights
from denoiser.model import DenoisingAutoencoder
from denoiser.weights import save_weights
from train.__main__ import main
from train.measure import evaluate as evaluation
from train.measure.evaluate import measure, noisy_version
from train.measure.results import LEVELS, Result, markdown_table


def reference_noisy(pixels, level, quantized):
    """The noise protocol, written independently, on [0, 255] in float64."""
    rng = np.random.Generator(np.random.PCG64(0))
    noisy = np.asarray(pixels, np.float64) + rng.standard_normal(np.shape(pixels)) * level
    return np.rint(np.minimum(np.maximum(noisy, 0), 255)) if quantized else noisy


def to_8_bit(pixels):
    return np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("level", [0, 15, 25, 50])
def test_the_noise_follows_the_protocol(photos, level, quantized):
    for pixels in photos:
        noisy = noisy_version(pixels, level, quantized)
        assert noisy.shape == pixels.shape and noisy.dtype == np.float32
        np.testing.assert_allclose(noisy * 255.0, reference_noisy(pixels, level, quantized), atol=1e-4)


@pytest.mark.parametrize("level", LEVELS)
def test_the_noisy_psnr_of_a_mid_grey_photo_is_that_of_the_level(level):
    grey = np.full((160, 160, 3), 128, dtype=np.uint8)
    error = np.mean((noisy_version(grey, level, False) * 255.0 - grey) ** 2)
    assert 10 * np.log10(255**2 / error) == pytest.approx(20 * np.log10(255 / level), abs=0.05)


def test_grey_photos_get_grey_noise(photos):
    grey = np.repeat(photos[0][:, :, :1], 3, axis=2)
    noisy = noisy_version(grey, 25, quantized=False)
    assert (noisy == noisy[:, :, :1]).all()
    np.testing.assert_allclose(noisy[:, :, 0] * 255.0, reference_noisy(grey[:, :, 0], 25, False), atol=1e-4)


def test_every_photo_of_a_size_gets_the_same_noise(photos):
    other = 255 - photos[0]
    difference = noisy_version(other, 25, False) - noisy_version(photos[0], 25, False)
    np.testing.assert_allclose(difference, (other - photos[0].astype(float)) / 255, atol=1e-6)


def test_the_unclipped_noise_leaves_the_range_and_the_8_bit_noise_does_not(photos):
    assert noisy_version(photos[0], 50, False).min() < 0 and noisy_version(photos[0], 50, False).max() > 1
    eight_bit = noisy_version(photos[0], 50, True) * 255.0
    np.testing.assert_allclose(eight_bit, np.rint(eight_bit), atol=1e-4)
    assert eight_bit.min() >= 0 and eight_bit.max() <= 255


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("level", LEVELS)
def test_scores_equal_scikit_image_on_the_clipped_and_rounded_output(photos, level, quantized):
    (row,) = measure(Identity(), "noise", photos, [level], quantized=quantized, show_progress=False)
    outputs = [to_8_bit(reference_noisy(pixels, level, quantized)) for pixels in photos]
    psnr = [peak_signal_noise_ratio(*pair) for pair in zip(photos, outputs, strict=True)]
    ssim = [
        structural_similarity(
            *pair, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
        )
        for pair in zip(photos, outputs, strict=True)
    ]
    accuracy = [np.mean(clean.argmax(2) == out.argmax(2)) for clean, out in zip(photos, outputs, strict=True)]
    assert row.psnr == pytest.approx(np.mean(psnr), abs=1e-3)
    assert row.ssim == pytest.approx(np.mean(ssim), abs=1e-3)
    assert row.argmax_channel_accuracy == pytest.approx(np.mean(accuracy), abs=1e-4)


@pytest.mark.parametrize("rows", [1, 7, 10, 11, 23])
def test_scores_in_bands_equal_those_of_the_whole(photos, rows, monkeypatch):
    expected = measure(Identity(), "noise", photos, [25], show_progress=False)
    monkeypatch.setattr(evaluation, "BAND", rows)
    assert measure(Identity(), "noise", photos, [25], show_progress=False) == expected


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("level", LEVELS)
def test_a_denoiser_that_does_nothing_gains_nothing(photos, level, quantized):
    """By the protocol, the noisy photos are clipped and rounded like any output."""
    (row,) = measure(Identity(), "noise", photos, [level], quantized=quantized, show_progress=False)
    assert row.noisy_psnr == pytest.approx(row.psnr, abs=1e-3)


def test_means_are_over_photos_not_pixels():
    small, large = (np.full((side, side, 3), (0, 0, 1), dtype=np.uint8) for side in (12, 60))
    each = [measure(Identity(), "one", [pixels], [25], show_progress=False)[0].psnr for pixels in (small, large)]
    (both,) = measure(Identity(), "two", [small, large], [25], show_progress=False)
    assert both.images == 2 and both.psnr == pytest.approx(np.mean(each))


def test_there_is_a_result_for_each_level_in_order(photos):
    results = measure(Identity(), "set", photos, [50, 15], quantized=True, show_progress=False)
    assert [(row.dataset, row.images, row.noise, row.told, row.level) for row in results] == [
        ("set", 3, "8-bit", False, 50.0),
        ("set", 3, "8-bit", False, 15.0),
    ]
    assert all(row.estimated_level == 12.5 for row in results)


@pytest.mark.parametrize(("told", "expected"), [(False, [None] * 6), (True, [15, 15, 15, 25, 25, 25])])
def test_the_denoiser_gets_the_level_only_if_told(photos, told, expected):
    denoiser = Identity()
    results = measure(denoiser, "set", photos, [15, 25], told=told, show_progress=False)
    assert denoiser.levels == expected and all(row.told == told for row in results)
    np.testing.assert_array_equal(denoiser.inputs[0], noisy_version(photos[0], 15, False))


@pytest.fixture
def bundled(model_folder, tmp_path, monkeypatch):
    """Bundled models in another place: the model folder, under the name of the default."""
    (tmp_path / "bundled").mkdir()
    model_folder.rename(tmp_path / "bundled" / weights.DEFAULT)
    monkeypatch.setattr(weights, "BUNDLED", tmp_path / "bundled")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "bundled" / weights.DEFAULT


def evaluate(model, *arguments):
    return main(["evaluate", "--model", str(model), "--device", "cpu", *map(str, arguments)])


def test_the_command_prints_the_table_and_writes_the_json(folder, model_folder, tmp_path, capsys):
    output = tmp_path / "results.json"
    assert evaluate(model_folder, "--data", folder, "--levels", 25, "--told", "--json", output) == 0
    rows = json.loads(output.read_text())
    assert {(row["noise"], row["told"]) for row in rows} == {
        (noise, told) for noise in ("unclipped", "8-bit") for told in (False, True)
    }
    assert all(row["dataset"] == "clean" and row["images"] == 3 and row["level"] == 25 for row in rows)
    assert capsys.readouterr().out.strip() == markdown_table([Result(**row) for row in rows])


def test_results_are_saved_even_if_the_json_cannot_be_written(folder, model_folder, tmp_path, monkeypatch, capsys):
    """The set is named after its folder, however that is given."""
    monkeypatch.chdir(folder)
    quick, missing = ("--levels", 25, "--noise", "8-bit", "--save"), tmp_path / "gone" / "results.json"
    assert evaluate(model_folder, "--data", ".", *quick, "--json", missing) == 1
    assert f"error: {missing} can't be written: No such file" in capsys.readouterr().err
    assert [row["dataset"] for row in json.loads((model_folder / "results.json").read_text())] == ["clean"]


def test_two_sets_of_one_name_are_refused_before_anything_is_measured(tmp_path, capsys):
    for flag in ("--data", "--pairs"):
        folders = [tmp_path / first / "photos" for first in ("c1", "c2")]
        given = folders if flag == "--data" else [folders[0], flag, folders[1]]
        assert evaluate("nowhere", flag, *given) == 1
        assert "two sets are called 'photos'" in capsys.readouterr().err


def test_in_grey_all_channels_of_photos_and_noise_are_the_same(folder, model_folder, tmp_path, monkeypatch):
    """Grey is what scikit-image calls grey, with the luma weights of Rec. 601."""
    measured = []

    def measure_seen(denoiser, name, photos, *arguments):
        measured.extend(photos)
        return measure(denoiser, name, photos, *arguments)

    monkeypatch.setattr("train.__main__.measure", measure_seen)
    output = tmp_path / "results.json"
    assert evaluate(model_folder, "--data", folder, "--levels", 25, "--grey", "--json", output) == 0
    assert {row["dataset"] for row in json.loads(output.read_text())} == {"clean-grey"}
    for grey, path in zip(measured, 2 * sorted(folder.iterdir()), strict=True):
        assert (grey == grey[..., :1]).all()
        expected = 255 * rgb2yuv(open_image(path).pixels)[..., 0]
        assert np.abs(grey[..., 0] - expected).max() <= 0.51
        noisy = noisy_version(grey, 25, quantized=False)
        assert (noisy == noisy[..., :1]).all()


@pytest.mark.parametrize("named", [[], ["--model", weights.DEFAULT]], ids=["by default", "by name"])
def test_results_of_a_bundled_model_are_saved_beside_it(folder, bundled, named):
    assert main(["evaluate", *named, "--device", "cpu", "--data", str(folder), "--levels", "25", "--save"]) == 0
    rows = json.loads((bundled / "results.json").read_text())
    assert {row["dataset"] for row in rows} == {"clean"} and "| clean (3) |" in (bundled / "README.md").read_text()


def test_results_are_not_saved_if_the_weights_were_replaced_meanwhile(folder, model_folder, monkeypatch, capsys):
    """As if a run found better weights during the measurement."""

    def measure_slowly(*arguments):
        save_weights(DenoisingAutoencoder(TINY), model_folder)
        return measure(*arguments)

    monkeypatch.setattr("train.__main__.measure", measure_slowly)
    assert evaluate(model_folder, "--data", folder, "--levels", 25, "--noise", "8-bit", "--save") == 1
    assert "were replaced while" in capsys.readouterr().err and not (model_folder / "results.json").exists()


def test_a_blind_network_is_not_told_the_level(folder, tmp_path, capsys):
    save_weights(DenoisingAutoencoder(CLASSIC), tmp_path / "classic")
    assert evaluate(tmp_path / "classic", "--data", folder, "--told") == 1
    assert "blind only" in capsys.readouterr().err


def test_a_missing_folder_is_refused(model_folder, tmp_path, capsys):
    assert evaluate(model_folder, "--data", tmp_path / "nowhere") == 1
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_a_folder_without_photos_is_refused(model_folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert evaluate(model_folder, "--data", tmp_path / "empty") == 1
    assert "empty" in capsys.readouterr().err


def test_photos_too_small_to_measure_are_left_out_or_refused(folder, model_folder, capsys):
    save_image(Photo(np.zeros((10, 30, 3), dtype=np.uint8)), folder / "strip.png")
    assert evaluate(model_folder, "--data", folder, "--levels", 25, "--noise", "unclipped") == 0
    printed = capsys.readouterr()
    assert "pixels" in printed.err and "| clean (3) |" in printed.out


@pytest.mark.parametrize("level", [-5, "nan"])
def test_a_level_out_of_range_is_refused(folder, model_folder, level, capsys):
    try:
        failed = evaluate(model_folder, "--data", folder, f"--levels={level}") != 0
    except SystemExit as stopped:
        failed = stopped.code != 0
    assert failed and "level" in capsys.readouterr().err


def test_evaluate_needs_photos_or_pairs(tmp_path, capsys):
    assert main(["evaluate"]) == 1
    assert "--data" in capsys.readouterr().err
    assert main(["evaluate", "--pairs", "a", "b", "c"]) == 1
    assert "one folder or two" in capsys.readouterr().err
    assert main(["evaluate", "--pairs", "a", "--grey"]) == 1
    assert "--grey is for --data" in capsys.readouterr().err

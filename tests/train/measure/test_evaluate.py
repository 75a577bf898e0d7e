"""Measuring: the protocol's noise against an independent implementation, the scores against scikit-image."""

import json

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from denoiser import Denoiser, Photo, save_image, weights
from denoiser.model import DenoisingAutoencoder, ModelConfig
from denoiser.weights import Weights, save_weights
from train.__main__ import main
from train.config import ConfigError
from train.measure.evaluate import REAL, find_pairs, load_pairs, measure, measure_pairs, noisy_version
from train.measure.network_size import network_size
from train.measure.results import LEVELS, Result, markdown_table

RESIDUAL = ModelConfig(widths=(8, 12), encoder_blocks=(1, 1), decoder_blocks=(1,))
CLASSIC = ModelConfig("classic", (4, 4, 6, 6, 8, 10), (), (), normalization="batch", dropout=0.2, negative_slope=0.3)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Identity:
    """A denoiser that changes nothing, and remembers what it was given."""

    def __init__(self):
        self.levels, self.inputs = [], []

    def denoise(self, pixels, level=None):
        self.levels.append(level)
        self.inputs.append(pixels)
        return np.clip(pixels, 0, 1) if pixels.dtype == np.float32 else pixels

    def estimate_level(self, pixels):
        return 12.5


class Perfect(Identity):
    """A denoiser that knows the answer."""

    def __init__(self, clean):
        super().__init__()
        self.clean = clean

    def denoise(self, pixels, level=None):
        return (self.clean / 255).astype(np.float32)


def reference_noisy(pixels, level, quantized):
    """The protocol of the data's README, word by word, on [0, 255] in float64."""
    rng = np.random.Generator(np.random.PCG64(0))
    noisy = np.asarray(pixels, np.float64) + rng.standard_normal(np.shape(pixels)) * level
    return np.rint(np.minimum(np.maximum(noisy, 0), 255)) if quantized else noisy


def to_8_bit(pixels):
    return np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)


@pytest.fixture(scope="module")
def photos():
    """Three small photos of differing sizes that reach both ends of the range."""
    rng = np.random.default_rng(1)
    return [
        rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in ((24, 40), (33, 17), (20, 20))
    ]


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("level", [0, 15, 25, 50])
def test_the_noise_is_that_of_the_protocol(photos, level, quantized):
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
def test_the_scores_are_scikit_images_of_the_clipped_and_rounded_output(photos, level, quantized):
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


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("level", LEVELS)
def test_a_denoiser_that_does_nothing_gains_nothing(photos, level, quantized):
    """The noisy CBSD68 is at 24.82 / 20.52 / 14.99 dB by the protocol: clipped and rounded like any output."""
    (row,) = measure(Identity(), "noise", photos, [level], quantized=quantized, show_progress=False)
    assert row.noisy_psnr == pytest.approx(row.psnr, abs=1e-3)


def test_the_means_are_over_photos_and_not_over_pixels():
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
def test_the_denoiser_hears_the_level_only_where_it_is_told(photos, told, expected):
    denoiser = Identity()
    results = measure(denoiser, "set", photos, [15, 25], told=told, show_progress=False)
    assert denoiser.levels == expected and all(row.told == told for row in results)
    np.testing.assert_array_equal(denoiser.inputs[0], noisy_version(photos[0], 15, False))


def test_a_perfect_result_is_written_as_json_that_any_reader_takes(photos):
    (row,) = measure(Perfect(photos[0]), "set", photos[:1], [25], show_progress=False)
    assert row.ssim == pytest.approx(1) and row.argmax_channel_accuracy == 1 and row.psnr > 100
    json.loads(json.dumps(row.to_json()), parse_constant=pytest.fail)


RESULTS = [
    Result("cbsd68", 68, "unclipped", False, 25.0, 20.17, 30.98765, 0.87654, 0.9321, 24.06),
    Result("cbsd68", 68, "8-bit", True, 12.5, 24.61, 33.5, 0.9, 0.95, 14.96),
]


def test_the_table_parses_back():
    header, rule, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in _lines(RESULTS))
    assert header[:5] == ["photos", "noise", "level", "noisy PSNR", "PSNR"] and set(rule) == {"---"}
    assert len(rows) == len(RESULTS) and {len(row) for row in (header, rule, *rows)} == {8}
    for cells, result in zip(rows, RESULTS, strict=True):
        assert cells[0].startswith("cbsd68 (68)") and ("told the level" in cells[0]) == result.told
        assert cells[1] == result.noise
        values = (result.level, result.noisy_psnr, result.psnr, result.ssim, result.argmax_channel_accuracy)
        tolerances = (0, 0.005, 0.005, 5e-5, 5e-4, 0.05)
        for cell, value, tolerance in zip(cells[2:], (*values, result.estimated_level), tolerances, strict=True):
            assert float(cell) == pytest.approx(value, abs=tolerance + 1e-9)


def _lines(results):
    return markdown_table(results).splitlines()


def test_what_is_printed_is_what_the_card_shows_from_the_kept_results(photos):
    results = measure(Identity(), "set", photos, [15, 25], show_progress=False)
    kept = [Result.from_json(row) for row in json.loads(json.dumps([row.to_json() for row in results]))]
    assert kept == results and markdown_table(kept) == markdown_table(results)


@pytest.mark.parametrize("config", [RESIDUAL, CLASSIC], ids=["residual", "classic"])
def test_the_size_of_a_network_is_counted_without_changing_it(config):
    model = DenoisingAutoencoder(config).train()
    statistics = {name: value.clone() for name, value in model.named_buffers()}
    parameters, gmac = network_size(model)
    assert parameters == sum(value.numel() for value in model.parameters())
    assert 0 < gmac < 1
    assert model.training and all((value == statistics[name]).all() for name, value in model.named_buffers())


def test_the_multiplications_of_a_convolution_are_counted_by_hand():
    conv = torch.nn.Conv2d(3, 8, kernel_size=3, padding=1)
    assert network_size(conv) == (3 * 8 * 9 + 8, pytest.approx(256 * 256 * 3 * 8 * 9 / 1e9))


@pytest.fixture
def folder(tmp_path, photos):
    for index, pixels in enumerate(photos):
        path = tmp_path / "clean" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        save_image(Photo(pixels), path)
    return tmp_path / "clean"


@pytest.fixture
def model_folder(tmp_path):
    save_weights(DenoisingAutoencoder(RESIDUAL), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def bundled(model_folder, tmp_path, monkeypatch):
    """Bundled models of which one, by the name of the default, is the model folder; somewhere else."""
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


@pytest.mark.parametrize("named", [[], ["--model", weights.DEFAULT]], ids=["by default", "by name"])
def test_a_bundled_model_is_measured_and_its_results_are_kept_beside_it(folder, bundled, named):
    assert main(["evaluate", *named, "--device", "cpu", "--data", str(folder), "--levels", "25", "--save"]) == 0
    rows = json.loads((bundled / "results.json").read_text())
    assert {row["dataset"] for row in rows} == {"clean"} and "| clean (3) |" in (bundled / "README.md").read_text()


def test_results_of_weights_that_were_replaced_meanwhile_are_not_kept(folder, model_folder, monkeypatch, capsys):
    """As by a run that finds better ones while those of before are measured."""

    def measure_slowly(*arguments):
        save_weights(DenoisingAutoencoder(RESIDUAL), model_folder)
        return measure(*arguments)

    monkeypatch.setattr("train.__main__.measure", measure_slowly)
    assert evaluate(model_folder, "--data", folder, "--levels", 25, "--noise", "8-bit", "--save") == 1
    assert "were replaced while" in capsys.readouterr().err and not (model_folder / "results.json").exists()


def test_a_blind_network_is_not_told_the_level(folder, tmp_path, capsys):
    save_weights(DenoisingAutoencoder(CLASSIC), tmp_path / "classic")
    assert evaluate(tmp_path / "classic", "--data", folder, "--told") == 1
    assert "blind only" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_refused(model_folder, tmp_path, capsys):
    assert evaluate(model_folder, "--data", tmp_path / "nowhere") == 1
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_a_folder_without_photos_is_refused_in_plain_words(model_folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert evaluate(model_folder, "--data", tmp_path / "empty") == 1
    assert "empty" in capsys.readouterr().err


def test_photos_too_small_to_measure_are_left_out_or_refused_in_plain_words(folder, model_folder, capsys):
    save_image(Photo(np.zeros((10, 30, 3), dtype=np.uint8)), folder / "strip.png")
    evaluate(model_folder, "--data", folder, "--levels", 25, "--noise", "unclipped")
    assert "pixels" in capsys.readouterr().err


@pytest.mark.parametrize("level", [-5, "nan"])
def test_a_level_that_no_noise_has_is_refused(folder, model_folder, level, capsys):
    try:
        failed = evaluate(model_folder, "--data", folder, f"--levels={level}") != 0
    except SystemExit as stopped:
        failed = stopped.code != 0
    assert failed and "level" in capsys.readouterr().err


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
    [(first, second)] = load_pairs(noisy.parent, clean.parent)
    assert (first == 9).all() and (second == 5).all()


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


def test_a_pair_is_measured_as_it_is(photos):
    noisy = [np.clip(photo.astype(int) + 10, 0, 255).astype(np.uint8) for photo in photos]
    denoiser = Identity()
    row = measure_pairs(denoiser, "pairs", list(zip(noisy, photos, strict=True)))
    expected = np.mean([peak_signal_noise_ratio(c, n) for n, c in zip(noisy, photos, strict=True)])
    assert row.psnr == row.noisy_psnr == pytest.approx(expected, abs=1e-3)
    assert (row.images, row.noise, row.level, row.told, row.estimated_level) == (3, REAL, None, False, 12.5)
    assert all(np.array_equal(np.round(given * 255), n) for given, n in zip(denoiser.inputs, noisy, strict=True))
    assert "| pairs (3) | real | – |" in markdown_table([row])
    assert Result.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_told_a_pair_the_network_gets_the_true_noise_map(photos, tiny_model):
    noisy = [photo.copy() for photo in photos]
    for pixels in noisy[1:]:
        pixels[:, :, 0] ^= 1
    denoiser, seen = Denoiser(Weights(tiny_model, "tiny"), "cpu"), []
    tiny_model.register_forward_pre_hook(lambda network, inputs: seen.append(inputs[1]) if len(inputs) > 1 else None)
    row = measure_pairs(denoiser, "pairs", list(zip(noisy, photos, strict=True)), told=True)
    assert row.told and "pairs (3), told the level" in markdown_table([row])
    assert [float(told.mean()) * 255 for told in seen] == pytest.approx([0, 3**-0.5, 3**-0.5], rel=1e-4)


def test_there_must_be_something_to_measure_on(tmp_path, capsys):
    assert main(["evaluate"]) == 1
    assert "--data" in capsys.readouterr().err
    assert main(["evaluate", "--pairs", "a", "b", "c"]) == 1
    assert "one folder or two" in capsys.readouterr().err

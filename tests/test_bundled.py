"""The weights that come with the checkout do what the page promises."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gradio import media

import denoiser
from denoiser.tiling import OVERLAP, tiled
from denoiser.weights import BUNDLED, PLAIN_GIT_BYTES

FOLDERS = sorted((Path(__file__).parent.parent / "weights").iterdir())


@pytest.fixture(scope="module")
def model():
    return denoiser.load()


@pytest.fixture(scope="module")
def photo():
    return denoiser.open_image(media.get_image("tower.jpg"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_plain_git_carries_them_to_a_space(folder):
    assert (folder / "model.safetensors").stat().st_size < PLAIN_GIT_BYTES
    assert {"config.json", "README.md", "results.json"} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(("level", "gain"), [(15, 2), (25, 5), (50, 8)])
def test_they_clean_a_photo(model, photo, level, gain):
    noisy = denoiser.add_noise(photo, level)
    restored = model(noisy)
    assert denoiser.compare(restored, photo)["psnr"] > denoiser.compare(noisy, photo)["psnr"] + gain


@pytest.mark.parametrize("level", [10, 25, 50])
def test_the_estimate_is_near_the_truth(model, photo, level):
    assert model.estimate_level(denoiser.add_noise(photo, level).pixels) == pytest.approx(level, rel=0.15)


def test_a_higher_level_removes_more_without_a_jump(model, photo):
    noisy = denoiser.add_noise(photo, 25).pixels.astype(float)
    removed = [
        np.sqrt(np.mean((model.denoise(noisy.astype(np.uint8), level) - noisy) ** 2)) for level in range(0, 50, 7)
    ]
    steps = np.diff(removed)
    assert removed[0] == 0 and (steps > 0).all() and steps.max() < 9


@pytest.mark.parametrize("name", ["base", "photo"])
def test_tiles_are_not_seen(photo, name):
    """With the shipped weights, a photo in many small tiles equals the whole to within 1/255 everywhere."""
    pixels = denoiser.add_noise(photo, 50).pixels
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    network = denoiser.load(BUNDLED.with_name(name)).weights.model
    with torch.inference_mode():
        whole = network(tensor).clamp(0, 1)
        parts = tiled(lambda tile: network(tile).clamp(0, 1), tensor, tile=128, overlap=OVERLAP)
    assert (parts - whole).abs().max() < 1 / 255

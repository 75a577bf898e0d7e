"""Shared by the tests of measuring: photos, a folder of them, and a model folder."""

import numpy as np
import pytest
from toy_training import TINY

from denoiser import Photo, save_image
from denoiser.model import DenoisingAutoencoder
from denoiser.weights import save_weights


@pytest.fixture(scope="module")
def photos():
    """Three small photos of differing sizes that reach both ends of the range."""
    rng = np.random.default_rng(1)
    return [
        rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in ((24, 40), (33, 17), (20, 20))
    ]


@pytest.fixture
def folder(tmp_path, photos):
    for index, pixels in enumerate(photos):
        path = tmp_path / "clean" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        save_image(Photo(pixels), path)
    return tmp_path / "clean"


@pytest.fixture
def model_folder(tmp_path):
    save_weights(DenoisingAutoencoder(TINY), tmp_path / "model")
    return tmp_path / "model"

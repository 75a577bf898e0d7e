"""Shared by the tests of the library: denoisers, photo files, and what the command prints."""

import numpy as np
import pytest

from denoiser import Denoiser, Photo, open_image, save_image
from denoiser.weights import Weights


@pytest.fixture
def photo(tmp_path):
    """A small noisy photo, as a file."""
    path = tmp_path / "photo.png"
    save_image(Photo(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)), path)
    return path


@pytest.fixture
def printed_lines(capsys):
    """Returns the lines on stderr since the last call, and fails if any is a traceback or could move the cursor."""

    def lines():
        found = capsys.readouterr().err.splitlines()
        assert all(line.isprintable() and "Traceback" not in line for line in found), found
        return found

    return lines


@pytest.fixture
def opened(tmp_path):
    """Opens the bytes as a file."""

    def read(data, function=open_image):
        (tmp_path / "x").write_bytes(data)
        return function(tmp_path / "x")

    return read


@pytest.fixture
def float32_on_any_machine(monkeypatch):
    """Random weights magnify the rounding of bfloat16, which is tested with the bundled ones."""
    monkeypatch.setattr("denoiser.inference.has_fast_bfloat16", lambda device: False)


@pytest.fixture
def model(tiny_model):
    return Denoiser(Weights(tiny_model, "tiny"))


@pytest.fixture
def classic(tiny_classic):
    return Denoiser(Weights(tiny_classic, "tiny-classic"))

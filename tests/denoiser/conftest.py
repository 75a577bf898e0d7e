"""Shared by the tests of the library: photo files, and what the command prints."""

import numpy as np
import pytest

from denoiser import Photo, open_image, save_image


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

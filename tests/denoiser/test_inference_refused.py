"""Arrays and levels that can't be used are refused in a sentence, and all numbers are levels."""

import numpy as np
import pytest
import torch
from stub_network import Stub, wrap

from denoiser import (
    DenoiserError,
    ImageError,
    Photo,
    WeightsError,
    add_noise,
    load,
)
from denoiser.inference import MAX_FLOAT, MAX_LEVEL, pick_device

pytestmark = pytest.mark.usefixtures("float32_on_any_machine")


# What is refused

GOOD = np.zeros((8, 8, 3), np.uint8)
BAD_ARRAYS = {
    "list": [[0, 1], [2, 3]],
    "tensor": torch.zeros(8, 8, 3),
    "none": None,
    "path": "photo.jpg",
    "bool": GOOD.astype(bool),
    "int64": GOOD.astype(np.int64),
    "float64": GOOD.astype(np.float64),
    "float16": GOOD.astype(np.float16),
    "complex": GOOD.astype(np.complex64),
    "object": GOOD.astype(object),
    "no dimension": np.array(1, np.uint8),
    "one dimension": GOOD[0, :, 0],
    "batch": GOOD[None],
    "two channels": GOOD[..., :2],
    "four channels": np.zeros((8, 8, 4), np.uint8),
    "channels first": np.zeros((3, 8, 8), np.uint8),
    "no rows": GOOD[:0],
    "no columns": GOOD[:, :0],
    "no channels": GOOD[..., :0],
    "NaN": np.where(np.eye(8), np.nan, 0).astype(np.float32),
    "infinite": np.where(np.eye(8), np.inf, 0).astype(np.float32),
    "minus infinite": np.where(np.eye(8), -np.inf, 0).astype(np.float32),
    "0 to 255 as floats": np.full((8, 8, 3), 255, np.float32),
    "far below 0": np.full((8, 8, 3), -2 * MAX_FLOAT, np.float32),
}
BAD_LEVELS = [
    -1,
    -1e-9,
    101,
    MAX_LEVEL + 1e-6,
    10**400,
    np.nan,
    np.inf,
    -np.inf,
    "25",
    "auto",
    True,
    False,
    [25],
    (25,),
]
BAD_LEVELS += [
    np.True_,
    np.array(25.0),
    np.array([25]),
    torch.tensor(25.0),
    25j,
    np.complex64(25),
    b"25",
    {},
    np.float32("nan"),
]


@pytest.mark.parametrize("use", ["denoise", "estimate_level"])
def test_other_arrays_are_refused(model, use, subtests):
    for name, pixels in BAD_ARRAYS.items():
        with subtests.test(array=name), pytest.raises(ImageError, match="Pixels|pixels"):
            getattr(model, use)(pixels)


def test_level_zero_refuses_the_same_arrays(model, subtests):
    for name, pixels in BAD_ARRAYS.items():
        with subtests.test(array=name), pytest.raises(ImageError):
            model.denoise(pixels, 0)


def test_other_levels_are_refused(model, subtests):
    for level in BAD_LEVELS:
        with subtests.test(level=repr(level)):
            with pytest.raises(ImageError, match="noise level"):
                model.denoise(GOOD, level)
            with pytest.raises(ImageError, match="noise level"):
                add_noise(Photo(GOOD), level)


def test_levels_may_be_numbers_of_any_type(subtests):
    for level in (0, 0.0, -0.0, 1e-9, 25, np.int64(25), np.uint8(25), np.float32(25), np.float16(25), 100):
        with subtests.test(level=repr(level)):
            stub = Stub(sigma=0.0)
            wrap(stub).denoise(GOOD, level)
            if level:
                assert (stub.given[0][1] * 255).numpy() == pytest.approx(float(level), rel=1e-3)


@pytest.mark.parametrize("level", [0, 25])
def test_a_classic_network_refuses_a_level(classic, level):
    with pytest.raises(
        ImageError, match="tiny-classic is blind only and takes no noise level. Leave the level on auto"
    ):
        classic.denoise(GOOD, level)


def test_load_refuses_a_folder_that_is_not_a_model(tmp_path):
    with pytest.raises(WeightsError, match="config.json"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["nonsense", "", "cpu:-1", "cuda:99", "hpu", "meta", None])
def test_a_missing_device_is_refused(name):
    with pytest.raises(DenoiserError, match="no device"):
        pick_device(name)


def test_auto_is_an_existing_device():
    assert torch.ones(2, device=pick_device("auto")).sum().item() == 2


def test_our_errors_share_a_base_class():
    assert issubclass(ImageError, DenoiserError) and issubclass(WeightsError, DenoiserError)

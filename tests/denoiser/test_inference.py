"""The public denoiser: arrays and photos of every kind, at every level."""

from itertools import product

import numpy as np
import pytest
import torch
from stub_network import Stub, as_floats, pixels_of, wrap

import denoiser
from denoiser import (
    Photo,
    add_noise,
    load,
)
from denoiser.inference import ESTIMATE_MARGIN, FULL_SCALE, MAX_LEVEL
from denoiser.weights import save_weights

pytestmark = pytest.mark.usefixtures("float32_on_any_machine")

DTYPES = [np.uint8, np.uint16, np.float32]
SHAPES = [(1, 1), (1, 1, 3), (24, 40), (24, 40, 1), (24, 40, 3), (37, 23, 3)]
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


# Arrays in, arrays out


@every_dtype
def test_shape_and_dtype_stay(model, dtype, subtests):
    for shape, level in product(SHAPES, (None, 0, 25, 100)):
        with subtests.test(shape=shape, level=level):
            pixels = pixels_of(shape, dtype)
            clean = model.denoise(pixels, level)
            assert type(clean) is np.ndarray
            assert (clean.shape, clean.dtype) == (pixels.shape, pixels.dtype)
            assert clean.flags.c_contiguous and clean.flags.writeable


@every_dtype
def test_level_zero_returns_the_input_in_new_memory(model, dtype, subtests):
    for shape in SHAPES:
        with subtests.test(shape=shape):
            pixels = pixels_of(shape, dtype)
            clean = model.denoise(pixels, 0)
            np.testing.assert_array_equal(clean, pixels)
            assert not np.shares_memory(clean, pixels)


@every_dtype
def test_the_result_equals_that_of_the_network(model, tiny_model, dtype):
    pixels = pixels_of((24, 40, 3), dtype)
    tensor = torch.from_numpy(as_floats(pixels).astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = tiny_model(tensor, torch.full((1, 1, 1, 1), 25 / 255)).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    step = 0 if dtype == np.float32 else 0.5 / FULL_SCALE[np.dtype(dtype)]
    np.testing.assert_allclose(as_floats(model.denoise(pixels, 25)), expected, rtol=0, atol=step * 1.01 + 1e-6)


@every_dtype
def test_the_same_picture_at_any_depth_gives_the_same_result(model, dtype):
    pixels = pixels_of((24, 40, 3), np.uint8)
    deeper = {
        np.uint8: pixels,
        np.uint16: pixels.astype(np.uint16) * 257,
        np.float32: np.float32(pixels) / np.float32(255),
    }
    clean, other = as_floats(model.denoise(pixels)), as_floats(model.denoise(deeper[dtype]))
    np.testing.assert_allclose(other, clean, rtol=0, atol=0.51 / 255)


@pytest.mark.parametrize("level", [None, 30])
@pytest.mark.parametrize("shape", [(24, 40), (24, 40, 1), (24, 40, 3)], ids=str)
def test_grey_is_the_mean_of_what_the_network_makes_of_three_equal_channels(model, tiny_model, shape, level):
    grey = pixels_of((24, 40, 1), np.float32) / 2 + np.float32(0.25)
    pixels = np.broadcast_to(grey, shape) if len(shape) == 3 else grey[:, :, 0]
    tensor = torch.from_numpy(grey).permute(2, 0, 1)[None].expand(-1, 3, -1, -1)
    sigma = None if level is None else torch.maximum(tiny_model.estimate_sigma(tensor), torch.tensor(level / 255))
    with torch.no_grad():
        colour = tiny_model(tensor, sigma)
    assert colour.min() > 0 and colour.max() < 1  # so that clipping plays no part
    assert (colour.amax(dim=1) - colour.amin(dim=1)).max() > 0
    expected = colour.mean(dim=1)[0, :, :, None].numpy()
    found = model.denoise(pixels, level)
    assert found.shape == shape
    for channel in np.moveaxis(found.reshape(24, 40, -1), 2, 0):
        np.testing.assert_allclose(channel, expected[:, :, 0], atol=1e-6)


@every_dtype
def test_a_grey_photo_in_a_colour_file_stays_grey(model, dtype):
    pixels = np.repeat(pixels_of((24, 40, 1), dtype), 3, axis=2)
    clean = model.denoise(pixels)
    assert np.ptp(clean, axis=2).max() == 0 and clean.shape == pixels.shape
    clean[0, 0] = 0, 1, 0
    assert clean[0, 0].tolist() == [0, 1, 0]


@every_dtype
def test_black_and_white_stay_in_range(dtype):
    for removed in (0.5, -0.5):
        clean = wrap(Stub(removed=removed)).denoise(pixels_of((8, 8, 3), dtype))
        assert as_floats(clean).min() >= 0 and as_floats(clean).max() <= 1
    extremes = np.array([[0, FULL_SCALE[np.dtype(dtype)]]], dtype)
    np.testing.assert_array_equal(wrap(Stub()).denoise(extremes), extremes)


@pytest.mark.parametrize("level", [None, 0, 25])
def test_floats_beyond_the_range_are_accepted_and_results_are_inside(model, level):
    pixels = np.random.default_rng(0).normal(0.5, 0.5, (24, 40, 3)).astype(np.float32)
    assert pixels.min() < 0 and pixels.max() > 1
    clean = model.denoise(pixels, level)
    assert clean.min() >= 0 and clean.max() <= 1


def test_floats_beyond_the_range_reach_the_network_unclipped():
    stub = Stub()
    wrap(stub).denoise(np.array([[-0.5, 1.5]], np.float32))
    assert stub.given[0][0][0, 0].tolist() == [[-0.5, 1.5]]


def test_a_16_bit_ramp_is_not_posterised(model):
    ramp = np.linspace(20_000, 22_000, 64 * 64).astype(np.uint16).reshape(64, 64)
    clean = model.denoise(ramp, 0.01)
    assert len(np.unique(clean)) > 1000  # an 8-bit ramp would have nine
    assert np.abs(clean.astype(int) - ramp).max() < 50


# Memory of the caller

VIEWS = {
    "mirrored": lambda pixels: pixels[:, ::-1],
    "upside down": lambda pixels: pixels[::-1],
    "BGR to RGB": lambda pixels: pixels[..., ::-1],
    "every other": lambda pixels: pixels[::2, ::2],
    "transposed": lambda pixels: pixels.swapaxes(0, 1),
    "planar": lambda pixels: np.ascontiguousarray(pixels.transpose(2, 0, 1)).transpose(1, 2, 0),
    "Fortran order": np.asfortranarray,
    "one row repeated": lambda pixels: np.broadcast_to(pixels[:1], pixels.shape),
}


@every_dtype
def test_a_view_gives_the_same_as_its_copy(model, dtype, subtests):
    for (name, view), level in product(VIEWS.items(), (None, 0)):
        with subtests.test(view=name, level=level):
            pixels = view(pixels_of((24, 40, 3), dtype))
            np.testing.assert_array_equal(model.denoise(pixels, level), model.denoise(pixels.copy(order="C"), level))


@every_dtype
def test_the_input_is_never_written_to(model, dtype, subtests):
    for shape, level in product(SHAPES, (None, 0, 50)):
        with subtests.test(shape=shape, level=level):
            pixels = pixels_of(shape, dtype)
            before = pixels.copy()
            model.denoise(pixels, level)[...] = 0
            model.estimate_level(pixels)
            np.testing.assert_array_equal(pixels, before)


@pytest.fixture
def repeated_warnings():
    torch.set_warn_always(True)  # PyTorch's are given once a process otherwise
    yield
    torch.set_warn_always(False)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("use", ["denoise", "estimate_level"])
def test_a_read_only_array_works_without_a_warning(model, use, repeated_warnings):
    pixels = pixels_of((24, 40, 3), np.uint8)  # like np.asarray(a Pillow image)
    expected = getattr(model, use)(pixels)
    pixels.flags.writeable = False
    np.testing.assert_array_equal(getattr(model, use)(pixels), expected)


def test_random_state_is_left_alone(model, untouched_global_generators):
    model.denoise(pixels_of((24, 40, 3), np.uint8))


GOOD = np.zeros((8, 8, 3), np.uint8)


def test_below_the_estimate_the_network_is_told_the_estimate_and_a_share_is_removed():
    stub = Stub(sigma=50 / 255, removed=0.1)
    floats = np.full((8, 8, 3), 0.5, np.float32)
    removed = floats - wrap(stub).denoise(floats, 10)
    assert (stub.given[0][1] * 255).numpy() == pytest.approx(50)
    assert removed == pytest.approx(0.1 * 10 / 50 * ESTIMATE_MARGIN, rel=1e-3)


def test_without_a_level_the_network_estimates_it():
    stub = Stub()
    wrap(stub).denoise(GOOD)
    assert stub.given[0][1] is None


def test_a_classic_network_denoises_blind(classic):
    assert not classic.steerable
    assert classic.denoise(pixels_of((24, 40, 3), np.uint8)).shape == (24, 40, 3)


# Photos


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(24, 40), (24, 40, 3)], ids=str)
@pytest.mark.parametrize("change", ["denoise", "add_noise"])
def test_a_photo_keeps_all_but_its_pixels(model, change, shape, dtype):
    alpha = pixels_of((24, 40), dtype, seed=1)
    photo = Photo(pixels_of(shape, dtype), alpha, b"profile", b"exif")
    changed = model(photo, 25) if change == "denoise" else add_noise(photo, 25)
    assert not np.array_equal(changed.pixels, photo.pixels)
    for name in ("alpha", "icc_profile", "exif", "bit_depth"):
        np.testing.assert_array_equal(getattr(changed, name), getattr(photo, name))
    np.testing.assert_array_equal(photo.pixels, pixels_of(shape, dtype))


@pytest.mark.parametrize("level", [None, 0, 25])
def test_a_photo_gives_the_same_as_its_pixels(model, level):
    pixels = pixels_of((24, 40, 3), np.uint8)
    np.testing.assert_array_equal(model(Photo(pixels), level).pixels, model.denoise(pixels, level))


# The estimate


def test_the_estimate_is_on_the_255_scale(subtests):
    for shape, dtype in product(SHAPES, DTYPES):
        with subtests.test(shape=shape, dtype=dtype.__name__):
            level = wrap(Stub(sigma=0.1)).estimate_level(pixels_of(shape, dtype))
            assert type(level) is float
            assert level == pytest.approx(25.5)


def test_the_estimate_is_the_mean_of_the_map(model, tiny_model, photo_pixels, photo_tensor):
    with torch.no_grad():
        expected = 255 * tiny_model.estimate_sigma(photo_tensor).mean().item()
    assert model.estimate_level(photo_pixels.copy()) == pytest.approx(expected, rel=1e-5)


def test_the_estimate_of_a_blind_network_is_the_rms_of_what_it_removes():
    removed = torch.tensor([0.1, 0.0, -0.2]).view(1, 3, 1, 1)
    level = wrap(Stub(removed=removed, steerable=False)).estimate_level(pixels_of((24, 40, 3), np.float32))
    assert level == pytest.approx(255 * ((0.1**2 + 0.2**2) / 3) ** 0.5, rel=1e-5)


def test_an_estimate_can_be_given_as_a_level():
    level = wrap(Stub(sigma=0.5)).estimate_level(GOOD)
    assert level == MAX_LEVEL and wrap(Stub(sigma=0.5)).denoise(GOOD, level).shape == GOOD.shape


# Loading


def test_load_returns_what_was_saved(tiny_model, tmp_path):
    save_weights(tiny_model, tmp_path / "mine", training={"steps": 3})
    model = load(tmp_path / "mine", device="cpu")
    assert model.steerable
    assert (model.weights.source, model.weights.training, model.device.type) == ("mine", {"steps": 3}, "cpu")
    assert model.denoise(pixels_of((24, 40, 3), np.uint8)).shape == (24, 40, 3)


def test_every_public_name_exists_and_is_documented():
    assert [name for name in denoiser.__all__ if not getattr(denoiser, name).__doc__] == []

"""The denoiser people call: every kind of picture in and out, level by level, and a plain word for what can't be."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest
import torch
from memory import peak_of
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn

import denoiser
from denoiser import (
    Denoiser,
    DenoiserError,
    ImageError,
    Photo,
    WeightsError,
    add_noise,
    blend,
    compare,
    inference,
    load,
    metrics,
    noise,
    residual,
)
from denoiser.inference import ESTIMATE_MARGIN, FULL_SCALE, MAX_FLOAT, MAX_LEVEL, pick_device
from denoiser.weights import Weights, save_weights

DTYPES = [np.uint8, np.uint16, np.float32]
SHAPES = [(1, 1), (1, 1, 3), (24, 40), (24, 40, 1), (24, 40, 3), (37, 23, 3)]
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


@pytest.fixture(autouse=True)
def float32_on_any_machine(monkeypatch):
    """Random weights magnify what bfloat16 rounds; the bundled ones have a test of their own."""
    monkeypatch.setattr("denoiser.inference.has_fast_bfloat16", lambda device: False)


@pytest.fixture
def model(tiny_model):
    return Denoiser(Weights(tiny_model, "tiny"))


@pytest.fixture
def classic(tiny_classic):
    return Denoiser(Weights(tiny_classic, "tiny-classic"))


class Stub(nn.Module):
    """A network that always says `sigma`, removes `removed`, and keeps what it was given."""

    def __init__(self, sigma=0.1, removed=0.0, steerable=True):
        super().__init__()
        self.sigma, self.removed, self.steerable = sigma, removed, steerable
        self.given = []

    def estimate_sigma(self, noisy):
        return torch.full_like(noisy[:, :1], self.sigma)

    def forward(self, noisy, sigma=None):
        self.given.append((noisy, sigma))
        return noisy - self.removed


def wrap(stub):
    return Denoiser(Weights(stub, "stub"))


def pixels_of(shape, dtype, seed=0):
    drawn = np.random.default_rng(seed).uniform(0.2, 0.8, shape)
    return (drawn * FULL_SCALE[np.dtype(dtype)]).astype(dtype)


def as_floats(pixels):
    return pixels / FULL_SCALE[pixels.dtype]


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
def test_the_result_is_that_of_the_network(model, tiny_model, dtype):
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
def test_a_grey_photo_as_a_colour_file_stays_grey_in_memory_of_its_own(model, dtype):
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
def test_floats_beyond_the_range_are_taken_and_come_back_inside(model, level):
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
def test_a_view_gives_what_its_copy_gives(model, dtype, subtests):
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
    pixels = pixels_of((24, 40, 3), np.uint8)  # such as np.asarray(a Pillow image) is
    expected = getattr(model, use)(pixels)
    pixels.flags.writeable = False
    np.testing.assert_array_equal(getattr(model, use)(pixels), expected)


def test_random_state_is_left_alone(model, untouched_global_generators):
    model.denoise(pixels_of((24, 40, 3), np.uint8))


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


def test_numbers_of_any_kind_are_levels(subtests):
    for level in (0, 0.0, -0.0, 1e-9, 25, np.int64(25), np.uint8(25), np.float32(25), np.float16(25), 100):
        with subtests.test(level=repr(level)):
            stub = Stub(sigma=0.0)
            wrap(stub).denoise(GOOD, level)
            if level:
                assert (stub.given[0][1] * 255).numpy() == pytest.approx(float(level), rel=1e-3)


def test_below_the_estimate_the_network_is_told_the_estimate_and_a_share_is_removed():
    stub = Stub(sigma=50 / 255, removed=0.1)
    floats = np.full((8, 8, 3), 0.5, np.float32)
    removed = floats - wrap(stub).denoise(floats, 10)
    assert (stub.given[0][1] * 255).numpy() == pytest.approx(50)
    assert removed == pytest.approx(0.1 * 10 / 50 * ESTIMATE_MARGIN, rel=1e-3)


def test_without_a_level_the_network_is_asked_blind():
    stub = Stub()
    wrap(stub).denoise(GOOD)
    assert stub.given[0][1] is None


def test_a_classic_network_denoises_blind(classic):
    assert not classic.steerable
    assert classic.denoise(pixels_of((24, 40, 3), np.uint8)).shape == (24, 40, 3)


@pytest.mark.parametrize("level", [0, 25])
def test_a_classic_network_refuses_a_level_in_plain_words(classic, level):
    with pytest.raises(
        ImageError, match="tiny-classic is blind only and takes no noise level. Leave the level on auto"
    ):
        classic.denoise(GOOD, level)


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
def test_a_photo_is_denoised_as_its_pixels_are(model, level):
    pixels = pixels_of((24, 40, 3), np.uint8)
    np.testing.assert_array_equal(model(Photo(pixels), level).pixels, model.denoise(pixels, level))


# Progress

WIDE = np.full((4, 6000), 128, np.uint8)  # three tiles


def test_progress_counts_the_tiles(model):
    calls = []
    model.denoise(WIDE, on_progress=lambda *call: calls.append(call))
    model(Photo(WIDE), None, lambda *call: calls.append(call))
    assert calls == [(1, 3), (2, 3), (3, 3)] * 2


def test_progress_that_raises_stops_the_work():
    stub = Stub()

    def stop(done, total):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        wrap(stub).denoise(WIDE, on_progress=stop)
    assert len(stub.given) == 1


# The estimate


def test_the_estimate_is_the_network_s_on_the_scale_people_know(subtests):
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


# Noise for trying it out


def test_the_seed_alone_decides_the_noise(untouched_global_generators):
    photo = Photo(pixels_of((24, 40, 3), np.uint8))
    first = add_noise(photo, 25, seed=1).pixels
    np.testing.assert_array_equal(add_noise(photo, 25, seed=1).pixels, first)
    assert not np.array_equal(add_noise(photo, 25, seed=2).pixels, first)
    np.testing.assert_array_equal(add_noise(photo, 25).pixels, add_noise(photo, 25, seed=0).pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(200, 300), (100, 200, 3)], ids=str)
def test_added_noise_has_the_level_asked_for(shape, dtype):
    grey = np.full(shape, FULL_SCALE[np.dtype(dtype)] // 2, dtype)
    noisy = add_noise(Photo(grey), 25).pixels
    assert noisy.dtype == dtype
    assert np.std(as_floats(noisy)) * 255 == pytest.approx(25, rel=0.02)
    assert (as_floats(noisy) - as_floats(grey)).mean() * 255 == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_noise_of_level_zero_changes_nothing(dtype):
    pixels = pixels_of((24, 40, 3), dtype)
    np.testing.assert_array_equal(add_noise(Photo(pixels), 0).pixels, pixels)


def test_added_noise_does_not_wrap_around():
    for value in (0, 255):
        noisy = add_noise(Photo(np.full((50, 50), value, np.uint8)), 25).pixels
        assert np.mean(noisy == value) > 0.4  # half of it is clipped
        assert np.abs(noisy.astype(int) - value).max() < 150


def test_no_level_is_no_strength_of_noise():
    with pytest.raises(ImageError, match="number from 0 to 100"):
        add_noise(Photo(GOOD), None)


def test_noise_that_is_added_in_parts_is_that_of_the_whole():
    pixels = pixels_of((1201, 1803, 3), np.uint8)  # over three parts; the last isn't a multiple of sixteen
    assert pixels.size > 3 * inference.PART_VALUES and pixels.size % 16
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    whole = noise.gaussian(planes, 25 / 255, torch.Generator().manual_seed(7)).clamp(0, 1).mul(255).round()
    np.testing.assert_array_equal(add_noise(Photo(pixels), 25, seed=7).pixels, whole[0].permute(1, 2, 0).numpy())


def test_adding_noise_takes_no_floats_of_the_whole_photo():
    photo = Photo(pixels_of((2000, 3000, 3), np.uint8))
    noisy, peak = peak_of(lambda: add_noise(photo, 25))
    assert peak < 4 * noisy.pixels.nbytes + (100 << 20)  # 24 megapixels: 390 MB


@pytest.mark.parametrize("seed", [-1, 2**64, 0.5, "1", None, True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ImageError, match="whole number from 0 to"):
        add_noise(Photo(GOOD), 25, seed=seed)


def test_seeds_may_be_large_or_numpys():
    for seed in (2**64 - 1, 3):
        expected = add_noise(Photo(GOOD), 25, seed=seed).pixels
        np.testing.assert_array_equal(add_noise(Photo(GOOD), 25, seed=np.uint64(seed)).pixels, expected)


# Comparing


def expected_scores(image, reference):
    options = {"channel_axis": 2 if image.ndim == 3 else None, "gaussian_weights": True, "sigma": 1.5}
    image, reference = as_floats(image), as_floats(reference)
    return {
        "psnr": peak_signal_noise_ratio(reference, image, data_range=1),
        "ssim": structural_similarity(image, reference, data_range=1, use_sample_covariance=False, **options),
    }


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(11, 11, 3), (24, 40), (37, 53, 3)], ids=str)
def test_scores_are_those_of_scikit_image(shape, dtype):
    reference = Photo(pixels_of(shape, dtype))
    noisy = add_noise(reference, 10)
    assert compare(noisy, reference) == pytest.approx(expected_scores(noisy.pixels, reference.pixels), abs=1e-4)


def test_scores_on_a_photo_are_those_of_scikit_image(photo_pixels):
    reference = Photo(photo_pixels.copy())
    noisy = add_noise(reference, 25)
    assert compare(noisy, reference) == pytest.approx(expected_scores(noisy.pixels, reference.pixels), abs=1e-4)


def test_depths_can_be_compared_with_each_other():
    pixels = pixels_of((24, 40, 3), np.uint8)
    scores = compare(Photo(pixels.astype(np.uint16) * 257), Photo(pixels))
    assert scores["psnr"] > 100 and scores["ssim"] == pytest.approx(1)


def test_a_photo_scores_best_against_itself():
    photo = Photo(pixels_of((24, 40, 3), np.uint8))
    assert compare(photo, photo) == {"psnr": np.inf, "ssim": pytest.approx(1)}


def test_scores_by_bands_are_those_of_the_whole(monkeypatch, subtests):
    for shape, part in product([(37, 23, 3), (11, 40), (24, 11, 3), (40, 10, 3), (9, 40)], (1, 400, 700, 1 << 21)):
        with subtests.test(shape=shape, part=part):
            monkeypatch.setattr(inference, "PART_VALUES", part)
            image, reference = (pixels_of(shape, np.uint8, seed) for seed in (0, 1))
            pair = [
                torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)[None] / 255 for pixels in (image, reference)
            ]
            scores = compare(Photo(image), Photo(reference))
            assert scores["psnr"] == pytest.approx(float(metrics.psnr(*pair)), abs=1e-5)
            assert ("ssim" in scores) == (min(shape[:2]) >= 11)
            if "ssim" in scores:
                assert scores["ssim"] == pytest.approx(float(metrics.ssim(*pair)), abs=1e-6)


@pytest.mark.slow
def test_comparing_takes_no_more_memory_for_larger_photos(photo_pixels):
    reference = Photo(np.tile(photo_pixels, (12, 14, 1)))  # 6 megapixels
    noisy = add_noise(reference, 25)
    scores, peak = peak_of(lambda: compare(noisy, reference))
    assert peak < 500 << 20
    pair = [torch.from_numpy(photo.pixels[:700]).permute(2, 0, 1)[None] / 255 for photo in (noisy, reference)]
    assert scores["ssim"] == pytest.approx(float(metrics.ssim(*pair)), abs=0.01)  # the photo repeats


@pytest.mark.long
def test_comparing_24_megapixels_takes_little_and_gives_the_right_figures(photo_pixels):
    reference = Photo(np.tile(photo_pixels, (20, 34, 1))[:4000, :6000].copy())
    noisy = add_noise(reference, 25)
    scores, peak = peak_of(lambda: compare(noisy, reference))
    assert peak < 1.5 * 2**30
    error = sum(
        float(np.square(a.astype(float) - b).sum()) for a, b in zip(noisy.pixels, reference.pixels, strict=True)
    )
    mean = error / 255**2 / reference.pixels.size
    assert scores["psnr"] == pytest.approx(-10 * np.log10(mean), rel=1e-6)
    similarity = 0.0
    for channel in range(3):  # of which the mean is; in double precision, by scikit-image
        pair = [as_floats(photo.pixels[..., channel]) for photo in (reference, noisy)]
        options = {"data_range": 1, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        similarity += structural_similarity(*pair, **options) / 3
    assert scores["ssim"] == pytest.approx(similarity, abs=1e-5)  # ours is in single precision


@pytest.mark.parametrize("shape", [(10, 40, 3), (40, 10), (1, 1, 3)], ids=str)
def test_ssim_is_left_out_where_its_window_does_not_fit(shape):
    photo = Photo(pixels_of(shape, np.uint8))
    assert compare(add_noise(photo, 25), photo).keys() == {"psnr"}


@pytest.mark.parametrize("shape", [(24, 41, 3), (40, 24, 3), (24, 40)], ids=str)
def test_photos_of_different_shapes_cannot_be_compared(shape):
    with pytest.raises(ImageError, match="can't be compared"):
        compare(Photo(pixels_of(shape, np.uint8)), Photo(pixels_of((24, 40, 3), np.uint8)))


# Loading


def test_load_gives_what_was_saved(tiny_model, tmp_path):
    save_weights(tiny_model, tmp_path / "mine", training={"steps": 3})
    model = load(tmp_path / "mine", device="cpu")
    assert model.steerable
    assert (model.weights.source, model.weights.training, model.device.type) == ("mine", {"steps": 3}, "cpu")
    assert model.denoise(pixels_of((24, 40, 3), np.uint8)).shape == (24, 40, 3)


def test_load_refuses_what_is_no_model(tmp_path):
    with pytest.raises(WeightsError, match="config.json"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["nonsense", "", "cpu:-1", "cuda:99", "hpu", "meta"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(DenoiserError, match="no device"):
        pick_device(name)


def test_auto_is_a_device_that_is_there():
    assert torch.ones(2, device=pick_device("auto")).sum().item() == 2


def test_every_public_name_is_there_and_documented():
    assert [name for name in denoiser.__all__ if not getattr(denoiser, name).__doc__] == []


def test_our_errors_can_be_caught_together():
    assert issubclass(ImageError, DenoiserError) and issubclass(WeightsError, DenoiserError)


# Tile by tile, and what a page makes of the result


def finish(steps):
    """Run a generator to its end: (what it yielded, what it returned)."""
    yielded = []
    while True:
        try:
            yielded.append(next(steps))
        except StopIteration as end:
            return yielded, end.value


def test_tile_by_tile_gives_what_a_call_gives(model):
    photo = Photo(WIDE, exif=b"Exif")
    yielded, clean = finish(model.by_tile(photo))
    assert np.array_equal(clean.pixels, model(photo).pixels) and clean.exif == photo.exif
    assert [done for done, _ in yielded] == list(range(1, yielded[0][1] + 1)) and len(yielded) > 1


def test_each_tile_may_run_in_another_thread(model):
    steps = model.by_tile(Photo(WIDE))
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        for thread in (one, other):
            thread.submit(next, steps).result()
        assert not torch.is_inference_mode_enabled()
        _, clean = other.submit(finish, steps).result()
    assert np.array_equal(clean.pixels, model.denoise(WIDE))


def test_closed_after_a_tile_no_further_tile_is_computed():
    stub = Stub()
    steps = wrap(stub).by_tile(Photo(WIDE))
    next(steps)
    steps.close()
    assert len(stub.given) == 1 and finish(steps) == ([], None)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_blend_goes_from_the_one_to_the_other(dtype):
    before, after = (Photo(pixels_of((9, 7, 3), dtype, seed)) for seed in (0, 1))
    assert blend(before, after, 0) is before and blend(before, after, 1) is after
    for amount in (0.25, 0.5, 0.99):
        mixed = blend(before, after, amount)
        expected = (1 - amount) * before.pixels.astype(float) + amount * after.pixels
        assert mixed.pixels.dtype == dtype and np.abs(mixed.pixels - expected).max() <= 0.5 + 1e-2


def test_what_was_removed_is_shown_on_grey_and_amplified():
    before, after = Photo(np.full((4, 5, 3), 100, np.uint8)), Photo(np.full((4, 5, 3), 90, np.uint8))
    assert (residual(before, after).pixels == 128 + 4 * 10).all() and (residual(before, before).pixels == 128).all()
    assert (residual(after, before, gain=20).pixels == 0).all()  # more than can be shown
    deep = [Photo(photo.pixels.astype(np.uint16) * 257) for photo in (before, after)]
    assert (residual(*deep).pixels == 128 + 4 * 10).all() and residual(*deep).bit_depth == 8


def test_photos_of_different_kinds_are_neither_blended_nor_subtracted():
    small, large, deep = (
        Photo(pixels_of(*kind)) for kind in (((4, 4), np.uint8), ((5, 4), np.uint8), ((4, 4), np.uint16))
    )
    for other in (large, deep):
        for function in (lambda *pair: blend(*pair, 0.5), residual):
            with pytest.raises(ImageError, match="size or depth"):
                function(small, other)
    for amount in (-0.1, 1.1, float("nan"), None, "1"):
        with pytest.raises(ImageError, match="The amount is"):
            blend(small, small, amount)

"""The meaning of colours: kept or converted from file to file, and never lost silently."""

import io
import struct
import zlib

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from denoiser import colour
from denoiser.errors import ImageError
from denoiser.image_io import Photo, open_image, save_image

PATCHES = np.array([[[200, 60, 60], [60, 180, 70], [70, 60, 190], [128, 128, 128], [250, 240, 20]]], np.uint8)
PIXELS = np.repeat(np.repeat(PATCHES, 16, axis=0), 16, axis=1)
RED, GREEN, BLUE, WHITE = (0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.3127, 0.3290)  # Display P3
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def to_xyz(primaries):
    """The matrix from linear RGB to XYZ, by its definition."""
    *columns, white = ((x / y, 1, (1 - x - y) / y) for x, y in primaries)
    columns = np.array(columns).T
    return columns * np.linalg.solve(columns, white)


def p3_as_srgb(pixels):
    """Display P3 pixels, converted to sRGB."""
    values = pixels / 255
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    srgb = to_xyz(((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), WHITE))
    light = (light @ (np.linalg.inv(srgb) @ to_xyz((RED, GREEN, BLUE, WHITE))).T).clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def shown(photo):
    """A photo's pixels, converted from its profile to sRGB by littleCMS."""
    if photo.icc_profile is None:
        return photo.pixels.astype(float)
    image = Image.fromarray(photo.pixels)
    output = SRGB if image.mode == "RGB" else colour.build_profile(colour.SRGB_PRIMARIES, colour.SRGB_CURVE, grey=True)
    profiles = io.BytesIO(photo.icc_profile), io.BytesIO(output)
    return np.asarray(ImageCms.profileToProfile(image, *profiles, flags=ImageCms.Flags.NOOPTIMIZE), float)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(path, pixels, *chunks, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    data = buffer.getvalue()
    path.write_bytes(data[:33] + b"".join(chunk(*item) for item in chunks) + data[33:])
    return path


def chromaticities(*points):
    return b"cHRM", struct.pack(">8I", *(round(100_000 * value) for point in points for value in point))


def nclx(path, primaries, transfer):
    """A HEIC or AVIF that has these code points and no profile."""
    image = Image.fromarray(PIXELS)
    if path.suffix == ".heic":
        pillow_heif.from_pillow(image).save(
            path, quality=-1, chroma=444, color_primaries=primaries, transfer_characteristics=transfer,
            matrix_coefficients=1, full_range_flag=1, save_nclx_profile=True,
        )  # fmt: skip
        return path
    image.save(path, quality=95, subsampling="4:4:4")
    data = path.read_bytes()
    at = data.index(b"colrnclx") + 8
    path.write_bytes(data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :])
    return path


@pytest.mark.parametrize("suffix", ["png", "heic", "avif"])
def test_display_p3_given_by_code_points_is_kept(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    photo = open_image(png(path, PIXELS, (b"cICP", bytes([12, 13, 0, 1]))) if suffix == "png" else nclx(path, 12, 13))
    assert np.abs(photo.pixels.astype(int) - PIXELS).max() <= (0 if suffix == "png" else 3)
    for name in ("png", "jpg", "webp", "tif", "avif", "bmp"):
        save_image(photo, tmp_path / f"out.{name}")
        again = open_image(tmp_path / f"out.{name}")
        assert (again.icc_profile is None) == (name == "bmp")
        assert np.abs(shown(again) - p3_as_srgb(photo.pixels)).max() <= (6 if name in ("jpg", "avif") else 1)


def test_code_points_apply_to_16_bit_photos(tmp_path):
    deep = PIXELS.astype(np.uint16) * 257
    save_image(Photo(deep), tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    (tmp_path / "x.png").write_bytes(data[:33] + chunk(b"cICP", bytes([12, 13, 0, 1])) + data[33:])
    photo = open_image(tmp_path / "x.png")
    assert photo.bit_depth == 16 and photo.icc_profile == colour.build_profile(
        (RED, GREEN, BLUE, WHITE), colour.SRGB_CURVE, grey=False
    )


@pytest.mark.parametrize("suffix", ["png", "heic", "avif"])
@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused(tmp_path, suffix, transfer, name):
    path = tmp_path / f"x.{suffix}"
    png(path, PIXELS, (b"cICP", bytes([9, transfer, 0, 1]))) if suffix == "png" else nclx(path, 9, transfer)
    with pytest.raises(ImageError, match=rf"'x\.{suffix}' is an HDR image \({name}\).*standard range"):
        open_image(path)


@pytest.mark.parametrize("points", [(1, 13), (1, 1), (2, 2), (5, 13), (1, 6)])
def test_srgb_and_television_colours_get_no_profile(tmp_path, points):
    photo = open_image(nclx(tmp_path / "x.heic", *points))
    assert (photo.icc_profile is None) == (points[0] != 5)
    assert open_image(png(tmp_path / "x.png", PIXELS, (b"cICP", bytes([*points, 0, 1])))).pixels.shape == PIXELS.shape


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("gamma", [1.0, 0.5556, 0.38])
def test_a_pngs_gamma_is_kept(tmp_path, gamma, grey):
    pixels = PIXELS[..., 1].copy() if grey else PIXELS
    photo = open_image(png(tmp_path / "x.png", pixels, (b"gAMA", struct.pack(">I", round(gamma * 100_000)))))
    np.testing.assert_array_equal(photo.pixels, pixels)
    light = (pixels / 255) ** (1 / gamma)
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(shown(photo) - expected).max() <= 1


def test_a_pngs_chromaticities_are_kept(tmp_path):
    gamma = b"gAMA", struct.pack(">I", 45_455)
    photo = open_image(png(tmp_path / "x.png", PIXELS, gamma, chromaticities(WHITE, RED, GREEN, BLUE)))
    assert np.abs(shown(photo) - p3_as_srgb(PIXELS)).max() <= 9  # a gamma of 2.2 is near the curve of sRGB, not on it
    assert np.abs(shown(photo) - PIXELS).max() > 10
    photo = open_image(png(tmp_path / "x.png", PIXELS, chromaticities(WHITE, RED, GREEN, BLUE)))
    assert np.abs(shown(photo) - p3_as_srgb(PIXELS)).max() <= 1


SRGB_POINTS = chromaticities(WHITE, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
GAMMA = b"gAMA", struct.pack(">I", 45_455)


@pytest.mark.parametrize(
    "chunks",
    [
        [GAMMA],
        [GAMMA, SRGB_POINTS],
        [SRGB_POINTS],
        [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100_000))],
        [(b"gAMA", bytes(4))],
        [GAMMA, (b"cHRM", bytes(32))],
        [GAMMA, (b"cHRM", struct.pack(">8I", *[31_270] * 8))],
        [GAMMA, (b"cHRM", struct.pack(">8I", *[4_000_000_000] * 8))],
        [GAMMA, (b"cHRM", bytes(12))],
    ],
)
def test_a_png_that_says_srgb_or_nonsense_gets_no_profile(tmp_path, chunks):
    assert open_image(png(tmp_path / "x.png", PIXELS, *chunks)).icc_profile is None


def test_colour_chunks_of_a_png_have_the_precedence_of_the_standard(tmp_path):
    linear = b"gAMA", struct.pack(">I", 100_000)
    assert open_image(png(tmp_path / "x.png", PIXELS, linear, icc_profile=SRGB)).icc_profile == SRGB
    both = open_image(png(tmp_path / "x.png", PIXELS, (b"cICP", bytes([12, 13, 0, 1])), icc_profile=SRGB))
    assert np.abs(shown(both) - p3_as_srgb(PIXELS)).max() <= 1


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif", "bmp"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_looks_the_same_in_formats_without_grey_profiles(tmp_path, suffix, dtype):
    grey = np.linspace(0, np.iinfo(dtype).max, 64 * 64).reshape(64, 64).astype(dtype)
    profile = colour.build_profile(colour.SRGB_PRIMARIES, (1.0,), grey=True)
    notes = save_image(Photo(grey, icc_profile=profile), tmp_path / f"x.{suffix}")
    again = open_image(tmp_path / f"x.{suffix}")
    assert (again.icc_profile == profile) == (suffix in ("png", "jpg", "tif")) == (notes == ())
    light = grey / np.iinfo(dtype).max
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    found = again.pixels[..., 0] if again.pixels.ndim == 3 else again.pixels
    if again.icc_profile is None:
        assert np.abs(found - expected)[grey > grey.max() // 50].max() <= 5
    else:
        assert np.abs(found / np.iinfo(found.dtype).max - light).max() < 0.01


def test_an_unusable_profile_is_left_out_with_a_note(tmp_path):
    broken = SRGB[:16] + b"GRAY" + SRGB[20:]
    grey = PIXELS[..., 0].copy()
    notes = save_image(Photo(grey, icc_profile=broken), tmp_path / "x.webp")
    assert notes == ("The damaged colour profile of 'x.webp' was left out.",)
    np.testing.assert_array_equal(open_image(tmp_path / "x.webp").pixels[..., 0], grey)


def test_littlecms_reads_our_profiles_as_intended():
    profile = colour.build_profile((RED, GREEN, BLUE, WHITE), colour.SRGB_CURVE, grey=False)
    assert int.from_bytes(profile[:4], "big") == len(profile)
    read = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
    assert read.is_matrix_shaper and read.xcolor_space == "RGB " and read.version == pytest.approx(4.3)
    assert read.red_primary[0] == pytest.approx((0.51512, 0.24120, -0.00105), abs=1e-4)  # as Apple's Display P3 has it
    assert read.green_primary[0] == pytest.approx((0.29198, 0.69225, 0.04189), abs=1e-4)


@pytest.mark.parametrize("size", [1 << 20, (4 << 20) + 1])
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
def test_a_long_profile_can_be_written_and_read(tmp_path, suffix, size):
    noise = np.random.default_rng(0).bytes(size)
    profile = SRGB[:4] + SRGB[4:] + noise
    save_image(Photo(PIXELS, icc_profile=profile), tmp_path / f"x.{suffix}")
    assert open_image(tmp_path / f"x.{suffix}").icc_profile == profile


def test_a_profile_of_many_megabytes_is_refused(tmp_path):
    profile = SRGB + bytes(colour.MAX_PROFILE_BYTES)
    Image.fromarray(PIXELS).save(tmp_path / "x.tif", icc_profile=profile)
    with pytest.raises(ImageError, match="colour profile of 8 MiB; up to 8 are accepted"):
        open_image(tmp_path / "x.tif")
    with pytest.raises(ImageError, match="colour profile"):
        save_image(Photo(PIXELS, icc_profile=profile), tmp_path / "out.png")


@pytest.mark.parametrize("compression", [1, 8], ids=["none", "deflate"])
def test_packed_12_bit_samples_span_the_whole_range(tmp_path, compression):
    values = np.array([[0, 1, 2047, 2048], [4094, 4095, 100, 3000]], np.uint16)
    packed = b"".join(struct.pack(">I", int(a) << 12 | int(b))[1:] for a, b in values.reshape(-1, 2))
    data = packed if compression == 1 else zlib.compress(packed)
    tags = {256: 4, 257: 2, 258: 12, 259: compression, 262: 1, 273: 8, 277: 1, 278: 2, 279: len(data)}
    tags = b"".join(struct.pack("<HHLL", tag, 3, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<L", 8 + len(data) + len(data) % 2)
    (tmp_path / "x.tif").write_bytes(head + data + bytes(len(data) % 2) + struct.pack("<H", 9) + tags + bytes(4))
    photo = open_image(tmp_path / "x.tif")
    assert photo.pixels.dtype == np.uint16
    assert np.abs(photo.pixels - values * (65_535 / 4095)).max() <= 1

"""Photo files: what is read back upright and unchanged, and what saving keeps."""

import struct
import zlib

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from denoiser.errors import ImageError
from denoiser.image_io import Photo, image_size, open_image, save_image

ORIENTATION, MAKE, EXIF_IFD, TAKEN = 274, 271, 0x8769, 36867
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description xmp:Rating="5"%b/></x:xmpmeta>'
GREY_ICC = SRGB[:16] + b"GRAY" + SRGB[20:]  # only the header is looked at
# What each value of Orientation asks for: the rows and columns swapped or not, then mirrored along these axes.
TO_UPRIGHT = {1: (0, ()), 2: (0, 1), 3: (0, (0, 1)), 4: (0, 0), 5: (1, ()), 6: (1, 1), 7: (1, (0, 1)), 8: (1, 0)}


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def exif_bytes(orientation=None):
    exif = Image.Exif()
    exif[MAKE] = "Maker"
    exif[EXIF_IFD] = {TAKEN: "2024:01:02 03:04:05"}
    if orientation is not None:
        exif[ORIENTATION] = orientation
    return exif.tobytes()


def parse_exif(data):
    exif = Image.Exif()
    exif.load(data)
    return exif


def assert_same(photo, pixels, alpha=None):
    assert photo.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(photo.pixels, pixels)
    np.testing.assert_array_equal(photo.alpha, alpha)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_every_orientation_is_turned_upright(tmp_path, suffix, subtests):
    for orientation in TO_UPRIGHT:
        with subtests.test(orientation=orientation):
            stored, path = noise(5, 7, 3), tmp_path / f"photo.{suffix}"
            Image.fromarray(stored).save(path, exif=exif_bytes(orientation), lossless=True)
            photo = open_image(path)
            swapped, mirrored = TO_UPRIGHT[orientation]
            assert_same(photo, np.flip(stored.swapaxes(0, 1) if swapped else stored, mirrored))
            exif = parse_exif(photo.exif)
            assert ORIENTATION not in exif and exif[MAKE] == "Maker"
            assert exif.get_ifd(EXIF_IFD)[TAKEN].startswith("2024")


def test_a_turned_16_bit_photo_keeps_its_depth(tmp_path):
    stored = noise(5, 7, dtype=np.uint16)
    Image.fromarray(stored).save(tmp_path / "x.png", exif=exif_bytes(6))
    assert_same(open_image(tmp_path / "x.png"), np.rot90(stored, -1))


@pytest.mark.parametrize(
    ("suffix", "channels", "dtype", "alpha"),
    [
        *((suffix, (3,), np.uint8, False) for suffix in (".png", ".webp", ".tif", ".tiff", ".bmp")),
        *((suffix, (3,), np.uint8, True) for suffix in (".png", ".webp", ".tif")),
        *((suffix, (), np.uint8, False) for suffix in (".png", ".tif", ".bmp")),
        *((suffix, (), np.uint8, True) for suffix in (".png", ".tif")),
        *((suffix, shape, np.uint16, alpha) for suffix in (".png", ".tif") for shape in ((), (3,)) for alpha in (0, 1)),
    ],
)
@pytest.mark.parametrize("bare", [True, False], ids=["bare", "with metadata"])
def test_lossless_formats_keep_every_bit(tmp_path, suffix, channels, dtype, alpha, bare):
    icc, exif, xmp = (None, None, None) if bare else (SRGB if channels else GREY_ICC, exif_bytes(), XMP % b"")
    clear = np.where(noise(6, 9) < 99, 0, noise(6, 9, dtype=dtype))  # the colour under a zero has to survive too
    photo = Photo(noise(6, 9, *channels, dtype=dtype), clear if alpha else None, icc, exif, xmp)
    save_image(photo, tmp_path / f"x{suffix}")
    again = open_image(tmp_path / f"x{suffix}")
    assert_same(again, photo.pixels, photo.alpha)
    assert (again.height, again.width, again.bit_depth) == (6, 9, 16 if dtype == np.uint16 else 8)
    if suffix == ".bmp" or bare:
        assert (again.icc_profile, again.exif, again.xmp) == (None, None, None)
    else:
        assert (again.icc_profile, again.xmp) == (icc, xmp)
        assert parse_exif(again.exif).get_ifd(EXIF_IFD)[TAKEN].startswith("2024")


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".avif"])
def test_lossy_formats_stay_close_and_keep_metadata(tmp_path, suffix):
    y, x = np.mgrid[0:32, 0:48]
    photo = Photo(np.stack([4 * x, 4 * y, x + y], -1).astype(np.uint8), None, SRGB, exif_bytes(), XMP % b"")
    save_image(photo, tmp_path / f"x{suffix}")
    again = open_image(tmp_path / f"x{suffix}")
    assert np.abs(again.pixels.astype(int) - photo.pixels).mean() < 2
    assert again.icc_profile == SRGB and again.xmp == photo.xmp and parse_exif(again.exif)[MAKE] == "Maker"
    save_image(photo, tmp_path / f"low{suffix}", quality=20)
    assert (tmp_path / f"low{suffix}").stat().st_size < (tmp_path / f"x{suffix}").stat().st_size


def test_webp_is_lossy_only_on_request(tmp_path):
    for quality, exact in ((None, True), (95, False)):
        save_image(Photo(noise(6, 9, 3)), tmp_path / "x.webp", quality=quality)
        assert np.array_equal(open_image(tmp_path / "x.webp").pixels, noise(6, 9, 3)) == exact


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif", ".heic"])
def test_orientation_does_not_survive_in_the_xmp(tmp_path, suffix, subtests):
    for orientation in (1, 6):
        with subtests.test(orientation=orientation):
            image, path = Image.fromarray(noise(32, 48, 3)), tmp_path / f"x{suffix}"
            exif, xmp = exif_bytes(orientation), XMP % b" tiff:Orientation = '6'"
            if suffix == ".heic":
                pillow_heif.from_pillow(image).save(path, exif=exif, xmp=xmp)
            elif suffix == ".png":
                Image.fromarray(noise(32, 48, 3)).save(path, exif=exif)
                add_png_text(path, xmp)
            elif suffix == ".tif":
                tags = parse_exif(exif)
                tags[700] = xmp
                image.save(path, exif=tags)
            else:
                image.save(path, exif=exif, xmp=xmp)
            photo = open_image(path)
            assert photo.pixels.shape == ((48, 32, 3) if orientation == 6 else (32, 48, 3))
            assert photo.xmp == XMP % b""


def add_png_text(path, xmp):
    """Put an XMP packet behind the pixels, which is allowed too."""
    data = path.read_bytes()
    text = png_chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + xmp)
    path.write_bytes(data[:-12] + text + data[-12:])


def test_an_xmp_packet_too_long_for_jpeg_is_left_out(tmp_path):
    save_image(Photo(noise(6, 9), xmp=bytes(70_000)), tmp_path / "x.jpg")
    assert open_image(tmp_path / "x.jpg").xmp is None


@pytest.mark.parametrize("orientation", [None, 3, 6])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_heic_is_read_upright_with_its_metadata(tmp_path, mode, orientation):
    y, x = np.mgrid[0:48, 0:64]
    stored = np.stack([4 * x, 5 * y, x + y, 255 - 4 * x], -1).astype(np.uint8)
    stored = stored[..., 0] if mode == "L" else stored[..., : len(mode)]
    heif = pillow_heif.from_pillow(Image.fromarray(stored))
    heif.save(tmp_path / "x.heic", quality=-1, chroma=444, exif=exif_bytes(orientation), icc_profile=SRGB)
    photo = open_image(tmp_path / "x.heic")
    swapped, mirrored = TO_UPRIGHT[orientation or 1]
    upright = np.flip(stored.swapaxes(0, 1) if swapped else stored, mirrored).astype(int)
    found = photo.pixels if photo.alpha is None else np.dstack((photo.pixels, photo.alpha))
    assert found.shape == upright.shape and np.abs(upright - found).max() <= 2
    assert parse_exif(photo.exif)[MAKE] == "Maker" and ORIENTATION not in parse_exif(photo.exif)
    assert photo.icc_profile == (None if mode == "L" else SRGB)  # which is for colour


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_palette_becomes_colour_with_its_transparency(tmp_path, suffix):
    index = noise(6, 9) % 4
    image, palette = Image.frombytes("P", (9, 6), index.tobytes()), noise(4, 3)
    image.putpalette(palette.tobytes())
    image.save(tmp_path / f"plain{suffix}")
    assert_same(open_image(tmp_path / f"plain{suffix}"), palette[index])
    image.save(tmp_path / f"clear{suffix}", transparency=2)
    assert_same(open_image(tmp_path / f"clear{suffix}"), palette[index], np.where(index == 2, 0, 255).astype(np.uint8))


def test_one_bit_becomes_grey_and_a_profile_for_colour_is_left_out(tmp_path):
    bits = noise(6, 9) > 127
    Image.fromarray(bits).save(tmp_path / "x.png", icc_profile=SRGB)
    photo = open_image(tmp_path / "x.png")
    assert_same(photo, np.where(bits, 255, 0).astype(np.uint8))
    assert photo.icc_profile is None


def all_grey_cmyk_profile():
    """A minimal CMYK profile that maps every colour to mid grey."""
    identity, ramp = (65536 * v for v in (1, 0, 0, 0, 1, 0, 0, 0, 1)), bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *identity)
    table += ramp * 4 + bytes([136, 128, 128]) * 2**4 + ramp * 3
    sizes = struct.pack(">I4sI", 144 + len(table), b"", 0x02400000)
    header = sizes + b"prtrCMYKLab " + bytes(12) + b"acsp" + bytes(88)
    return header + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


@pytest.mark.parametrize("profile", [None, SRGB, b"broken"], ids=["none", "mismatched", "broken"])
@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_becomes_rgb_through_its_profile_if_it_has_one(tmp_path, suffix, profile):
    image, path = Image.new("CMYK", (9, 6), (0, 255, 255, 0)), tmp_path / f"red.{suffix}"
    image.save(path, icc_profile=profile)
    photo = open_image(path)
    assert photo.pixels.shape == (6, 9, 3) and photo.icc_profile is None
    assert photo.pixels[3, 4, 0] > 150 and photo.pixels[3, 4, 1:].max() < 100
    assert open_image(path).notes == (f"The colours of {path.name!r} were converted from CMYK to sRGB.",)
    image.save(path, icc_profile=all_grey_cmyk_profile())
    photo = open_image(path)
    assert np.ptp(photo.pixels) == 0 and photo.icc_profile is None


def test_grey_16_bit_in_other_forms(tmp_path):
    values = noise(6, 9, dtype=np.uint16)
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "wide.tif")  # mode I
    assert_same(open_image(tmp_path / "wide.tif"), values)
    Image.frombytes("I;16B", (9, 6), values.astype(">u2").tobytes()).save(tmp_path / "big_endian.tif")
    assert_same(open_image(tmp_path / "big_endian.tif"), values)
    Image.fromarray(values).save(tmp_path / "negative.tif")
    tag = struct.pack("<HHI", 262, 3, 1)  # PhotometricInterpretation: 1 = black is zero, 0 = white is zero
    stored = (tmp_path / "negative.tif").read_bytes()
    (tmp_path / "negative.tif").write_bytes(stored.replace(tag + b"\1", tag + b"\0"))
    assert_same(open_image(tmp_path / "negative.tif"), 65535 - values)
    Image.fromarray(values).save(tmp_path / "key.png", transparency=int(values[0, 0]))
    assert_same(open_image(tmp_path / "key.png"), values, np.where(values == values[0, 0], 0, 65535).astype(np.uint16))


def test_16_bit_is_rounded_for_8_bit_formats(tmp_path):
    save_image(Photo(np.array([[0, 128, 129, 32768, 65535]], np.uint16)), tmp_path / "x.bmp")
    assert_same(open_image(tmp_path / "x.bmp"), np.array([[0, 0, 1, 128, 255]], np.uint8))


def test_a_photo_with_damaged_exif_is_read(tmp_path):
    stored = noise(6, 9, 3)
    Image.fromarray(stored).save(tmp_path / "x.png", exif=b"Exif\0\0not an EXIF block")
    photo = open_image(tmp_path / "x.png")
    assert_same(photo, stored)
    assert photo.exif is None


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("quality", ["90", 90.5, 0, 101, True, float("nan")])
def test_a_quality_out_of_range_is_refused(tmp_path, quality):
    with pytest.raises(ImageError, match="quality must be a whole number from 1 to 100"):
        save_image(Photo(noise(6, 9)), tmp_path / "x.jpg", quality=quality)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
def test_a_quality_may_be_a_numpy_integer(tmp_path, suffix):
    for name, quality in (("a", 50), ("b", np.int64(50))):
        save_image(Photo(noise(6, 9)), tmp_path / (name + suffix), quality=quality)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_other_types_than_paths_are_refused():
    for use in (open_image, image_size, lambda path: save_image(Photo(noise(6, 9)), path)):
        for path in (None, 3, b"x.png"):
            with pytest.raises(ImageError, match="path of a photo must be a string or a Path"):
                use(path)


def test_only_failures_of_the_disk_are_blamed_on_it(tmp_path):
    with pytest.raises(ImageError, match="Try another format"):
        save_image(Photo(noise(6, 9), exif=b"Exif\0\0no EXIF block"), tmp_path / "x.tif")
    with pytest.raises(ImageError, match="File name too long. Check the folder"):
        save_image(Photo(noise(6, 9)), tmp_path / ("x" * 300 + ".png"))

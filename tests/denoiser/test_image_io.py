"""Photo files: what comes back upright and unchanged, and what is refused in words fit for a web page."""

import io
import os
import struct
import zlib

import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image, ImageCms, ImageFile

from denoiser import image_io, input_formats
from denoiser.errors import ImageError
from denoiser.image_io import Photo, image_size, is_photo_name, open_image, save_image

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
def test_lossless_formats_give_back_every_bit(tmp_path, suffix, channels, dtype, alpha, bare):
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


def test_webp_is_lossy_on_request_alone(tmp_path):
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
    """Put an XMP packet behind the pixels, where it may stand too."""
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
    """The smallest CMYK profile: one lookup table, of mid grey throughout."""
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


def test_the_first_frame_and_the_first_picture_of_an_mpo_are_read(tmp_path):
    first, second = (Image.new("RGB", (9, 6), colour) for colour in ("white", "black"))
    for name in ("x.gif", "x.webp", "x.png", "x.mpo"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
        assert open_image(tmp_path / name).pixels.min() > 250


def several(path):
    """A file of two pictures."""
    first, second = (Image.new("RGB", (64, 48), colour) for colour in ("white", "black"))
    if path.suffix == ".heic":
        heif = pillow_heif.from_pillow(first)
        heif.add_from_pillow(second)
        heif.save(path)
    else:
        first.save(path, save_all=True, append_images=[second])
    return path


@pytest.mark.parametrize(
    ("name", "what"),
    [
        *((f"x.{suffix}", "first frame") for suffix in ("gif", "webp", "png", "avif")),
        ("x.tif", "first page"),
        *((f"x.{suffix}", "main image") for suffix in ("mpo", "heic")),
    ],
)
def test_that_a_file_holds_more_pictures_is_said(tmp_path, name, what):
    photo = open_image(several(tmp_path / name))
    assert photo.pixels.min() > 250
    assert photo.is_part and photo.notes == (f"Only the {what} of {name!r} was read; it has more.",)
    assert photo.with_pixels(photo.pixels).is_part
    Image.new("RGB", (64, 48)).save(tmp_path / "single.png")
    assert not open_image(tmp_path / "single.png").is_part


def test_thumbnails_are_no_further_pictures(tmp_path):
    data = several(tmp_path / "x.mpo").read_bytes()
    second = data.index(b"MPF\0") + 4 + 8 + 2 + 3 * 12 + 4 + 16  # behind a directory of three tags, and the first one
    assert data[second - 16 : second - 12] == struct.pack("<L", 0x030000)  # the main image
    (tmp_path / "x.jpg").write_bytes(data[:second] + struct.pack("<L", 0x010001) + data[second + 4 :])
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(noise(48, 64, 3), photometric="rgb")
        file.write(noise(24, 32, 3), photometric="rgb", subfiletype=1)
    for name in ("x.jpg", "x.tif"):
        photo = open_image(tmp_path / name)
        assert photo.notes == () and not photo.is_part and photo.width == 64


def test_damaged_exif_does_not_cost_the_photo(tmp_path):
    stored = noise(6, 9, 3)
    Image.fromarray(stored).save(tmp_path / "x.png", exif=b"Exif\0\0not an EXIF block")
    photo = open_image(tmp_path / "x.png")
    assert_same(photo, stored)
    assert photo.exif is None


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height, depth=8):
    chunks = {b"IHDR": struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0), b"IDAT": zlib.compress(b"\0" * 99)}
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks.items()) + png_chunk(b"IEND", b"")


def encoded(format, mode="RGB", scale=1):
    buffer = io.BytesIO()
    image = Image.fromarray(noise(64, 64, 3)).convert(mode)
    (image.point(lambda value: value * scale) if scale > 1 else image).save(buffer, format)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.jpg", None, "can't be found"),
        ("nothing.jpg", b"", "empty"),
        ("text.jpg", b"Dear diary, today I took a photo.", "not a JPEG"),
        ("photo.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "damaged"),
        ("text.heic", b"Dear diary, today I took a photo.", "HEIC image"),
        ("photo.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        ("photo.dng", encoded("TIFF"), "RAW"),
        ("drawing.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a JPEG"),
        ("float.tif", encoded("TIFF", "F"), "floating-point"),
        ("deep.tif", encoded("TIFF", "I", scale=300), "32-bit"),
        *((f"cut.{format}", encoded(format)[:-2000], "damaged") for format in ("JPEG", "PNG", "TIFF", "BMP", "GIF")),
        *((f"cut.{format}", encoded(format)[:60], None) for format in ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "AVIF")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.filterwarnings("ignore:Truncated File Read")
def test_a_bad_file_is_named_without_its_folder(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=words) as caught:
        open_image(str(tmp_path / name))
    assert name in str(caught.value) and str(tmp_path) not in str(caught.value)
    with pytest.raises(ImageError, match=f"{tmp_path.name!r} is a folder"):
        open_image(tmp_path)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (10_001, 10_000), (65_501, 1), (2_000_000_000, 1)])
def test_too_many_pixels_are_refused_before_decoding(tmp_path, monkeypatch, recwarn, width, height, depth):
    (tmp_path / "bomb.png").write_bytes(png_header(width, height, depth))
    monkeypatch.setattr(image_io, "read_samples", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"'bomb\.png' .*megapixels"):
        open_image(tmp_path / "bomb.png")
    assert not recwarn.list


def test_too_many_bytes_are_refused(tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(encoded("PNG"))
    monkeypatch.setattr(input_formats, "MAX_FILE_BYTES", 100)
    with pytest.raises(ImageError, match=r"x\.png"):
        open_image(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("name", "photo", "words"),
    [
        ("x.jpg", Photo(noise(6, 9, 3), noise(6, 9)), "transparency"),
        ("x.bmp", Photo(noise(6, 9, 3), noise(6, 9)), "transparency"),
        ("x.tif", Photo(noise(6, 9), exif=b"Exif\0\0no EXIF block"), "written"),
        ("x.webp", Photo(noise(1, 16_384)), "16,383"),
        ("x.jpg", Photo(noise(65_501, 1)), "65,500"),
        ("x.gif", Photo(noise(6, 9)), r"\.png, \.jpg"),
        ("x", Photo(noise(6, 9)), r"\.png, \.jpg"),
        ("missing/x.png", Photo(noise(6, 9)), "folder"),
    ],
)
def test_a_save_that_fails_leaves_the_folder_as_it_was(tmp_path, name, photo, words):
    if (tmp_path / name).parent == tmp_path:
        (tmp_path / name).write_bytes(b"what was there")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ImageError, match=words) as caught:
        save_image(photo, tmp_path / name)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert str(tmp_path) not in str(caught.value)


def test_a_save_cut_short_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(source, target):
        raise OSError(28, "No space left on device", str(source))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ImageError, match="No space left"):
        save_image(Photo(noise(6, 9)), tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o444])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "x.png"
    path.touch()
    path.chmod(mode)
    save_image(Photo(noise(6, 9)), path)
    assert path.stat().st_mode & 0o7777 == mode and open_image(path).width == 9


def test_while_it_is_written_a_secret_file_is_as_secret(tmp_path, monkeypatch):
    path, seen, replace = tmp_path / "x.png", [], os.replace
    path.touch()
    path.chmod(0o600)
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append(os.fstat(handle).st_mode & 0o7777))
    monkeypatch.setattr(os, "replace", lambda *names: seen.append("replaced") or replace(*names))
    save_image(Photo(noise(6, 9)), path)
    assert seen == [0o600, "replaced"]  # and it is on the disk by then


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path, exists):
    target, link = tmp_path / "folder" / "photo", tmp_path / "x.png"
    target.parent.mkdir()
    if exists:
        target.write_bytes(b"what was there")
    link.symlink_to(os.path.join("folder", "photo"))
    save_image(Photo(noise(6, 9)), link)
    assert link.is_symlink() and open_image(target).width == 9
    assert [path.name for path in target.parent.iterdir()] == ["photo"] and len(list(tmp_path.iterdir())) == 2


def test_what_is_no_file_is_not_replaced(tmp_path):
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x.png").symlink_to("pipe")
    (tmp_path / "circle.png").symlink_to("circle.png")
    for name in ("folder.png", "x.png", "circle.png"):
        with pytest.raises(ImageError, match=f"'{name}' can't be written"):
            save_image(Photo(noise(6, 9)), tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("quality", ["90", 90.5, 0, 101, True, float("nan")])
def test_a_quality_that_is_none_is_refused(tmp_path, quality):
    with pytest.raises(ImageError, match="quality must be a whole number from 1 to 100"):
        save_image(Photo(noise(6, 9)), tmp_path / "x.jpg", quality=quality)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
def test_a_quality_may_be_numpys(tmp_path, suffix):
    for name, quality in (("a", 50), ("b", np.int64(50))):
        save_image(Photo(noise(6, 9)), tmp_path / (name + suffix), quality=quality)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_what_is_no_path_is_refused():
    for use in (open_image, image_size, lambda path: save_image(Photo(noise(6, 9)), path)):
        for path in (None, 3, b"x.png"):
            with pytest.raises(ImageError, match="path of a photo must be a string or a Path"):
                use(path)


def test_a_failure_that_is_not_the_disks_is_not_put_on_it(tmp_path):
    with pytest.raises(ImageError, match="Try another format"):
        save_image(Photo(noise(6, 9), exif=b"Exif\0\0no EXIF block"), tmp_path / "x.tif")
    with pytest.raises(ImageError, match="File name too long. Check the folder"):
        save_image(Photo(noise(6, 9)), tmp_path / ("x" * 300 + ".png"))


def test_opaque_alpha_is_no_obstacle_and_a_new_file_has_ordinary_permissions(tmp_path):
    save_image(Photo(noise(6, 9, 3), np.full((6, 9), 255, np.uint8)), tmp_path / "x.jpg")
    (tmp_path / "plain").touch()
    assert (tmp_path / "x.jpg").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert open_image(tmp_path / "x.jpg").alpha is None


def test_photo_names():
    assert is_photo_name("folder/IMG_1.JPG") and is_photo_name("x.tiff") and is_photo_name("x.heic")
    assert not any(map(is_photo_name, ["notes.txt", "x.dng", "jpg", "._IMG_1.jpg"]))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "heic"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_size_is_read_from_the_header_alone(tmp_path, monkeypatch, suffix, dtype):
    path = tmp_path / f"photo.{suffix}"
    if suffix == "heic":
        pillow_heif.from_pillow(Image.fromarray(noise(40, 70, 3))).save(path)
    else:
        save_image(Photo(noise(40, 70, 3, dtype=dtype)), path)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("pixels were decoded"))
    assert image_size(path) == (70, 40)


def test_the_size_is_refused_for_what_open_image_refuses_by_the_header(tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    save_image(Photo(noise(40, 70, 3)), path)
    monkeypatch.setattr(input_formats, "MAX_PIXELS", 2000)
    for refused in (path, tmp_path / "gone.png", tmp_path):
        with pytest.raises(ImageError) as by_size:
            image_size(refused)
        with pytest.raises(ImageError) as by_photo:
            open_image(refused)
        assert str(by_size.value) == str(by_photo.value)

"""Files that can't be used are refused by their headers, in a sentence fit for a web page."""

import io
import struct
import zlib

import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image, ImageFile

from denoiser import image_io, input_formats
from denoiser.errors import ImageError
from denoiser.image_io import Photo, image_size, is_photo_name, open_image, save_image


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


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
def test_further_pictures_in_a_file_are_noted(tmp_path, name, what):
    photo = open_image(several(tmp_path / name))
    assert photo.pixels.min() > 250
    assert photo.is_part and photo.notes == (f"Only the {what} of {name!r} was read; it has more.",)
    assert photo.with_pixels(photo.pixels).is_part
    Image.new("RGB", (64, 48)).save(tmp_path / "single.png")
    assert not open_image(tmp_path / "single.png").is_part


def test_thumbnails_do_not_count_as_further_pictures(tmp_path):
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


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height, depth=8):
    chunks = {b"IHDR": struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0), b"IDAT": zlib.compress(b"\0" * 99)}
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks.items()) + png_chunk(b"IEND", b"")


def tiff(samples, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **options)
    return buffer.getvalue()


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
        ("float16.tif", tiff(np.ones((5, 7), np.float16)), "unusual pixels"),
        ("spot.tif", tiff(np.ones((5, 7, 2), np.uint8), extrasamples=["unspecified"]), "without extra channels"),
        ("deep.tif", encoded("TIFF", "I", scale=300), "beyond 16 bits"),
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

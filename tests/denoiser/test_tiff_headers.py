"""TIFF directories and EXIF blocks that ask for more than photos need are refused; odd but honest ones pass."""

import struct
import zlib

import numpy as np
import pytest
from memory import peak_of
from odd_files import (
    BYTES,
    EXIF_IFD,
    INTEROP_IFD,
    LONG,
    PIXELS,
    RATIONAL,
    SHORT,
    UNDEFINED,
    block,
    directory,
    exif_in,
    jpeg,
    png,
    sharing,
    tiff,
)

from denoiser.errors import ImageError
from denoiser.header_budget import MAX_METADATA_BYTES
from denoiser.image_io import image_size, open_image
from denoiser.tiff_headers import check_exif


@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
def test_tags_of_a_tiff_that_share_their_bytes_are_refused(opened, big):
    size = 1 << 20
    extra = [(40_000 + number, UNDEFINED, size, 256) for number in range(300)]

    def read():
        with pytest.raises(ImageError, match="more metadata than the file has room for"):
            opened(tiff(extra, bytes(size), big=big))

    assert peak_of(read)[1] < 50 << 20


FORMATS_WITH_EXIF = ["JPEG", "JPEG in two segments", "PNG", "PNG's text", "WEBP", "AVIF", "HEIC"]


@pytest.mark.parametrize("kind", FORMATS_WITH_EXIF)
def test_tags_of_exif_that_share_their_bytes_are_refused(opened, kind):
    bomb = sharing(500, 40_000)
    for function in (open_image, image_size) if "JPEG" in kind or kind == "AVIF" else (open_image,):
        with pytest.raises(ImageError, match="more metadata than the file has room for"):
            opened(exif_in(kind, bomb), function)


@pytest.mark.parametrize("pointers", [[EXIF_IFD], [0x8825], [EXIF_IFD, INTEROP_IFD]], ids=str)
def test_nested_directories_are_checked(opened, pointers):
    exif, at = b"", 8
    for pointer in pointers:
        at += len(directory([(pointer, LONG, 1, 0)]))
        exif += directory([(pointer, LONG, 1, at)])
    tags = 500
    start = at + len(directory([(0, 0, 0, 0)] * tags))
    exif += directory([(40_000 + number, UNDEFINED, 40_000, start) for number in range(tags)]) + bytes(40_000)
    exif = b"II*\0\x08\0\0\0" + exif
    with pytest.raises(ImageError, match="more metadata"):
        opened(exif_in("PNG", exif))
    with pytest.raises(ImageError, match="more metadata"):
        check_exif(b"Exif\0\0" * 3 + exif, "x")


def test_the_list_of_pictures_in_an_mpo_is_checked(opened):
    with pytest.raises(ImageError, match="more metadata"):
        opened(jpeg((0xE2, b"MPF\0" + sharing(500, 40_000))))


def test_pages_that_share_their_bytes_are_refused(opened):
    page = [(40_000, UNDEFINED, 100_000, 12)]
    chain, at = b"", 12 + 100_000
    for _ in range(50):
        at += len(directory(page))
        chain += directory(page, following=at)
    with pytest.raises(ImageError, match="more metadata"):
        opened(b"II*\0" + struct.pack("<L", 12 + 100_000) + bytes(4 + 100_000) + chain)


def test_a_tag_of_millions_of_numbers_is_refused(opened):
    count = (1 << 20) + 1
    with pytest.raises(ImageError, match="a tag of over 1,048,576 numbers"):
        opened(tiff([(40_000, SHORT, count, 256)], bytes(2 * count)))
    with pytest.raises(ImageError, match="KiB of metadata"):
        opened(png((b"eXIf", bytes(MAX_METADATA_BYTES + 1))))
    aside = directory([(40_000, BYTES, MAX_METADATA_BYTES + 1, 256)])
    data = bytes(MAX_METADATA_BYTES + 1)
    with pytest.raises(ImageError, match="KiB of metadata"):
        opened(tiff([(EXIF_IFD, LONG, 1, 256 + len(data))], data + aside))


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("kind", FORMATS_WITH_EXIF)
def test_a_few_shared_or_missing_bytes_are_accepted(opened, kind):
    values = struct.pack("<LL", 300, 1)
    tags = [
        (282, RATIONAL, 1, 0),
        (283, RATIONAL, 1, 0),
        (40_001, UNDEFINED, 1 << 30, 0),
        (EXIF_IFD, LONG, 1, [1 << 31]),
    ]
    photo = opened(exif_in(kind, block(tags, values)))
    assert photo.pixels.shape == PIXELS.shape


def test_cyclic_directories_are_read_once(opened):
    first = directory([(EXIF_IFD, LONG, 1, 8), (0x8825, LONG, 1, 0)], following=8)
    check_exif(b"II*\0\x08\0\0\0" + first, "x")
    for data in (
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0",
        b"II*\0\x08\0\0\0\xff\xff",
        b"II+\0" + bytes(12),
    ):
        check_exif(data, "x")


@pytest.mark.parametrize("compression", [8, 1], ids=["deflate", "none"])
def test_a_tile_far_larger_than_the_picture_is_refused(opened, compression):
    content = zlib.compress(bytes(1000))
    where = [(324, LONG, 1, 256), (325, LONG, 1, [len(content)])]
    data = tiff(where, content, _322=20_000, _323=20_000, _259=compression)

    def read():
        with pytest.raises(ImageError, match="tiles are far larger"):
            opened(data)

    assert peak_of(read)[1] < 50 << 20
    with pytest.raises(ImageError, match="too many"):
        opened(tiff(_256=60_000, _257=1_500, _277=9))


def test_a_tile_somewhat_larger_than_the_picture_is_read(opened, tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "tiled.tif", PIXELS, tile=(512, 512), compression="zlib", photometric="rgb")
    np.testing.assert_array_equal(open_image(tmp_path / "tiled.tif").pixels, PIXELS)


def test_a_big_endian_bigtiff_is_refused_by_name(opened):
    with pytest.raises(ImageError, match="big-endian BigTIFF"):
        opened(b"MM\0+\0\x08\0\0" + struct.pack(">Q", 16) + bytes(100))

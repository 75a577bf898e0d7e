"""JPEG, PNG, GIF and HEIC headers that ask for more than photos need are refused; odd but honest ones pass."""

import io
import struct
import time
import zlib

import numpy as np
import pillow_heif
import pytest
from memory import peak_of
from odd_files import (
    LONG,
    PIXELS,
    blocks,
    gif,
    jpeg,
    png,
    tiff,
)
from PIL import Image

from denoiser import file_headers
from denoiser.errors import ImageError
from denoiser.file_headers import MAX_SCANS
from denoiser.header_budget import MAX_METADATA_BYTES, MAX_PARTS


def with_scans(count):
    """A progressive JPEG whose last scan is repeated, with `count` scans in all."""
    data = jpeg(progressive=True)
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[last:end] * (count - data.count(b"\xff\xda")) + data[end:]


def test_a_jpeg_of_many_scans_is_refused(opened):
    assert opened(with_scans(MAX_SCANS)).width == 16
    for data in (
        with_scans(MAX_SCANS + 1),
        with_scans(MAX_SCANS + 1) + jpeg(),
        with_scans(5000).replace(b"\xff\xda", b"\xff\xff\xda"),
    ):
        with pytest.raises(ImageError, match=r"scans; up to 100 are read"):
            opened(data)


def test_only_real_scans_count(opened):
    assert opened(jpeg((0xEC, b"\xff\xda" * 500)) + b"\xff\xda" * 500).width == 16
    noisy = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)).save(
        noisy, "JPEG", quality=100, restart_marker_blocks=1
    )
    assert noisy.getvalue().count(b"\xff\x00") > 500 and opened(noisy.getvalue()).width == 300


def test_markers_are_found_across_the_ends_of_blocks(opened, monkeypatch):
    data = with_scans(MAX_SCANS + 1)
    for size in (2, 3, 5, 7, 64):
        monkeypatch.setattr(file_headers, "_BLOCK", size)
        with pytest.raises(ImageError, match="scans"):
            opened(data)
        assert opened(jpeg()).width == 16


@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda: png(*[(b"teSt", b"")] * (MAX_PARTS + 1)), id="PNG"),
        pytest.param(lambda: jpeg(*[(0xEC, b"")] * (MAX_PARTS + 1)), id="JPEG"),
        pytest.param(lambda: gif(b"!\xfe" + blocks(bytes(MAX_PARTS + 1), 1)), id="GIF"),
        pytest.param(lambda: tiff([(40_000, LONG, 1, [0])] * MAX_PARTS, big=True), id="BigTIFF"),
        pytest.param(lambda: empty_pages(MAX_PARTS + 1), id="pages"),
    ],
)
def test_a_file_of_hundreds_of_thousands_of_parts_is_refused(opened, data):
    content, started = data(), time.monotonic()
    with pytest.raises(ImageError, match="parts"):
        opened(content)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
def test_a_png_of_many_texts_or_profiles_is_refused(opened, kind):
    text = b"name\0" + {b"iCCP": b"\0", b"zTXt": b"\0", b"iTXt": b"\1\0\0\xff\0"}[kind] + zlib.compress(bytes(1000))
    assert opened(png((kind, text))).width == 16
    with pytest.raises(ImageError, match="over 100 texts and profiles"):
        opened(png(*[(kind, text)] * 101))


def empty_pages(count):
    offsets = range(8, 8 + 6 * count, 6)
    return b"II*\0\x08\0\0\0" + b"".join(struct.pack("<HL", 0, offset + 6) for offset in offsets)


def test_a_long_comment_of_a_gif_is_refused(opened):
    """Pillow joins its blocks one by one, which takes quadratic time."""
    for label in (b"\xfe", b"\xff"):
        with pytest.raises(ImageError, match="KiB of metadata"):
            opened(gif(b"!" + label + blocks(bytes(MAX_METADATA_BYTES + 1))))
    hidden = b"!\xff\0" + blocks(b"!\xfe") + b"!\xfe" + blocks(bytes(MAX_METADATA_BYTES + 1))
    with pytest.raises(ImageError, match="KiB of metadata"):
        opened(gif(hidden))
    assert opened(gif(b"!\xfe" + blocks(bytes(100_000)))).width == 16


def box(kind, content):
    return struct.pack(">L4s", len(content) + 8, kind) + content


def heic_with_items(count, version):
    """A HEIC that lists its EXIF `count` more times."""
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(PIXELS)).save(buffer, exif=b"Exif\0\0II*\0" + bytes(100_000))
    data = buffer.getvalue()
    at = data.index(b"iloc") - 4
    length = int.from_bytes(data[at : at + 4], "big")
    items, place = [], at + 16
    for _ in range(2):  # the picture and the EXIF: number, data reference, one part
        number, _, base, _, start, size = struct.unpack_from(">HHLHLL", data, place)
        items.append((number, base + start, size))
        place += 18
    items += [(1000 + number, *items[1][1:]) for number in range(count)]

    def iloc(shift):
        head = bytes([version, 0, 0, 0, 0x44, 0]) + struct.pack(">L" if version == 2 else ">H", len(items))
        entry = {0: ">HHHLL", 1: ">HHHHLL", 2: ">LHHHLL"}[version]
        fill = (0, 1) if version == 0 else (0, 0, 1)
        return box(
            b"iloc", head + b"".join(struct.pack(entry, n, *fill, start + shift, size) for n, start, size in items)
        )

    infe = b"".join(box(b"infe", b"\2\0\0\1" + struct.pack(">HH", 1000 + n, 0) + b"Exif\0") for n in range(count))
    cdsc = b"".join(box(b"cdsc", struct.pack(">HHH", 1000 + n, 1, 1)) for n in range(count))
    growth = len(iloc(0)) - length + len(infe) + len(cdsc)
    out = data[:at] + iloc(growth) + data[at + length :]
    for kind, more, counter in ((b"iinf", infe, 4), (b"iref", cdsc, None)):
        at = out.index(kind) - 4
        end = at + int.from_bytes(out[at : at + 4], "big")
        inside = out[at + 8 : end]
        if counter:
            inside = inside[:4] + struct.pack(">H", 2 + count) + inside[6:]
        out = out[:at] + box(kind, inside + more) + out[end:]
    at = out.index(b"meta") - 4
    return out[:at] + struct.pack(">L", int.from_bytes(out[at : at + 4], "big") + growth) + out[at + 4 :]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("version", [0, 1, 2])
def test_items_of_a_heic_that_share_their_bytes_are_refused(opened, version):
    assert opened(heic_with_items(0, version)).width == 16

    def read():
        with pytest.raises(ImageError, match="more metadata"):
            opened(heic_with_items(900, version))

    assert peak_of(read)[1] < 50 << 20

"""Headers that ask for more than photos need are refused before they cost memory or time; odd but honest ones pass."""

import io
import struct
import time
import zlib

import numpy as np
import pillow_heif
import pytest
from memory import peak_of
from PIL import Image, PngImagePlugin

from denoiser import file_headers
from denoiser.errors import ImageError
from denoiser.file_headers import MAX_SCANS
from denoiser.header_budget import MAX_METADATA_BYTES, MAX_PARTS
from denoiser.image_io import image_size, open_image
from denoiser.tiff_headers import check_exif

EXIF_IFD, INTEROP_IFD, BYTES, SHORT, LONG, RATIONAL, UNDEFINED = 0x8769, 0xA005, 1, 3, 4, 5, 7
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


def directory(entries, order="<", big=False, following=0):
    """A TIFF directory of (tag, type, count, value or offset)."""
    entry, count, offset = (order + kind for kind in (("HHQQ", "Q", "Q") if big else ("HHLL", "H", "L")))
    return (
        struct.pack(count, len(entries))
        + b"".join(struct.pack(entry, *e) for e in entries)
        + struct.pack(offset, following)
    )


def block(entries, data=b"", big=False, **options):
    """A TIFF or EXIF block of one directory; offsets count from the start of the data, which comes first."""
    head = b"II+\0\x08\0\0\0" if big else b"II*\0"
    start = len(head) + (8 if big else 4)
    tags = [
        (tag, kind, count, value + start if isinstance(value, int) else value[0]) for tag, kind, count, value in entries
    ]
    return head + struct.pack("<Q" if big else "<L", start + len(data)) + data + directory(tags, big=big, **options)


def sharing(tags, size, kind=UNDEFINED, **options):
    """A block whose tags all mean the same bytes: tags × size."""
    return block([(40_000 + number, kind, size, 0) for number in range(tags)], bytes(size), **options)


def tiff(extra=(), data=b"", big=False, **values):
    """A grey TIFF of 16×16 pixels, uncompressed, with further tags."""
    plain = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 277: 1, 278: 16, 279: 256} | {
        int(k[1:]): v for k, v in values.items()
    }
    entries = [(tag, LONG, 1, [value]) for tag, value in plain.items()] + [(273, LONG, 1, 0), *extra]
    return block(sorted(entries, key=lambda entry: entry[0]), PIXELS[..., 0].tobytes() + data, big=big)


def jpeg(*segments, **options):
    """A JPEG with segments (marker, content) behind its start."""
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG", **options)
    data = buffer.getvalue()
    parts = b"".join(
        bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content for marker, content in segments
    )
    return data[:2] + parts + data[2:]


def png(*chunks):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG")
    data = buffer.getvalue()
    return data[:33] + b"".join(png_chunk(*chunk) for chunk in chunks) + data[33:]


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def exif_in(kind, exif):
    """A photo of a format with an EXIF block."""
    buffer = io.BytesIO()
    image = Image.fromarray(PIXELS)
    if kind == "JPEG":
        return jpeg((0xE1, b"Exif\0\0" + exif))
    if kind == "JPEG in two segments":
        half = len(exif) // 2
        return jpeg((0xE1, b"Exif\0\0" + exif[:half]), (0xE1, b"Exif\0\0" + exif[half:]))
    if kind == "PNG":
        return png((b"eXIf", exif))
    if kind == "PNG's text":
        profile = f"\nexif\n{len(exif):8}\n{exif.hex()}"
        info = PngImagePlugin.PngInfo()
        info.add_text("Raw profile type exif", profile, zip=True)
        image.save(buffer, "PNG", pnginfo=info)
    elif kind == "HEIC":
        pillow_heif.from_pillow(image).save(buffer, exif=exif)
    else:
        image.save(buffer, kind, exif=exif)
    return buffer.getvalue()


def gif(*parts):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[..., 0]).save(buffer, "GIF")
    data = buffer.getvalue()
    start = data.index(b",", 13 + 768)
    return data[:start] + b"".join(parts) + data[start:]


def blocks(content, size=255):
    parts = [content[at : at + size] for at in range(0, len(content), size)]
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


@pytest.fixture
def opened(tmp_path):
    """Opens the bytes as a file."""

    def read(data, function=open_image):
        (tmp_path / "x").write_bytes(data)
        return function(tmp_path / "x")

    return read


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
def test_directories_behind_others_are_looked_through_too(opened, pointers):
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


def test_the_list_of_an_mpos_pictures_is_looked_through_too(opened):
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
def test_what_two_tags_may_share_and_what_is_not_there_are_no_reason_to_refuse(opened, kind):
    values = struct.pack("<LL", 300, 1)
    tags = [
        (282, RATIONAL, 1, 0),
        (283, RATIONAL, 1, 0),
        (40_001, UNDEFINED, 1 << 30, 0),
        (EXIF_IFD, LONG, 1, [1 << 31]),
    ]
    photo = opened(exif_in(kind, block(tags, values)))
    assert photo.pixels.shape == PIXELS.shape


def test_directories_that_lead_in_circles_come_to_an_end(opened):
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


def with_scans(count):
    """A progressive JPEG whose last scan is there so many times."""
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


def test_what_looks_like_a_scan_but_is_none_does_not_count(opened):
    assert opened(jpeg((0xEC, b"\xff\xda" * 500)) + b"\xff\xda" * 500).width == 16
    noisy = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)).save(
        noisy, "JPEG", quality=100, restart_marker_blocks=1
    )
    assert noisy.getvalue().count(b"\xff\x00") > 500 and opened(noisy.getvalue()).width == 300


def test_markers_are_found_wherever_a_block_of_the_file_ends(opened, monkeypatch):
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
    """Pillow puts its blocks together one by one: twice as long takes four times as long."""
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
    """A HEIC that lists its EXIF so many times more."""
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


def test_a_big_endian_bigtiff_is_refused_by_name(opened):
    with pytest.raises(ImageError, match="big-endian BigTIFF"):
        opened(b"MM\0+\0\x08\0\0" + struct.pack(">Q", 16) + bytes(100))

"""Photo files built byte by byte, with any headers that a test needs."""

import io
import struct
import zlib

import numpy as np
import pillow_heif
from PIL import Image, PngImagePlugin

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

"""Checks the headers of photo files before any library reads them.

Libraries trust headers: one megabyte in which thousands of tags share the same bytes becomes gigabytes in memory, and
a JPEG with a million empty scans takes hours. Files that request more than any photo needs are refused here. All other
checks are left to the libraries.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from .errors import ImageError
from .header_budget import MAX_PARTS, REMOVE, check_parts, check_size, check_used
from .tiff_headers import TIFF_MAGIC, check_exif, check_tiff

MAX_SCANS = 100  # of a JPEG; encoders write up to a dozen, and decoding each is a pass over all pixels
MAX_DEFLATED = 100  # compressed texts and profiles of a PNG; 8 KB of each can become 8 MB
_DEFLATED = (b"iCCP", b"zTXt", b"iTXt")

# A marker of a JPEG. 0xFF 0x00 is pixel data, and 0xD0 to 0xD7 are restart markers inside it.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
_JPEG_SCAN, _JPEG_END, _JPEG_BARE = (
    0xDA,
    0xD9,
    (0x01, 0xC8, 0xD8, 0xD9, *range(0xF0, 0xFE)),
)  # bare: markers without content
_BLOCK = 1 << 12


@dataclass(frozen=True)
class Headers:
    """Facts found while checking the headers."""

    more: str = ""  # what a TIFF or GIF holds besides the image that is read: "pages", "layers" or "frames"
    long_tags: frozenset[int] = frozenset()  # tags of a TIFF's first page that are too long for EXIF
    cicp: tuple[int, ...] | None = None  # of a PNG: colour primaries, transfer function, matrix, range (ITU-T H.273)


def check_headers(file: BinaryIO, name: str) -> Headers:
    """Check the headers of a file and rewind it. Raises ImageError if they request more than any photo needs."""
    start = file.read(8)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    try:
        if start[:4] == b"MM\0+":  # Pillow misreads it as another kind of TIFF
            raise ImageError(f"{name!r} is a big-endian BigTIFF, which can't be read. Export it as a plain TIFF.")
        if start[:4] in TIFF_MAGIC:
            return Headers(*check_tiff(file, size, name))
        if start.startswith(b"\xff\xd8\xff"):
            return _check_jpeg(file, name)
        if start == b"\x89PNG\r\n\x1a\n":
            return _check_png(file, name)
        if start[:6] in (b"GIF87a", b"GIF89a"):
            return _check_gif(file, name)
        if start[4:] == b"ftyp":
            return _check_heif(file, size, name)
        return Headers()
    finally:
        file.seek(0)


def _check_jpeg(file: BinaryIO, name: str) -> Headers:
    exif, scans = b"", 0
    for parts, (marker, size) in enumerate(_jpeg_markers(file)):
        check_parts(parts, name)
        scans += marker == _JPEG_SCAN
        if marker in (0xE1, 0xE2) and not scans:
            content = file.read(size)
            if content.startswith(b"Exif\0\0"):
                exif += content[6:]  # may continue in further segments
                check_size(len(exif), name)
            elif content.startswith(b"MPF\0"):  # the image list of an MPO, a TIFF directory too
                check_exif(content[4:], name)
    check_exif(exif, name)
    if scans > MAX_SCANS:
        raise ImageError(f"{name!r} has {scans:,} scans; up to {MAX_SCANS} are read. Export it as a plain JPEG.")
    return Headers()


def _jpeg_markers(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield (marker, bytes of content) up to the end of the image, with the file positioned at the content."""
    at, scanning = 2, False
    while True:
        file.seek(at)
        block = file.read(_BLOCK)
        found = _JPEG_MARKER.search(block)
        if found is None:
            if len(block) < 2:
                return
            at += len(block) - block.endswith(b"\xff")
            continue
        marker, at = found[1][0], at + found.end()
        if marker == _JPEG_END and scanning:
            return
        if marker in _JPEG_BARE:
            continue
        scanning |= marker == _JPEG_SCAN
        file.seek(at)
        size = max(2, int.from_bytes(file.read(2), "big"))
        yield marker, size - 2
        at += size


def _check_png(file: BinaryIO, name: str) -> Headers:
    cicp, at, deflated = None, 8, 0
    for parts in range(MAX_PARTS + 2):
        check_parts(parts, name)
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            break
        if head[4:] == b"cICP":
            cicp = tuple(file.read(4))
        deflated += head[4:] in _DEFLATED
        if deflated > MAX_DEFLATED:
            raise ImageError(f"{name!r} has over {MAX_DEFLATED} texts and profiles. {REMOVE}")
        at += 12 + int.from_bytes(head[:4], "big")
    return Headers(cicp=cicp if cicp and len(cicp) == 4 else None)


def _check_gif(file: BinaryIO, name: str) -> Headers:
    """Check a GIF up to its second frame. Pillow joins comments block by block, which takes hours for long ones."""
    flags = file.read(13)[10]
    file.seek(_palette_bytes(flags), io.SEEK_CUR)
    blocks = text = frames = 0
    while (kind := file.read(1)) not in (b"", b";"):
        if kind == b",":
            if frames:
                return Headers("frames")
            frames = 1
            descriptor = file.read(9)[-1:] or b"\0"
            file.seek(_palette_bytes(descriptor[0]) + 1, io.SEEK_CUR)
        elif kind == b"!":
            label = file.read(1)
        else:
            continue
        sizes = list(_gif_blocks(file, MAX_PARTS - blocks))
        if kind == b"!" and label != b"\xfe" and not sizes:  # Pillow then treats what follows as its blocks
            sizes = list(_gif_blocks(file, MAX_PARTS - blocks))
        blocks += len(sizes)
        text += sum(sizes) if kind == b"!" else 0
        check_parts(blocks, name)
        check_size(text, name)
    return Headers()


def _gif_blocks(file: BinaryIO, most: int) -> Iterator[int]:
    """Yield the sizes of the data blocks at the current position, at most `most` + 1 of them."""
    for _ in range(most + 1):
        size = file.read(1)
        if size in (b"", b"\0"):
            return
        file.seek(size[0], io.SEEK_CUR)
        yield size[0]


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 128 else 0


def _check_heif(file: BinaryIO, size: int, name: str) -> Headers:
    """Add up the items listed in a HEIC or AVIF: all are read when it is opened, even if they share their bytes."""
    used = 0
    for kind, start, end in _boxes(file, 0, size):
        for inner, first, last in _boxes(file, start + 4, end) if kind == b"meta" else ():
            if inner == b"iloc":
                file.seek(first)
                items = list(islice(_items(file.read(last - first)), MAX_PARTS + 1))
                check_parts(len(items), name)
                used += sum(length or size for start, length in items if start + length <= size)
    check_used(used, size, name)
    return Headers()


def _boxes(file: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end of the content) for the boxes of an ISO media file between two positions."""
    while at + 8 <= end:
        file.seek(at)
        length, kind, longer = struct.unpack(">L4sQ", file.read(16).ljust(16, b"\0"))
        start = at + (16 if length == 1 else 8)
        stop = end if length == 0 else at + (longer if length == 1 else length)
        if stop < start:
            return
        yield kind, start, min(stop, end)
        at = stop


def _items(iloc: bytes) -> Iterator[tuple[int, int]]:
    """Yield (start, length) for each extent listed in an iloc box; length 0 means the whole file."""
    content = io.BytesIO(iloc)

    def number(size: int) -> int:
        return int.from_bytes(content.read(size), "big")

    version, _, sizes = number(1), number(3), number(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 4 if version == 2 else 2
    for _ in range(number(wide)):
        number(wide + (4 if version else 2))
        base = number(base_size)
        for _ in range(number(2)):
            number(index_size if version else 0)
            start = base + number(offset_size)
            yield start, number(length_size)
        if content.tell() >= len(iloc):
            return

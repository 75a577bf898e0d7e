"""Checks the directories of TIFF files and EXIF blocks before any library reads them."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from .errors import ImageError
from .header_budget import REMOVE, check_parts, check_size, check_used

MAX_VALUES = 1 << 20  # numbers in one tag; each becomes a Python object
MAX_SAMPLES = 400_000_000  # 100 megapixels with alpha
MAX_TILE_SAMPLES = 1 << 26  # of a tile of a smaller image: 4096×4096 pixels of 4 samples
LONG_TAG_BYTES = 1 << 16  # longer values are layers or previews rather than EXIF

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"II\0*", b"MM*\0")  # all that Pillow accepts
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_STAY_BYTES = (1, 2, 7)  # types that libraries keep as bytes
_INTEGERS = {3: "H", 4: "L", 13: "L", 16: "Q"}
_EXIF_POINTERS = (0x8769, 0x8825, 0xA005)
_SUBFILE_TYPE, _WIDTH, _HEIGHT, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT, _LAYERS = 254, 256, 257, 277, 322, 323, 37724
_REDUCED_OR_MASK = 0b101  # of SUBFILE_TYPE


class _Tag(NamedTuple):
    number: int
    type: int
    values: int  # how many
    bytes: int  # outside its entry; 0 if they are not in the file
    value: int | None  # of a single integer


def check_exif(block: bytes, name: str) -> None:
    """Check an EXIF block before it is parsed. Raises ImageError if it holds more than any photo needs."""
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    check_size(len(block), name)
    for _ in _checked_directories(io.BytesIO(block), len(block), name):
        pass


def check_tiff(file: BinaryIO, size: int, name: str) -> tuple[str, frozenset[int]]:
    """Check a TIFF of `size` bytes at the start of `file`. Raises ImageError if it requests more than any photo needs.

    Returns what it holds besides its first page ("pages", "layers" or ""), and the tags of that page that are far too
    long for EXIF.
    """
    pages: list[dict[int, _Tag]] = []
    aside = 0
    for is_page, tags in _checked_directories(file, size, name):
        if is_page:
            pages.append({tag.number: tag for tag in tags})
        elif len(pages) == 1:  # EXIF of the first page; that of other pages is never read
            aside += sum(tag.bytes for tag in tags)
    check_size(aside, name)
    first, *others = pages or [{}]
    width, height, samples = (_value(first, number, 1) for number in (_WIDTH, _HEIGHT, _SAMPLES))
    if width * height * samples > MAX_SAMPLES:
        raise ImageError(f"{name!r} has {width}×{height} pixels of {samples} samples, too many. Scale it down first.")
    tile = _value(first, _TILE_WIDTH, 1) * _value(first, _TILE_HEIGHT, 1) * samples
    if tile > max((width + 16) * (height + 16) * samples, MAX_TILE_SAMPLES):  # tiles are rounded up to 16 pixels
        raise ImageError(
            f"{name!r} is damaged: its tiles are far larger than its {width}×{height} pixels. Export it again."
        )
    more = "layers" if _LAYERS in first else ""
    if not all(_value(page, _SUBFILE_TYPE, 0) & _REDUCED_OR_MASK for page in others):
        more = "pages"
    return more, frozenset(tag.number for tag in first.values() if tag.bytes > LONG_TAG_BYTES)


def _value(tags: dict[int, _Tag], number: int, default: int) -> int:
    value = tags[number].value if number in tags else None
    return default if value is None else value


def _checked_directories(block: BinaryIO, size: int, name: str) -> Iterator[tuple[bool, list[_Tag]]]:
    """Yield (is a page, tags) for each directory, and check that all fit into the block without overlapping."""
    used = parts = 0
    for is_page, tags in _directories(block, size):
        used += sum(tag.bytes + 12 for tag in tags)
        parts += len(tags) + 1
        check_parts(parts, name)
        check_used(used, size, name)
        if any(tag.bytes and tag.values > MAX_VALUES and tag.type not in _STAY_BYTES for tag in tags):
            raise ImageError(f"{name!r} has a tag of over {MAX_VALUES:,} numbers. {REMOVE}")
        yield is_page, tags


def _directories(block: BinaryIO, size: int) -> Iterator[tuple[bool, list[_Tag]]]:
    """Yield (is a page, tags) for each reachable directory, once; pages come before their EXIF directories."""
    head = block.read(16)
    if head[:4] not in TIFF_MAGIC or len(head) < 8:
        return
    order, big = "<" if head[:2] == b"II" else ">", head[2] == 43
    entry = struct.Struct(order + ("HHQ8s" if big else "HHL4s"))
    offset, count = (struct.Struct(order + letter) for letter in ("QQ" if big else "LH"))
    seen, waiting = set(), [(True, *offset.unpack_from(head.ljust(16, b"\0"), 8 if big else 4))]
    while waiting:
        is_page, start = waiting.pop()
        if start in seen or start + count.size > size:
            continue
        seen.add(start)
        block.seek(start)
        (entries,) = count.unpack(block.read(count.size))
        data = block.read(min(entries * entry.size, size))
        following = block.read(offset.size)
        if is_page and any(following) and len(following) == offset.size:
            waiting.append((True, *offset.unpack(following)))
        whole = len(data) // entry.size * entry.size
        tags = [_tag(order, size, *fields) for fields in entry.iter_unpack(data[:whole])]
        waiting += [(False, tag.value) for tag in tags if tag.number in _EXIF_POINTERS and tag.value is not None]
        yield is_page, tags


def _tag(order: str, size: int, number: int, type: int, count: int, field: bytes) -> _Tag:
    length, value = count * _TYPE_BYTES.get(type, 0), None
    if length > len(field):
        start = int.from_bytes(field, "little" if order == "<" else "big")
        return _Tag(number, type, count, length if start + length <= size else 0, None)
    if count == 1 and type in _INTEGERS:
        (value,) = struct.unpack_from(order + _INTEGERS[type], field)
    return _Tag(number, type, count, 0, value)

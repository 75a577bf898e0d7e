"""Limits on what the headers of one photo file may request."""

from .errors import ImageError

MAX_METADATA_BYTES = 1 << 20  # of EXIF, of XMP, and of the text of a GIF
MAX_PARTS = 1 << 18  # tags, segments, chunks or blocks per file; the libraries spend some microseconds on each
SHARED_BYTES = 4096  # that may be counted twice, since some writers store two equal values once

REMOVE = "Remove its metadata, or export it again."


def check_size(size: int, name: str) -> None:
    """Raise ImageError if `size` bytes of metadata are too many."""
    if size > MAX_METADATA_BYTES:
        most = MAX_METADATA_BYTES >> 10
        raise ImageError(f"{name!r} has {size >> 10:,} KiB of metadata; up to {most:,} are read. {REMOVE}")


def check_parts(parts: int, name: str) -> None:
    """Raise ImageError if a file has too many parts."""
    if parts > MAX_PARTS:
        raise ImageError(f"{name!r} consists of over {MAX_PARTS:,} parts. {REMOVE}")


def check_used(used: int, size: int, name: str) -> None:
    """Raise ImageError if parts of `used` bytes in total can't fit into `size` bytes without overlapping."""
    if used > size + SHARED_BYTES:
        raise ImageError(f"{name!r} lists more metadata than the file has room for. {REMOVE}")

"""How much the headers of one photo file may ask for."""

from .errors import ImageError

MAX_METADATA_BYTES = 1 << 20  # of EXIF, of XMP, of the text of a GIF
MAX_PARTS = 1 << 18  # tags, segments, chunks or blocks of one file: each costs the libraries some microseconds
SHARED_BYTES = 4096  # that may be counted twice: some writers let two equal values share their place

REMOVE = "Remove its metadata, or export it anew."


def check_size(size: int, name: str) -> None:
    """Raise ImageError for so many bytes of metadata."""
    if size > MAX_METADATA_BYTES:
        most = MAX_METADATA_BYTES >> 10
        raise ImageError(f"{name!r} has {size >> 10:,} KiB of metadata; up to {most:,} are read. {REMOVE}")


def check_parts(parts: int, name: str) -> None:
    """Raise ImageError for a file of so many parts."""
    if parts > MAX_PARTS:
        raise ImageError(f"{name!r} consists of over {MAX_PARTS:,} parts. {REMOVE}")


def check_used(used: int, size: int, name: str) -> None:
    """Raise ImageError where parts that take so many bytes in all can't lie beside each other in those there are."""
    if used > size + SHARED_BYTES:
        raise ImageError(f"{name!r} lists more metadata than there are bytes for it. {REMOVE}")

"""Small files that ask for much memory or time."""

import struct
from io import BytesIO

from PIL import Image


def tiff_of_shared_bytes(tags=500, size=1 << 20):
    """16×16 pixels, and tags that all have the same megabyte for a value."""
    entries = {256: (4, 1, 16), 257: (4, 1, 16), 258: (3, 1, 8), 262: (3, 1, 1), 273: (4, 1, 8), 279: (4, 1, 256)}
    entries |= {50_000 + number: (7, size, 8) for number in range(tags)}
    directory = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in entries.items())
    return b"II*\0" + struct.pack("<I", 8 + size) + bytes(size) + struct.pack("<H", len(entries)) + directory + bytes(4)


def tiff_of_huge_tiles(side=20_000):
    """16×16 pixels in one tile that is said to be much bigger."""
    file = BytesIO()
    Image.new("RGB", (16, 16)).save(file, "TIFF", compression="tiff_deflate", tiffinfo={322: side, 323: side})
    return file.getvalue()


def jpeg_of_many_scans(side=4000, repeats=400):
    """A progressive JPEG with its last scan again and again, which adds nothing."""
    file = BytesIO()
    Image.new("L", (side, side), 128).save(file, "JPEG", progressive=True, quality=10)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * repeats + data[-2:]

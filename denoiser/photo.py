"""A photo in memory: its pixels, and what its file said beside them."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass, replace

import numpy as np
from PIL import ExifTags, Image

from .errors import ImageError

# How the pixels are stored, Orientation (274) included. A TIFF lists it beside the EXIF tags; none of it holds for the
# pixels handed on, and in another file it would do damage. The last line is XMP, IPTC, Photoshop and ICC.
LAYOUT_TAGS = {*range(254, 267), *range(273, 282), 284, 317, *range(320, 326), 330, 338, 339, 347, *range(512, 533)}
LAYOUT_TAGS |= {700, 33723, 34377, 34675}
# What Pillow's decoders, encoders and EXIF parser raise on bytes or values that they don't expect.
PILLOW_ERRORS = (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
PILLOW_ERRORS += (AssertionError, RuntimeError, struct.error, zlib.error)


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture as it is meant to be seen, with what its file said beside the pixels.

    pixels: (H, W, 3) RGB or (H, W) grey; uint8 or uint16 over the full range; upright.
    alpha: (H, W) of the same dtype, 0 = transparent; None where the file had none.
    icc_profile: of the same colour space as the pixels; None stands for sRGB.
    exif: an EXIF block without Orientation, since the pixels are upright already.
    xmp: an XMP packet without Orientation.

    Raises ImageError where pixels or alpha are anything else.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if dtype not in (np.uint8, np.uint16) or not (len(shape) == 2 or shape[2:] == (3,)) or 0 in shape:
            raise ImageError(f"Pixels must be uint8 or uint16, (H, W) or (H, W, 3); these are {dtype} {shape}.")
        alpha = self.alpha
        if alpha is not None and (alpha.shape != shape[:2] or alpha.dtype != dtype):
            raise ImageError(
                f"Alpha must be {dtype} {shape[:2]}, like the pixels; this is {alpha.dtype} {alpha.shape}."
            )

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def bit_depth(self) -> int:
        """Bits a channel: 8 or 16."""
        return self.pixels.dtype.itemsize * 8

    def with_pixels(self, pixels: np.ndarray) -> Photo:
        """The same photo with other pixels of the same height and width; raises ImageError where they differ."""
        if pixels.shape[:2] != self.pixels.shape[:2]:
            raise ImageError(f"The new pixels must be {self.pixels.shape[:2]} high and wide, not {pixels.shape[:2]}.")
        return replace(self, pixels=pixels)

    def without_location(self) -> Photo:
        """The same photo without the GPS data of its EXIF and XMP; the rest of both stays.

        A block that can't be parsed goes as a whole. Place names that a person typed in are not looked for.
        """
        exif = self.exif and _exif_without_gps(self.exif)
        return replace(self, exif=exif, xmp=self.xmp and _xmp_without_gps(self.xmp))


def exif_block(exif: Image.Exif) -> bytes | None:
    """The tags without those on the layout of the pixels, as the block that files hold; None if nothing is left.

    Raises one of PILLOW_ERRORS where a value can't be written.
    """
    for tag in LAYOUT_TAGS.intersection(exif):
        del exif[tag]
    return exif.tobytes() if exif else None


def _exif_without_gps(block: bytes) -> bytes | None:
    try:
        exif = Image.Exif()
        exif.load(block)
        if ExifTags.IFD.GPSInfo in exif:
            del exif[ExifTags.IFD.GPSInfo]
        return exif.tobytes() if exif else None
    except PILLOW_ERRORS:
        return None


def xmp_without(packet: bytes, name: bytes) -> bytes:
    """An XMP packet without the properties whose local name matches the pattern, whatever their prefix and case.

    XMP writes a property as an attribute or as an element, as the program pleases.
    """
    attribute = rb"""\s[\w.-]+:%b\s*=\s*("[^"]*"|'[^']*')""" % name
    element = rb"<([\w.-]+:%b)(?:\s[^<>]*)?(?:/>|>[^<]*</\1\s*>)" % name  # one with plain text, as all those asked for
    return re.sub(element, b"", re.sub(attribute, b"", packet, flags=re.I), flags=re.I)


def _xmp_without_gps(packet: bytes) -> bytes | None:
    packet = xmp_without(packet, rb"GPS\w*")  # cameras' exif:GPSLatitude, drones' drone-dji:GpsLatitude
    # Where one is left in a spelling unknown here, or the packet is not in UTF-8, the location counts for more.
    return None if b"\0" in packet or b"gps" in packet.lower() else packet

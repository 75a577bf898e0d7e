"""EXIF and XMP: keeping what still applies to upright, denoised pixels, and removing the rest."""

from __future__ import annotations

import re

from PIL import ExifTags, Image

from .errors import LIBRARY_ERRORS

# Tags on how pixels are stored, including Orientation (274). TIFF lists them beside the EXIF tags. They don't apply to
# the pixels returned, and would corrupt other files. The last line is XMP, IPTC, Photoshop's two blocks and ICC.
LAYOUT_TAGS = {*range(254, 267), *range(273, 282), 284, 317, *range(320, 326), 330, 338, 339, 347, *range(512, 533)}
LAYOUT_TAGS |= {700, 33723, 34377, 37724, 34675}
LONG_VALUE = 4096  # bytes; oversized EXIF blocks consist mostly of longer values: maker notes and previews
_WIDTH, _HEIGHT = 40962, 40963
_INCHES, _CENTIMETRES = 2, 3
CENTIMETRES_PER_INCH = 2.54
# Usual namespace prefixes of XMP properties that announce further images beside the main one (gain maps, motion photos,
# depth maps), or a continuation of the XMP packet.
_COMPANIONS = rb"(?:hdrgm|HDRGainMap|G?Container|Item|GCamera|GDepth|GImage|apdi|xmpNote)"


def exif_block(
    exif: Image.Exif,
    size: tuple[int, int],
    resolution: tuple[float, float] | None = None,
    without: frozenset[int] = frozenset(),
) -> bytes | None:
    """Encode EXIF tags as a block for an image of (width, height); None if there are none.

    LAYOUT_TAGS and the tags in `without` are left out. resolution, (across, down) in pixels per inch, is used if the
    tags have none. Raises one of LIBRARY_ERRORS if a value can't be written.
    """
    for tag in (LAYOUT_TAGS | without).intersection(exif):
        del exif[tag]
    if resolution and ExifTags.Base.XResolution not in exif:
        exif[ExifTags.Base.XResolution], exif[ExifTags.Base.YResolution] = resolution
        exif[ExifTags.Base.ResolutionUnit] = _INCHES
    if ExifTags.IFD.Exif in exif:
        details = exif.get_ifd(ExifTags.IFD.Exif)
        details.update({tag: side for tag, side in zip((_WIDTH, _HEIGHT), size, strict=True) if tag in details})
    exif.bigtiff = False  # EXIF blocks are always written as plain TIFF
    return encode_exif(exif) if exif else None


def encode_exif(exif: Image.Exif, offset: int = 8) -> bytes:
    """Encode EXIF tags as a block whose first directory is at `offset`; texts keep the bytes they had in the file."""
    for directory in (exif, *(exif.get_ifd(tag) for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) if tag in exif)):
        directory.update({tag: _Text(value) for tag, value in directory.items() if isinstance(value, str)})
    return exif.tobytes(offset)


class _Text(str):
    """A text of EXIF. Pillow reads its bytes as Latin-1, and writes a question mark for each that is not ASCII."""

    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        return super().encode("latin-1")


def exif_without_gps(block: bytes) -> bytes | None:
    """Return an EXIF block without the location; None if nothing else is in it, or it can't be parsed."""
    try:
        exif = _parsed(block)
        if ExifTags.IFD.GPSInfo in exif:
            del exif[ExifTags.IFD.GPSInfo]
        return encode_exif(exif) if exif else None
    except LIBRARY_ERRORS:
        return None


def exif_without_long_values(block: bytes) -> bytes | None:
    """Return an EXIF block without values over LONG_VALUE; None if nothing is left, or it can't be parsed."""
    try:
        exif = _parsed(block)
        for tags in (exif, exif.get_ifd(ExifTags.IFD.Exif)):
            for tag in [
                tag for tag, value in tags.items() if isinstance(value, (bytes, str)) and len(value) > LONG_VALUE
            ]:
                del tags[tag]
        return encode_exif(exif) if exif else None
    except LIBRARY_ERRORS:
        return None


def resolution_of(block: bytes | None) -> tuple[float, float] | None:
    """Return the pixels per inch, (across, down), that an EXIF block states, or None."""
    try:
        exif = _parsed(block or b"")
        scale = {_INCHES: 1, _CENTIMETRES: CENTIMETRES_PER_INCH}[exif.get(ExifTags.Base.ResolutionUnit, _INCHES)]
        across, down = (float(exif[tag]) * scale for tag in (ExifTags.Base.XResolution, ExifTags.Base.YResolution))
    except LIBRARY_ERRORS:
        return None
    return (across, down) if 1 <= across < 65_536 and 1 <= down < 65_536 else None


def _parsed(block: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(block)
    return exif


def xmp_without(packet: bytes, name: bytes) -> bytes:
    """Return an XMP packet without the properties whose local name matches a pattern, in any namespace and case.

    Programs write properties as attributes or as elements; both are removed.
    """
    attribute = rb"""\s[\w.-]+:%b\s*=\s*("[^"]*"|'[^']*')""" % name
    element = rb"<([\w.-]+:%b)(?:\s[^<>]*)?(?:/>|>[^<]*</\1\s*>)" % name  # with plain text content, as in all uses here
    return re.sub(element, b"", re.sub(attribute, b"", packet, flags=re.I), flags=re.I)


def xmp_without_companions(packet: bytes) -> bytes:
    """Return an XMP packet without the properties that announce further images, which are not kept."""
    names = {b"prefix": _COMPANIONS}
    attribute = rb"""\s%(prefix)b:[\w.-]+\s*=\s*("[^"]*"|'[^']*')""" % names
    # An element that contains no other such element; each pass removes the innermost ones.
    element = (
        rb"<%(prefix)b:[\w.-]+(?:\s[^<>]*)?(?:/>|>[^<]*(?:<(?!/?%(prefix)b:)[^<]*)*</%(prefix)b:[\w.-]+\s*>)" % names
    )
    packet = re.sub(attribute, b"", packet)
    for _ in range(4):
        packet = re.sub(element, b"", packet)
    return packet


def xmp_without_gps(packet: bytes) -> bytes | None:
    """Return an XMP packet without the location; None if it can't be removed with certainty."""
    packet = xmp_without(packet, rb"GPS\w*")  # cameras' exif:GPSLatitude, drones' drone-dji:GpsLatitude
    # If an unknown spelling is left, or the packet is not UTF-8, privacy comes before the rest of the packet.
    return None if b"\0" in packet or b"gps" in packet.lower() else packet

"""EXIF and XMP: what of them still holds once the pixels are upright and clean, and what has to go."""

from __future__ import annotations

import re

from PIL import ExifTags, Image

from .errors import LIBRARY_ERRORS

# How the pixels are stored, Orientation (274) included. A TIFF lists it beside the EXIF tags; none of it holds for the
# pixels handed on, and in another file it would do damage. The last line is XMP, IPTC, Photoshop's two and ICC.
LAYOUT_TAGS = {*range(254, 267), *range(273, 282), 284, 317, *range(320, 326), 330, 338, 339, 347, *range(512, 533)}
LAYOUT_TAGS |= {700, 33723, 34377, 37724, 34675}
LONG_VALUE = 4096  # bytes; most of an EXIF block too long for its file is in values beyond it: makers' notes, previews
_WIDTH, _HEIGHT = 40962, 40963
_INCHES, _CENTIMETRES = 2, 3
CENTIMETRES_PER_INCH = 2.54
# What announces pictures that stand beside the main one, by the usual prefixes of their namespaces: gain maps, motion
# photos, depth maps, and the part of an XMP packet that didn't fit into it.
_COMPANIONS = rb"(?:hdrgm|HDRGainMap|G?Container|Item|GCamera|GDepth|GImage|apdi|xmpNote)"


def exif_block(
    exif: Image.Exif,
    size: tuple[int, int],
    resolution: tuple[float, float] | None = None,
    without: frozenset[int] = frozenset(),
) -> bytes | None:
    """The tags as a block that files hold, for a picture of (width, height); None if there are none.

    Those on the layout of the pixels are left out, as are those in `without`. resolution, in pixels per inch, is taken
    where the tags have none. Raises one of LIBRARY_ERRORS where a value can't be written.
    """
    for tag in (LAYOUT_TAGS | without).intersection(exif):
        del exif[tag]
    if resolution and ExifTags.Base.XResolution not in exif:
        exif[ExifTags.Base.XResolution], exif[ExifTags.Base.YResolution] = resolution
        exif[ExifTags.Base.ResolutionUnit] = _INCHES
    if ExifTags.IFD.Exif in exif:
        details = exif.get_ifd(ExifTags.IFD.Exif)
        details.update({tag: side for tag, side in zip((_WIDTH, _HEIGHT), size, strict=True) if tag in details})
    exif.bigtiff = False  # the block of a BigTIFF is a plain one in every file, its own included
    return exif.tobytes() if exif else None


def exif_without_gps(block: bytes) -> bytes | None:
    """An EXIF block without the location; None if nothing else was in it, or it can't be parsed."""
    try:
        exif = _parsed(block)
        if ExifTags.IFD.GPSInfo in exif:
            del exif[ExifTags.IFD.GPSInfo]
        return exif.tobytes() if exif else None
    except LIBRARY_ERRORS:
        return None


def exif_without_long_values(block: bytes) -> bytes | None:
    """An EXIF block without the values over LONG_VALUE; None if nothing else was in it, or it can't be parsed."""
    try:
        exif = _parsed(block)
        for tags in (exif, exif.get_ifd(ExifTags.IFD.Exif)):
            for tag in [
                tag for tag, value in tags.items() if isinstance(value, (bytes, str)) and len(value) > LONG_VALUE
            ]:
                del tags[tag]
        return exif.tobytes() if exif else None
    except LIBRARY_ERRORS:
        return None


def resolution_of(block: bytes | None) -> tuple[float, float] | None:
    """The pixels per inch, (across, down), that an EXIF block states; None where it states none."""
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
    """An XMP packet without the properties whose local name matches the pattern, whatever their prefix and case.

    XMP writes a property as an attribute or as an element, as the program pleases.
    """
    attribute = rb"""\s[\w.-]+:%b\s*=\s*("[^"]*"|'[^']*')""" % name
    element = rb"<([\w.-]+:%b)(?:\s[^<>]*)?(?:/>|>[^<]*</\1\s*>)" % name  # one with plain text, as all those asked for
    return re.sub(element, b"", re.sub(attribute, b"", packet, flags=re.I), flags=re.I)


def xmp_without_companions(packet: bytes) -> bytes:
    """An XMP packet without what announces further pictures beside the main one: they are not kept."""
    names = {b"prefix": _COMPANIONS}
    attribute = rb"""\s%(prefix)b:[\w.-]+\s*=\s*("[^"]*"|'[^']*')""" % names
    # One with anything inside but another of them: each pass takes the innermost away.
    element = (
        rb"<%(prefix)b:[\w.-]+(?:\s[^<>]*)?(?:/>|>[^<]*(?:<(?!/?%(prefix)b:)[^<]*)*</%(prefix)b:[\w.-]+\s*>)" % names
    )
    packet = re.sub(attribute, b"", packet)
    for _ in range(4):
        packet = re.sub(element, b"", packet)
    return packet


def xmp_without_gps(packet: bytes) -> bytes | None:
    """An XMP packet without the location; None if that can't be told."""
    packet = xmp_without(packet, rb"GPS\w*")  # cameras' exif:GPSLatitude, drones' drone-dji:GpsLatitude
    # Where one is left in a spelling unknown here, or the packet is not in UTF-8, the location counts for more.
    return None if b"\0" in packet or b"gps" in packet.lower() else packet

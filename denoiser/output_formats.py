"""The formats that photos are written in, and the conversion of a photo to what a format can hold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .colour import check_profile, matching_profile, to_srgb
from .errors import ImageError
from .metadata import exif_without_long_values
from .photo import Photo, to_8bit


@dataclass(frozen=True)
class Format:
    """A format and what it can hold."""

    name: str  # in Pillow
    options: dict[str, Any] = field(default_factory=dict)  # for Pillow's writer
    max_side: int | None = None  # in pixels, of the format or its library
    deep: bool = False  # 16 bits per channel
    alpha: bool = True
    profiles: tuple[bool, ...] = (False, True)  # ICC profiles it takes: False for RGB, True for grey
    max_exif: int | None = None  # bytes; None means no limit
    max_xmp: int | None = None


_JPEG_OPTIONS = {"subsampling": "4:4:4", "quality": 95}
_JPEG = Format("JPEG", _JPEG_OPTIONS, max_side=65_500, alpha=False, max_exif=65_533, max_xmp=65_502)
_TIFF = Format("TIFF", deep=True)
WRITE_FORMATS: dict[str, Format] = {  # by file name suffix
    ".png": Format("PNG", deep=True),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Format(  # exact keeps the colour of transparent pixels
        "WEBP", {"lossless": True, "exact": True, "method": 0}, max_side=16_383, profiles=(False,)
    ),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": Format("BMP", alpha=False, profiles=(), max_exif=0, max_xmp=0),
    ".avif": Format("AVIF", {"subsampling": "4:4:4", "speed": 8, "quality": 95}, max_side=32_768, profiles=(False,)),
}


def fit_to_format(photo: Photo, format: Format, name: str) -> Photo:
    """Convert a photo to what a format can hold; the notes of the result say what was lost. name is the file's name.

    As needed, 16 bits are rounded to 8, opaque alpha is dropped, colours are converted to sRGB if the format can't
    store their profile, and metadata that doesn't fit is left out. Raises ImageError for transparency, a size or a
    profile that the format can't hold.
    """
    if format.max_side and max(photo.height, photo.width) > format.max_side:
        size = f"{photo.width}×{photo.height} pixels and {format.name} holds at most {format.max_side:,} per side"
        raise ImageError(f"{name!r} can't be written: the photo is {size}. Save it as PNG or TIFF.")
    pixels, alpha = photo.pixels, photo.alpha
    notes: list[str] = []
    if alpha is not None and not format.alpha:
        if alpha.min() < np.iinfo(alpha.dtype).max:
            raise ImageError(
                f"{name!r} can't be written: {format.name} has no transparency. Save it as PNG, WebP or TIFF."
            )
        alpha = None
    if photo.bit_depth == 16 and not format.deep:
        pixels, alpha = to_8bit(pixels), alpha if alpha is None else to_8bit(alpha)
    check_profile(photo.icc_profile, name)
    grey = pixels.ndim == 2
    profile = matching_profile(photo.icc_profile, grey=grey)
    if profile and grey not in format.profiles:
        converted = to_srgb(pixels, profile)
        if converted is None:
            notes.append(f"The damaged colour profile of {name!r} was left out.")
        else:
            notes.append(
                f"The colours of {name!r} were converted to sRGB: {format.name} has no room for their profile."
            )
            pixels = converted
        profile = None
    exif, xmp, lost = _metadata_that_fits(photo, format, name)
    said = (*notes, *lost)
    return replace(photo, pixels=pixels, alpha=alpha, icc_profile=profile, exif=exif, xmp=xmp, notes=said)


def _metadata_that_fits(photo: Photo, format: Format, name: str) -> tuple[bytes | None, bytes | None, list[str]]:
    """Return the EXIF and XMP that fit into the format, and sentences on what was left out."""
    exif, xmp, lost = photo.exif, photo.xmp, []
    if exif and format.max_exif is not None and len(exif) > format.max_exif:
        exif = exif_without_long_values(exif) if format.max_exif else None
        exif = exif if exif and len(exif) <= format.max_exif else None
        what = "the long values of the EXIF" if exif else "the EXIF"
        lost.append(f"{name!r} lacks {what}: {format.name} has no room for it.")
    if xmp and format.max_xmp is not None and len(xmp) > format.max_xmp:
        xmp = None
        lost.append(f"{name!r} lacks the XMP metadata: {format.name} has no room for it.")
    return exif, xmp, lost

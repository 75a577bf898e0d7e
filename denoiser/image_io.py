"""Photo files to arrays and back.

Every file comes from outside, so one that can't be used ends in an `ImageError` that names it (by its name alone, since
the web page shows the message) and says what is accepted.

Known limits: HEIC and AVIF of 10 bits and CMYK of 16 are read as 8 bits. IPTC blocks, PNG's text and the thumbnail of
the EXIF are not kept. Big-endian BigTIFF is not read.
"""

import contextlib
import numbers
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps

from . import colour
from .atomic_write import atomic_write
from .errors import LIBRARY_ERRORS, ImageError
from .header_budget import MAX_METADATA_BYTES
from .input_formats import MODES_16BIT, PhotoFile, as_path, open_photo_file
from .metadata import (
    CENTIMETRES_PER_INCH,
    LAYOUT_TAGS,
    exif_block,
    resolution_of,
    xmp_without,
    xmp_without_companions,
)
from .output_formats import WRITE_FORMATS, Format, fit_to_format
from .photo import Photo
from .png_tiff import is_deep, read_samples, write_png, write_tiff
from .tiff_headers import check_exif

# What photo files are called in a folder; open_image itself goes by content.
READ_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif")
READ_SUFFIXES += (".heic", ".heif", ".hif")

_LEFT_OUT = {
    "frames": "Only the first frame of {} was taken; it holds more.",
    "pages": "Only the first page of {} was taken; it holds more.",
    "pictures": "Only the main picture of {} was taken; it holds more.",
    "layers": "The layers of {} were left out.",
}


def is_photo_name(path: str | os.PathLike[str]) -> bool:
    """Whether a file in a folder looks like a photo to read, by its name alone. Hidden ones (`._x.jpg`) don't."""
    path = Path(path)
    return path.suffix.lower() in READ_SUFFIXES and not path.name.startswith(".")


def open_image(path: str | os.PathLike[str]) -> Photo:
    """Read a photo, upright by its EXIF orientation; of an animation or a multi-page file the first frame.

    Grey files (1-bit included) give (H, W) pixels, all others (H, W, 3); those of 16 bits give uint16, colour and alpha
    included. CMYK becomes sRGB, through its own profile where it has one. Colours that a file describes without an ICC
    profile get one. An ICC profile that isn't for the pixels returned and EXIF that can't be parsed are left out; the
    photo's notes tell of whatever else is.

    Raises ImageError where the file is missing, empty, damaged, over one of the limits above or no supported picture.
    """
    with open_photo_file(path) as file:
        return _read_deep(file) if is_deep(file.image, file.file) else _read(file)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """The width and height that a photo's header states, before its EXIF orientation; no pixel is decoded.

    Raises ImageError as open_image does, except for damage behind the header.
    """
    with open_photo_file(path) as file:
        return file.image.size


def _read(file: PhotoFile) -> Photo:
    image = file.image
    image.load()
    _check_exif(image, file.name)
    with contextlib.suppress(*LIBRARY_ERRORS):  # the pixels are fine: damaged EXIF is no reason to refuse them
        ImageOps.exif_transpose(image, in_place=True)
    upright = image
    if image.mode in ("CMYK", "LAB"):
        upright = colour.cmyk_to_srgb(image, image.info.pop("icc_profile", None))
    deep = upright.mode in MODES_16BIT
    return _photo(file, *(_samples_16bit(upright, file.name) if deep else _samples_8bit(upright)))


def _read_deep(file: PhotoFile) -> Photo:
    image = file.image
    if image.format == "PNG":
        image.load()  # the metadata may follow the pixels
    _check_exif(image, file.name)
    orientation = 1
    with contextlib.suppress(*LIBRARY_ERRORS):
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    samples = read_samples(image, file.file, orientation if orientation in range(1, 9) else 1)
    grey, has_alpha = samples.shape[2] < 3, samples.shape[2] in (2, 4)
    pixels = samples[..., 0 if grey else slice(3)].copy()
    return _photo(file, pixels, samples[..., -1].copy() if has_alpha else None)


def _check_exif(image: Image.Image, name: str) -> None:
    """Look through the EXIF, which a PNG may have as text too, before it is parsed."""
    text = image.info.get("Raw profile type exif")
    if text and "exif" not in image.info:
        with contextlib.suppress(*LIBRARY_ERRORS):
            image.info["exif"] = bytes.fromhex("".join(text.split("\n")[3:]))
    check_exif(image.info.get("exif") or b"", name)


def _photo(file: PhotoFile, pixels: np.ndarray, alpha: np.ndarray | None) -> Photo:
    """The photo with what else its file says, as far as that holds for the pixels."""
    image, long_tags, exif = file.image, file.headers.long_tags, None
    notes = [_LEFT_OUT[file.more]] if file.more else []
    with contextlib.suppress(*LIBRARY_ERRORS):
        size = pixels.shape[1], pixels.shape[0]
        exif = exif_block(image.getexif(), size, _resolution(image), long_tags)
    notes += ["The tags of {} that are too long for EXIF were left out."] if long_tags - LAYOUT_TAGS else []
    xmp = image.info.get("xmp") or b""
    if not isinstance(xmp, bytes) or len(xmp) > MAX_METADATA_BYTES:
        notes.append("The XMP metadata of {} was left out: it is too long.")
        xmp = b""
    upright = xmp_without(xmp, b"Orientation")
    xmp = xmp_without_companions(upright)
    accompanied = xmp != upright
    notes += ["What goes with the picture in {} (a gain map, depth, a film) was left out."] if accompanied else []
    profile = colour.profile_of(image.info, file.headers.cicp, grey=pixels.ndim == 2)
    sentences = tuple(note.format(repr(file.name)) for note in notes)
    return Photo(pixels, alpha, profile, exif, xmp or None, bool(file.more) or accompanied, sentences)


def _resolution(image: Image.Image) -> tuple[float, float] | None:
    """The pixels per inch, (across, down), that a JPEG or PNG states outside its EXIF."""
    unit = image.info.get("jfif_unit")
    if unit in (1, 2):
        across, down = image.info["jfif_density"]
        scale = 1 if unit == 1 else CENTIMETRES_PER_INCH
        return (across * scale, down * scale) if across and down else None
    return image.info.get("dpi") if image.format == "PNG" else None


def _samples_8bit(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    grey, transparent = image.mode in ("1", "L", "LA", "La"), image.has_transparency_data
    samples = np.array(image.convert(("L" if grey else "RGB") + ("A" if transparent else "")))
    if not transparent:
        return samples, None
    return samples[..., 0 if grey else slice(3)].copy(), samples[..., -1].copy()


def _samples_16bit(image: Image.Image, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    samples = np.asarray(image)  # mode I: 32 bits, which 16-bit files of some programs come as
    if samples.min() < 0 or samples.max() > 65_535:
        raise ImageError(f"{name!r} holds 32-bit pixels; 8- and 16-bit ones are accepted. Export it as 16-bit first.")
    samples = samples.astype(np.uint16)
    tags = getattr(image, "tag_v2", {})
    if tags.get(ExifTags.Base.BitsPerSample) == (12,):
        samples = samples << 4 | samples >> 8  # Pillow leaves them on 0 to 4095
    if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:
        samples = ~samples  # Pillow inverts white-is-zero TIFFs at 8 bits only
    key = image.info.get("transparency")
    if key is None:
        return samples, None
    return samples, np.where(samples == key, 0, 65_535).astype(np.uint16)


def save_image(photo: Photo, path: str | os.PathLike[str], *, quality: int | None = None) -> tuple[str, ...]:
    """Write a photo in the format of its suffix, with alpha, ICC profile, EXIF and XMP where the format has room.

    PNG and TIFF keep 16 bits; the other formats hold 8, to which 16-bit pixels are rounded. PNG, TIFF, BMP and WebP are
    lossless. `quality` (1 to 100) is for JPEG and AVIF, 95 if not given, and makes WebP lossy if given. BMP takes no
    metadata, and WebP and AVIF store grey as RGB; colours whose profile has no place there are converted to sRGB. The
    file appears whole or not at all: what was there stays until the new one is, links and permissions beyond that.

    Returns what the format had no room for, each in a sentence. Raises ImageError where the suffix, size or
    transparency doesn't fit the format, or writing fails.
    """
    path = as_path(path)
    if path.suffix.lower() not in WRITE_FORMATS:
        raise ImageError(f"{path.name!r} can't be written: the name has to end in {', '.join(WRITE_FORMATS)}.")
    whole = isinstance(quality, numbers.Integral) and not isinstance(quality, bool)
    if quality is not None and not (whole and 1 <= quality <= 100):
        raise ImageError(f"The quality is a whole number from 1 to 100, not {quality!r}.")
    format = WRITE_FORMATS[path.suffix.lower()]
    options = format.options | ({} if quality is None else {"quality": int(quality), "lossless": False})
    stored = fit_to_format(photo, format, path.name)
    if resolution := resolution_of(photo.exif):
        options["dpi"] = resolution
    try:
        with atomic_write(path) as file:
            _write(file, stored, format, options)
    except (*LIBRARY_ERRORS, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        advice = "Check the folder and its free space." if getattr(error, "errno", None) else "Try another format."
        raise ImageError(f"{path.name!r} can't be written: {reason}. {advice}") from error
    return stored.notes


def _write(file: BinaryIO, photo: Photo, format: Format, options: dict[str, object]) -> None:
    samples = photo.pixels if photo.alpha is None else np.dstack((photo.pixels, photo.alpha))
    metadata = {"icc_profile": photo.icc_profile, "exif": photo.exif, "xmp": photo.xmp}
    if format.name in ("PNG", "TIFF"):
        (write_png if format.name == "PNG" else write_tiff)(file, samples, **metadata)
    else:
        given = {key: value for key, value in metadata.items() if value}
        Image.fromarray(samples).save(file, format.name, **options, **given)

"""Reading and writing photo files.

Files come from outside. One that can't be used raises an ImageError that says what is accepted and names the file, but
not its folder, because the web page shows the message.

Known limits: HEIC and AVIF with 10 bits and CMYK with 16 bits are read as 8 bits. EXIF thumbnails and the comments of
JPEG and GIF are not kept. Big-endian BigTIFF is not read.
"""

import contextlib
import numbers
import os
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps

from . import colour
from .atomic_write import atomic_write
from .errors import LIBRARY_ERRORS, ImageError, printable
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

# Suffixes by which photos are found in a folder; open_image only looks at the content.
JPEG_SUFFIXES, HEIF_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".mpo"), (".heic", ".heif", ".hif")
READ_SUFFIXES = (*JPEG_SUFFIXES, ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", *HEIF_SUFFIXES)

_LEFT_OUT = {
    "frames": "Only the first frame of {} was read; it has more.",
    "pages": "Only the first page of {} was read; it has more.",
    "pictures": "Only the main image of {} was read; it has more.",
    "layers": "The layers of {} were left out.",
    "channels": "The extra channels of {} were left out.",
}
_IPTC_RESOURCE = 0x0404  # in the Photoshop block of a JPEG
_LONGEST_NAME, _MOST_NAMES = 79, 5  # of the texts of a PNG; its standard allows names of 79 characters
# Texts of a PNG that are read as EXIF or XMP, or only say which program wrote the file, and when.
_UNTOLD_TEXTS = re.compile(r"XML:com\.adobe\.xmp|Raw profile type (exif|xmp)|Software|date:\w+")


def is_photo_name(path: str | os.PathLike[str]) -> bool:
    """Return whether a file name looks like a photo, judging by its suffix. Hidden files (`._x.jpg`) do not."""
    path = Path(path)
    return path.suffix.lower() in READ_SUFFIXES and not path.name.startswith(".")


def open_image(path: str | os.PathLike[str]) -> Photo:
    """Read a photo, turned upright by its EXIF orientation. Of an animation or multi-page file, read the first frame.

    Grey files, including 1-bit ones, give pixels of shape (H, W), and all others (H, W, 3); 16-bit files give uint16.
    CMYK and Lab are converted to sRGB, CMYK by its profile if it has one. Colours described without an ICC profile get
    one. Profiles that don't fit the pixels and EXIF that can't be parsed are left out silently. The notes of the photo
    say what else was left out or converted.

    Raises ImageError if the file is missing, empty, damaged, too large or not a supported format.
    """
    with open_photo_file(path) as file:
        return _read_deep(file) if is_deep(file.image, file.file) else _read(file)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return (width, height) from a photo's header, before EXIF orientation; no pixels are decoded.

    Raises ImageError like open_image, except for damage after the header.
    """
    with open_photo_file(path) as file:
        return file.image.size


def _read(file: PhotoFile) -> Photo:
    image = file.image
    image.load()
    _check_exif(image, file.name)
    with contextlib.suppress(*LIBRARY_ERRORS):  # the pixels are good even if the EXIF is damaged
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
    """Check the EXIF, which a PNG may also store as text, before it is parsed."""
    text = image.info.get("Raw profile type exif")
    if text and "exif" not in image.info:
        with contextlib.suppress(*LIBRARY_ERRORS):
            image.info["exif"] = bytes.fromhex("".join(text.split("\n")[3:]))
    check_exif(image.info.get("exif") or b"", name)


def _photo(file: PhotoFile, pixels: np.ndarray, alpha: np.ndarray | None) -> Photo:
    """Build the Photo from pixels and the metadata of the file that still applies to them."""
    image, long_tags, exif = file.image, file.headers.long_tags, None
    parts = [file.more] if file.more else []
    parts += ["channels"] if _has_extra_channels(image, pixels, alpha) else []
    notes = [_LEFT_OUT[part] for part in parts] + _changes(image)
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
    notes += ["Extra data in {} (a gain map, depth map or video) was left out."] if accompanied else []
    profile = colour.profile_of(image.info, file.headers.cicp, grey=pixels.ndim == 2)
    sentences = tuple(note.format(repr(file.name)) for note in notes)
    return Photo(pixels, alpha, profile, exif, xmp or None, bool(parts) or accompanied, sentences)


def _has_extra_channels(image: Image.Image, pixels: np.ndarray, alpha: np.ndarray | None) -> bool:
    """Return whether a TIFF has samples beside colour and alpha: spot colours, or selections."""
    if image.format != "TIFF":
        return False
    colours = 4 if image.mode == "CMYK" else 1 if pixels.ndim == 2 else 3
    return image.getexif().get(ExifTags.Base.SamplesPerPixel, 1) > colours + (alpha is not None)


def _changes(image: Image.Image) -> list[str]:
    """Return sentences on colours that were converted, and on texts that are not kept."""
    sentences = []
    if image.mode in ("CMYK", "LAB"):
        sentences.append(f"The colours of {{}} were converted from {image.mode} to sRGB.")
    texts = [name for name in getattr(image, "text", ()) if not _UNTOLD_TEXTS.fullmatch(name)]
    if texts:
        names = [printable(name[:_LONGEST_NAME]) for name in texts[:_MOST_NAMES]]
        named = ", ".join(names + ["…"] * (len(texts) > _MOST_NAMES)).replace("{", "{{").replace("}", "}}")
        sentences.append(f"The texts of {{}} were left out: {named}.")
    resources = image.info.get("photoshop", {})
    if _IPTC_RESOURCE in resources or (image.format == "TIFF" and ExifTags.Base.IPTCNAA in image.getexif()):
        sentences.append("The IPTC metadata of {} was left out.")
    return sentences


def _resolution(image: Image.Image) -> tuple[float, float] | None:
    """Return the pixels per inch, (across, down), that a JPEG or PNG states outside its EXIF, or None."""
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
    samples = np.asarray(image)  # some 16-bit files open in mode I, which has 32 bits
    if samples.min() < 0 or samples.max() > 65_535:
        raise ImageError(f"{name!r} holds values beyond 16 bits, 0 to 65,535. Export it with 8 or 16 bits first.")
    samples = samples.astype(np.uint16)
    tags = getattr(image, "tag_v2", {})
    if tags.get(ExifTags.Base.BitsPerSample) == (12,):
        samples = samples << 4 | samples >> 8  # Pillow leaves 12-bit samples on 0 to 4095
    if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:
        samples = ~samples  # Pillow inverts white-is-zero TIFFs at 8 bits only
    key = image.info.get("transparency")
    if key is None:
        return samples, None
    return samples, np.where(samples == key, 0, 65_535).astype(np.uint16)


def save_image(photo: Photo, path: str | os.PathLike[str], *, quality: int | None = None) -> tuple[str, ...]:
    """Write a photo in the format of the file name's suffix, with alpha, ICC profile, EXIF and XMP if they fit.

    PNG and TIFF keep 16 bits; for other formats, 16-bit pixels are rounded to 8. PNG, TIFF, BMP and WebP are lossless.
    `quality`, 1 to 100, is for JPEG and AVIF (95 by default), and makes WebP lossy if given. BMP holds no metadata, and
    WebP and AVIF store grey as RGB; colours are converted to sRGB if the format can't hold their profile. An existing
    file is replaced completely or not at all. Symbolic links and permissions are kept; a hard link keeps the old file.

    Returns sentences on what the format could not hold. Raises ImageError if the suffix, size or transparency doesn't
    fit the format, or writing fails.
    """
    path = as_path(path)
    if path.suffix.lower() not in WRITE_FORMATS:
        raise ImageError(f"{path.name!r} can't be written: the name must end in {', '.join(WRITE_FORMATS)}.")
    whole = isinstance(quality, numbers.Integral) and not isinstance(quality, bool)
    if quality is not None and not (whole and 1 <= quality <= 100):
        raise ImageError(f"The quality must be a whole number from 1 to 100, not {quality!r}.")
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

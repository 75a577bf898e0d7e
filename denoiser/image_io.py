"""Photo files to arrays and back.

Every file comes from outside, so one that can't be used ends in an `ImageError` that names it (by its name alone, since
the web page shows the message) and says what is accepted.

Known limits: HEIC and AVIF of 10 bits and CMYK of 16 are read as 8 bits. IPTC blocks and PNG's text are not kept.
"""

import contextlib
import io
import os
import secrets
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from .errors import ImageError
from .photo import PILLOW_ERRORS, Photo, exif_block, xmp_without
from .vips_io import DeepTiff, is_deep, read_samples, write_png, write_tiff

MAX_FILE_BYTES = 512 * 2**20  # checked before the file is opened
MAX_PIXELS = 100_000_000  # checked on the header, before anything is decoded
MAX_SIDE = 65_500  # the longest side a JPEG can have
# The only decoders of Pillow's that see a file. Beside them stand DeepTiff and pillow-heif's, called by name.
READ_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
# What photo files are called in a folder; open_image itself goes by content.
READ_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif")
READ_SUFFIXES += (".heic", ".heif", ".hif")
WRITE_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {  # suffix -> Pillow's format name and its save options
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"subsampling": "4:4:4", "quality": 95}),
    ".jpeg": ("JPEG", {"subsampling": "4:4:4", "quality": 95}),
    ".webp": ("WEBP", {"lossless": True, "exact": True, "method": 0}),  # exact: keep the colour where alpha is 0
    ".tif": ("TIFF", {}),
    ".tiff": ("TIFF", {}),
    ".bmp": ("BMP", {}),
    ".avif": ("AVIF", {"subsampling": "4:4:4", "speed": 8, "quality": 95}),
}
MAX_WRITE_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 32_768}  # the formats' and their libraries' own limits
MAX_JPEG_XMP = 65_502  # bytes; a longer packet is left out

_ACCEPTED = "JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or HEIC"
_MODES_8BIT = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV")
_MODES_16BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_REFUSED_MODES = {"F": "floating-point", "I;32": "32-bit"}
_RAW_SUFFIXES = (".dng", ".nef", ".nrw", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw", ".raw")
_NEEDS_EXPORT = {
    **dict.fromkeys(_RAW_SUFFIXES, "a camera RAW file"),
    **dict.fromkeys((".svg", ".svgz"), "an SVG drawing"),
}


def is_photo_name(path: str | os.PathLike[str]) -> bool:
    """Whether a file in a folder looks like a photo to read, by its name alone. Hidden ones (`._x.jpg`) don't."""
    path = Path(path)
    return path.suffix.lower() in READ_SUFFIXES and not path.name.startswith(".")


def open_image(path: str | os.PathLike[str]) -> Photo:
    """Read a photo, upright by its EXIF orientation; of an animation or a multi-page file the first frame.

    Grey files (1-bit included) give (H, W) pixels, all others (H, W, 3); those of 16 bits give uint16, colour and alpha
    included. CMYK becomes sRGB, through its own profile where it has one. An ICC profile that isn't for the pixels
    returned and EXIF that can't be parsed are left out.

    Raises ImageError where the file is missing, empty, damaged, over one of the limits above or no supported picture.
    """
    with _opened(path) as (image, file, name):
        return _read_deep(image, file) if is_deep(image, file) else _read(image, name)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """The width and height that a photo's header states, before its EXIF orientation; no pixel is decoded.

    Raises ImageError as open_image does, except for damage behind the header.
    """
    with _opened(path) as (image, _, _):
        return image.size


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[Image.Image, BinaryIO, str]]:
    """A photo of which the header was read and accepted, its file and its name; what fails then is an ImageError."""
    path = Path(path)
    name = path.name or str(path)  # "." and "/" have no name
    _check_file(path, name)
    try:
        with path.open("rb") as file:
            yield _open_checked(file, name), file, name
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name!r} has over {MAX_PIXELS // 10**6} megapixels. Make it smaller first.") from error
    except UnidentifiedImageError as error:
        raise _not_readable(name) from error
    except MemoryError as error:
        raise ImageError(f"There is not enough memory to read {name!r}. Make it smaller first.") from error
    except PILLOW_ERRORS as error:
        if isinstance(error, OSError) and error.errno:
            raise ImageError(f"{name!r} can't be read: {error.strerror}.") from error
        raise ImageError(f"{name!r} is damaged or incomplete. Copy it again, or export it anew as PNG.") from error


def _check_file(path: Path, name: str) -> None:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or "not a file name"
        raise ImageError(f"{name!r} can't be found: {reason}. Check the name and the folder.") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a file"
        raise ImageError(f"{name!r} is {kind}; give one {_ACCEPTED} file.")
    if status.st_size == 0:
        raise ImageError(f"{name!r} is empty (0 bytes). Copy or download it again.")
    if status.st_size > MAX_FILE_BYTES:
        size, most = status.st_size // 2**20, MAX_FILE_BYTES // 2**20
        raise ImageError(f"{name!r} has {size:,} MiB; up to {most} are accepted. Make it smaller first.")


def _open_checked(file: BinaryIO, name: str) -> Image.Image:
    """Read the header alone, and refuse what it rules out before any memory is spent on pixels."""
    with warnings.catch_warnings():
        # Pillow warns a little below MAX_PIXELS, which is the limit that counts here.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = _open_header(file)
    width, height = image.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        most = f"{MAX_PIXELS // 10**6} megapixels and {MAX_SIDE:,} pixels a side"
        raise ImageError(f"{name!r} is {width}×{height} pixels; up to {most} are accepted. Make it smaller first.")
    if image.format == "TIFF" and Path(name).suffix.lower() in _RAW_SUFFIXES:
        raise _not_readable(name)  # many RAW files are TIFFs, in which Pillow finds no more than the thumbnail
    if image.mode not in _MODES_8BIT + _MODES_16BIT:
        kind = _REFUSED_MODES.get(image.mode, image.mode)
        raise ImageError(f"{name!r} holds {kind} pixels; 8- and 16-bit ones are accepted. Export it as 16-bit first.")
    return image


def _open_header(file: BinaryIO) -> Image.Image:
    with contextlib.suppress(*PILLOW_ERRORS):  # anything else, or a damaged file that Pillow is going to refuse
        return DeepTiff(file)
    file.seek(0)
    try:
        return Image.open(file, formats=READ_FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        if not pillow_heif.is_supported(file):
            raise
        return pillow_heif.HeifImageFile(file)


def _not_readable(name: str) -> ImageError:
    kind = _NEEDS_EXPORT.get(Path(name).suffix.lower())
    if kind:
        return ImageError(f"{name!r} is {kind}, which can't be read. Export it as JPEG, PNG or TIFF first.")
    return ImageError(f"{name!r} is not a {_ACCEPTED} picture, whatever its name says. Export it as one of these.")


def _read(image: Image.Image, name: str) -> Photo:
    image.load()
    with contextlib.suppress(*PILLOW_ERRORS):  # the pixels are fine: damaged EXIF is no reason to refuse them
        ImageOps.exif_transpose(image, in_place=True)
    metadata = _metadata(image)
    if image.mode in ("CMYK", "LAB"):
        image = _to_srgb(image, metadata.pop("icc_profile"))
    pixels, alpha = _samples_16bit(image, name) if image.mode in _MODES_16BIT else _samples_8bit(image)
    return _photo(pixels, alpha, **metadata)


def _read_deep(image: Image.Image, file: BinaryIO) -> Photo:
    if image.format == "PNG":
        image.load()  # the metadata may follow the pixels
    orientation = 1
    with contextlib.suppress(*PILLOW_ERRORS):
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    samples = read_samples(image, file, orientation if orientation in range(1, 9) else 1)
    grey, has_alpha = samples.shape[2] < 3, samples.shape[2] in (2, 4)
    pixels = samples[..., 0 if grey else slice(3)].copy()
    return _photo(pixels, samples[..., -1].copy() if has_alpha else None, **_metadata(image))


def _metadata(image: Image.Image) -> dict[str, bytes | None]:
    xmp, exif = image.info.get("xmp"), None
    with contextlib.suppress(*PILLOW_ERRORS):
        exif = exif_block(image.getexif())
    xmp = xmp_without(xmp, b"Orientation") if isinstance(xmp, bytes) and xmp else None
    return {"icc_profile": image.info.get("icc_profile"), "exif": exif, "xmp": xmp}


def _photo(
    pixels: np.ndarray,
    alpha: np.ndarray | None,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    xmp: bytes | None = None,
) -> Photo:
    return Photo(pixels, alpha, _matching_profile(icc_profile, grey=pixels.ndim == 2), exif, xmp)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.mode == "CMYK" and profile:
        with contextlib.suppress(ImageCms.PyCMSError):  # a damaged profile, or one for another mode
            srgb = ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode="RGB")
    return image.convert("RGB")


def _matching_profile(profile: bytes | None, *, grey: bool) -> bytes | None:
    """The profile where its colour space (bytes 16 to 20 of the ICC header) is that of the pixels, else None."""
    return profile if profile and profile[16:20] == (b"GRAY" if grey else b"RGB ") else None


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
    if getattr(image, "tag_v2", {}).get(ExifTags.Base.PhotometricInterpretation) == 0:
        samples = ~samples  # Pillow inverts white-is-zero TIFFs at 8 bits only
    key = image.info.get("transparency")
    if key is None:
        return samples, None
    return samples, np.where(samples == key, 0, 65_535).astype(np.uint16)


def to_8bit(samples: np.ndarray) -> np.ndarray:
    """uint16 samples of any shape, rounded to uint8."""
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def save_image(photo: Photo, path: str | os.PathLike[str], *, quality: int | None = None) -> None:
    """Write a photo in the format of its suffix, with alpha, ICC profile, EXIF and XMP where the format has room.

    PNG and TIFF keep 16 bits; the other formats hold 8, to which 16-bit pixels are rounded. PNG, TIFF, BMP and WebP are
    lossless. `quality` (1 to 100) is for JPEG and AVIF, 95 if not given, and makes WebP lossy if given. BMP takes no
    metadata, and WebP and AVIF store grey as RGB. The file appears whole or not at all: what was there stays until the
    new one is.

    Raises ImageError where the suffix, size or transparency doesn't fit the format, or writing fails.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITE_FORMATS:
        raise ImageError(f"{path.name!r} can't be written: the name has to end in {', '.join(WRITE_FORMATS)}.")
    if quality is not None and not 1 <= quality <= 100:
        raise ImageError(f"The quality is a whole number from 1 to 100, not {quality}.")
    format, options = WRITE_FORMATS[path.suffix.lower()]
    if quality is not None:
        options = options | {"quality": quality, "lossless": False}
    samples = _encodable(photo, format, path.name)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")  # same folder, so that the replacement is atomic
    try:
        with temporary.open("x+b") as file:
            _write(file, samples, photo, format, options)
        os.replace(temporary, path)
    except (*PILLOW_ERRORS, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"{path.name!r} can't be written: {reason}. Check the folder and its free space.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _encodable(photo: Photo, format: str, name: str) -> np.ndarray:
    side = MAX_WRITE_SIDE.get(format)
    if side and max(photo.height, photo.width) > side:
        size = f"{photo.width}×{photo.height} pixels and {format} holds at most {side:,} a side"
        raise ImageError(f"{name!r} can't be written: the photo is {size}. Save it as PNG or TIFF.")
    pixels, alpha = photo.pixels, photo.alpha
    if alpha is not None and format in ("JPEG", "BMP"):
        if alpha.min() < np.iinfo(alpha.dtype).max:
            raise ImageError(f"{name!r} can't be written: {format} has no transparency. Save it as PNG, WebP or TIFF.")
        alpha = None
    samples = pixels if alpha is None else np.dstack((pixels, alpha))
    return to_8bit(samples) if photo.bit_depth == 16 and format not in ("PNG", "TIFF") else samples


def _write(file: BinaryIO, samples: np.ndarray, photo: Photo, format: str, options: dict[str, Any]) -> None:
    grey = photo.pixels.ndim == 2 and format not in ("WEBP", "AVIF")
    profile, exif, xmp = _matching_profile(photo.icc_profile, grey=grey), photo.exif, photo.xmp
    if format in ("PNG", "TIFF"):
        (write_png if format == "PNG" else write_tiff)(file, samples, profile, exif, xmp)
        return
    if xmp and format == "JPEG" and len(xmp) > MAX_JPEG_XMP:
        xmp = None
    metadata = {"icc_profile": profile, "exif": exif, "xmp": xmp}
    Image.fromarray(samples).save(file, format, **options, **{key: value for key, value in metadata.items() if value})

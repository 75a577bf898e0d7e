"""Photo files to arrays and back; the only module that knows Pillow.

Every file comes from outside, so one that can't be used ends in an `ImageError` that names it (by its name alone, since
the web page shows the message) and says what is accepted.

Known limits, all Pillow's: colour or transparency at more than 8 bits a channel (16-bit RGB PNG or TIFF, 10-bit AVIF)
is read as 8 bits, and can't be written at 16. 16-bit grey is exact both ways. XMP and IPTC blocks are not kept.
"""

import contextlib
import io
import os
import secrets
import stat
import struct
import warnings
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from .errors import ImageError

MAX_FILE_BYTES = 512 * 2**20  # checked before the file is opened
MAX_PIXELS = 100_000_000  # checked on the header, before anything is decoded
MAX_SIDE = 65_500  # the longest side a JPEG can have
READ_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")  # the only Pillow decoders that see a file
# What photo files are called in a folder; open_image itself goes by content.
READ_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif")
WRITE_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {  # suffix -> Pillow's format name and its save options
    ".png": ("PNG", {"compress_level": 1}),  # the default level takes up to six times as long
    ".jpg": ("JPEG", {"subsampling": "4:4:4"}),
    ".jpeg": ("JPEG", {"subsampling": "4:4:4"}),
    ".webp": ("WEBP", {"lossless": True, "exact": True, "method": 0}),  # exact: keep the colour where alpha is 0
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
    ".bmp": ("BMP", {}),
    ".avif": ("AVIF", {"subsampling": "4:4:4", "speed": 8}),
}
MAX_WRITE_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 32_768}  # the formats' and their libraries' own limits

_ACCEPTED = "JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF"
_MODES_8BIT = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV")
_MODES_16BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")
# How the pixels are stored, Orientation (274) included. A TIFF lists it beside the EXIF tags; none of it holds for the
# pixels handed on, and in another file it would do damage. The last line is XMP, IPTC, Photoshop and ICC.
_LAYOUT_TAGS = {*range(254, 267), *range(273, 282), 284, 317, *range(320, 326), 330, 338, 339, 347, *range(512, 533)}
_LAYOUT_TAGS |= {700, 33723, 34377, 34675}
_RAW_SUFFIXES = (".dng", ".nef", ".nrw", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw", ".raw")
_NEEDS_EXPORT = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "a HEIC photo"),
    **dict.fromkeys(_RAW_SUFFIXES, "a camera RAW file"),
    **dict.fromkeys((".svg", ".svgz"), "an SVG drawing"),
}
# What Pillow's decoders, encoders and EXIF parser raise on bytes or values that they don't expect.
_PILLOW_ERRORS = (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
_PILLOW_ERRORS += (AssertionError, RuntimeError, struct.error, zlib.error)


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture as it is meant to be seen, with what its file said beside the pixels.

    pixels: (H, W, 3) RGB or (H, W) grey; uint8 or uint16 over the full range; upright.
    alpha: (H, W) of the same dtype, 0 = transparent; None where the file had none.
    icc_profile: of the same colour space as the pixels; None stands for sRGB.
    exif: an EXIF block without Orientation, since the pixels are upright already.

    Raises ImageError where pixels or alpha are anything else.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None

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

    def with_pixels(self, pixels: np.ndarray) -> "Photo":
        """The same photo with other pixels of the same height and width; raises ImageError where they differ."""
        if pixels.shape[:2] != self.pixels.shape[:2]:
            raise ImageError(f"The new pixels must be {self.pixels.shape[:2]} high and wide, not {pixels.shape[:2]}.")
        return replace(self, pixels=pixels)


def is_photo_name(path: str | os.PathLike[str]) -> bool:
    """Whether a file in a folder looks like a photo to read, by its name alone. Hidden ones (`._x.jpg`) don't."""
    path = Path(path)
    return path.suffix.lower() in READ_SUFFIXES and not path.name.startswith(".")


def open_image(path: str | os.PathLike[str]) -> Photo:
    """Read a photo, upright by its EXIF orientation; of an animation or a multi-page file the first frame.

    Grey files (1-bit included) give (H, W) pixels, all others (H, W, 3). CMYK becomes sRGB, through its own profile
    where it has one. An ICC profile that isn't for the pixels returned and EXIF that can't be parsed are left out.

    Raises ImageError where the file is missing, empty, damaged, over one of the limits above or no supported picture.
    """
    path = Path(path)
    name = path.name or str(path)  # "." and "/" have no name
    _check_file(path, name)
    try:
        with path.open("rb") as file:
            return _read(_open_checked(file, name), name)
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name!r} has over {MAX_PIXELS // 10**6} megapixels. Make it smaller first.") from error
    except UnidentifiedImageError as error:
        raise _not_readable(name) from error
    except MemoryError as error:
        raise ImageError(f"There is not enough memory to read {name!r}. Make it smaller first.") from error
    except _PILLOW_ERRORS as error:
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
        image = Image.open(file, formats=READ_FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        most = f"{MAX_PIXELS // 10**6} megapixels and {MAX_SIDE:,} pixels a side"
        raise ImageError(f"{name!r} is {width}×{height} pixels; up to {most} are accepted. Make it smaller first.")
    if image.format == "TIFF" and Path(name).suffix.lower() in _RAW_SUFFIXES:
        raise _not_readable(name)  # many RAW files are TIFFs, in which Pillow finds no more than the thumbnail
    if image.mode not in _MODES_8BIT + _MODES_16BIT:
        kind = "floating-point" if image.mode == "F" else image.mode
        raise ImageError(f"{name!r} holds {kind} pixels; 8- and 16-bit ones are accepted. Export it as 16-bit first.")
    return image


def _not_readable(name: str) -> ImageError:
    kind = _NEEDS_EXPORT.get(Path(name).suffix.lower())
    if kind:
        return ImageError(f"{name!r} is {kind}, which can't be read. Export it as JPEG, PNG or TIFF first.")
    return ImageError(f"{name!r} is not a {_ACCEPTED} picture, whatever its name says. Export it as one of these.")


def _read(image: Image.Image, name: str) -> Photo:
    image.load()
    with contextlib.suppress(*_PILLOW_ERRORS):  # the pixels are fine: damaged EXIF is no reason to refuse them
        ImageOps.exif_transpose(image, in_place=True)
    exif = _exif_bytes(image)
    profile = image.info.get("icc_profile")
    if image.mode in ("CMYK", "LAB"):
        image, profile = _to_srgb(image, profile), None
    pixels, alpha = _samples_16bit(image, name) if image.mode in _MODES_16BIT else _samples_8bit(image)
    return Photo(pixels, alpha, _matching_profile(profile, grey=pixels.ndim == 2), exif)


def _exif_bytes(image: Image.Image) -> bytes | None:
    try:
        exif = image.getexif()
        for tag in _LAYOUT_TAGS.intersection(exif):
            del exif[tag]
        return exif.tobytes() if exif else None
    except _PILLOW_ERRORS:
        return None


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
    # No writer takes 16-bit grey with alpha, so it is 8 bits from here on, as Pillow reads 16-bit LA.
    return to_8bit(samples), np.where(samples == key, 0, 255).astype(np.uint8)


def to_8bit(samples: np.ndarray) -> np.ndarray:
    """uint16 samples of any shape, rounded to uint8."""
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def save_image(photo: Photo, path: str | os.PathLike[str], *, quality: int = 95) -> None:
    """Write a photo in the format of its suffix, with alpha, ICC profile and EXIF where the format has room for them.

    PNG, WebP, TIFF and BMP are lossless; `quality` (1 to 100) is for JPEG and AVIF. 16-bit grey stays so in PNG and
    TIFF; the other formats hold 8 bits, to which 16-bit pixels are rounded. BMP takes neither profile nor EXIF, and
    WebP and AVIF store grey as RGB. The file appears whole or not at all: what was there stays until the new one is.

    Raises ImageError where the suffix, size, bit depth or transparency doesn't fit the format, or writing fails.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITE_FORMATS:
        raise ImageError(f"{path.name!r} can't be written: the name has to end in {', '.join(WRITE_FORMATS)}.")
    if not 1 <= quality <= 100:
        raise ImageError(f"The quality is a whole number from 1 to 100, not {quality}.")
    format, options = WRITE_FORMATS[path.suffix.lower()]
    image = _encodable(photo, format, path.name)
    grey = photo.pixels.ndim == 2 and format not in ("WEBP", "AVIF")
    metadata = {"icc_profile": _matching_profile(photo.icc_profile, grey=grey), "exif": photo.exif}
    options = options | {key: value for key, value in metadata.items() if value}
    if format in ("JPEG", "AVIF"):
        options["quality"] = quality
    if format == "TIFF" and photo.exif:
        del options["compression"]  # compressed TIFFs go through libtiff, which refuses EXIF's directory
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")  # same folder, so that the replacement is atomic
    try:
        with temporary.open("x+b") as file:
            image.save(file, format=format, **options)
        os.replace(temporary, path)
    except (*_PILLOW_ERRORS, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"{path.name!r} can't be written: {reason}. Check the folder and its free space.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _encodable(photo: Photo, format: str, name: str) -> Image.Image:
    side = MAX_WRITE_SIDE.get(format)
    if side and max(photo.height, photo.width) > side:
        size = f"{photo.width}×{photo.height} pixels and {format} holds at most {side:,} a side"
        raise ImageError(f"{name!r} can't be written: the photo is {size}. Save it as PNG or TIFF.")
    pixels, alpha = photo.pixels, photo.alpha
    if alpha is not None and format in ("JPEG", "BMP"):
        if alpha.min() < np.iinfo(alpha.dtype).max:
            raise ImageError(f"{name!r} can't be written: {format} has no transparency. Save it as PNG, WebP or TIFF.")
        alpha = None
    if photo.bit_depth == 16 and format not in ("PNG", "TIFF"):
        pixels, alpha = to_8bit(pixels), None if alpha is None else to_8bit(alpha)
    elif photo.bit_depth == 16 and (pixels.ndim == 3 or alpha is not None):
        what = "only grey without transparency can be written at 16 bits"
        raise ImageError(f"{name!r} can't be written: {what}. Turn the pixels into uint8 first.")
    return Image.fromarray(pixels if alpha is None else np.dstack((pixels, alpha)))

"""Opens photo files up to their headers: which formats and sizes are accepted, and the errors for all others."""

from __future__ import annotations

import contextlib
import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pillow_heif
from PIL import Image, PngImagePlugin, UnidentifiedImageError, _avif
from PIL.AvifImagePlugin import AvifImageFile
from PIL.MpoImagePlugin import MpoImageFile

from . import colour
from .errors import LIBRARY_ERRORS, ImageError
from .file_headers import Headers, check_headers
from .png_tiff import DeepTiff
from .tiff_headers import TIFF_MAGIC, check_exif

MAX_FILE_BYTES = 512 * 2**20  # checked before the file is opened
MAX_PIXELS = 100_000_000  # checked in the header, before anything is decoded
MAX_SIDE = 65_500  # the longest side a JPEG can have
# The only decoders of Pillow that get to see a file. _Avif, DeepTiff and pillow-heif are called separately.
READ_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
_ACCEPTED = "JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or HEIC"
MODES_8BIT = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV")
MODES_16BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_REFUSED_MODES = {"F": "floating-point", "I;32": "32-bit"}
RAW_SUFFIXES = (".dng", ".nef", ".nrw", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw", ".raw")
_NEEDS_EXPORT = {
    **dict.fromkeys(RAW_SUFFIXES, "a camera RAW file"),
    **dict.fromkeys((".svg", ".svgz"), "an SVG drawing"),
}


@dataclass(frozen=True)
class PhotoFile:
    """An open photo file whose headers have been checked."""

    image: Image.Image
    file: BinaryIO
    name: str
    headers: Headers
    more: str  # what it holds besides the image that is read: "frames", "pages", "pictures", "layers" or ""


@contextlib.contextmanager
def open_photo_file(path: str | os.PathLike[str]) -> Iterator[PhotoFile]:
    """Open a photo and check its headers. Any failure, then or inside the context, is raised as an ImageError."""
    path = as_path(path)
    name = path.name or str(path)  # "." and "/" have no name
    _check_file(path, name)
    try:
        with path.open("rb") as file:
            yield _open_checked(file, name)
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name!r} has over {MAX_PIXELS // 10**6} megapixels. Scale it down first.") from error
    except UnidentifiedImageError as error:
        raise _not_readable(name) from error
    except MemoryError as error:
        raise ImageError(f"There is not enough memory to read {name!r}. Scale it down first.") from error
    except LIBRARY_ERRORS as error:
        if isinstance(error, OSError) and error.errno:
            raise ImageError(f"{name!r} can't be read: {error.strerror}.") from error
        raise ImageError(f"{name!r} is damaged or incomplete. Copy it again, or export it again as PNG.") from error


def as_path(path: str | os.PathLike[str]) -> Path:
    """Convert a path to a Path. Raises ImageError if it is of another type."""
    try:
        return Path(path)
    except TypeError as error:
        raise ImageError(f"The path of a photo must be a string or a Path, not {type(path).__name__}.") from error


def _check_file(path: Path, name: str) -> None:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or "not a file name"
        raise ImageError(f"{name!r} can't be found: {reason}. Check the name and the folder.") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a file"
        raise ImageError(f"{name!r} is {kind}. Choose one {_ACCEPTED} file.")
    if status.st_size == 0:
        raise ImageError(f"{name!r} is empty (0 bytes). Copy or download it again.")
    if status.st_size > MAX_FILE_BYTES:
        size, most = status.st_size // 2**20, MAX_FILE_BYTES // 2**20
        raise ImageError(f"{name!r} has {size:,} MiB; up to {most} are accepted. Scale it down first.")


def _open_checked(file: BinaryIO, name: str) -> PhotoFile:
    """Read only the headers, and refuse unsuitable files before any memory is used for pixels."""
    headers = check_headers(file, name)
    with warnings.catch_warnings():
        # Pillow warns at a size just below MAX_PIXELS.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = _open_header(file, name)
    width, height = image.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        most = f"{MAX_PIXELS // 10**6} megapixels and {MAX_SIDE:,} pixels per side"
        raise ImageError(f"{name!r} is {width}×{height} pixels; up to {most} are accepted. Scale it down first.")
    if image.format == "TIFF" and Path(name).suffix.lower() in RAW_SUFFIXES:
        raise _not_readable(name)  # many RAW files are TIFFs in which Pillow finds only the thumbnail
    if image.mode not in MODES_8BIT + MODES_16BIT:
        kind = _REFUSED_MODES.get(image.mode, image.mode)
        raise ImageError(f"{name!r} holds {kind} pixels; 8- and 16-bit ones are accepted. Export it as 16-bit first.")
    colour.check(image.info, headers.cicp, name)
    return PhotoFile(image, file, name, headers, headers.more or _further_pictures(image))


def _open_header(file: BinaryIO, name: str) -> Image.Image:
    for decoder in (DeepTiff, _Avif):
        with contextlib.suppress(*LIBRARY_ERRORS):  # another format, or a damaged file that Pillow will refuse
            return decoder(file, name)
        file.seek(0)
    PngImagePlugin.MAX_TEXT_CHUNK = colour.MAX_PROFILE_BYTES  # its limit for a compressed profile, 1 MiB by default
    try:
        return Image.open(file, formats=READ_FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        if pillow_heif.is_supported(file):
            return pillow_heif.HeifImageFile(file)
        if file.read(4) in TIFF_MAGIC and Path(name).suffix.lower() not in RAW_SUFFIXES:
            raise ImageError(
                f"{name!r} is a TIFF that is damaged or has unusual pixels. "
                "Export it as grey or RGB with 8 or 16 bits, without extra channels."
            ) from None
        raise


class _Avif(AvifImageFile):
    """Pillow's AVIF decoder, with EXIF checked before it is parsed, and with the colour description."""

    def _open(self) -> None:
        assert self.fp is not None  # set by the constructor
        if self.fp.read(8)[4:] != b"ftyp":
            raise SyntaxError("not AVIF")
        self.fp.seek(0)
        data = self.fp.read()
        *_, exif, _, _ = _avif.AvifDecoder(data, "auto", 1).get_info()
        check_exif(exif or b"", os.fsdecode(self.filename))
        self.fp.seek(0)
        super()._open()
        with contextlib.suppress(*LIBRARY_ERRORS):
            self.info["nclx_profile"] = pillow_heif.HeifFile(data).info.get("nclx_profile")


def _further_pictures(image: Image.Image) -> str:
    if isinstance(image, MpoImageFile):
        assert image.mpinfo is not None  # read when it was opened
        kinds = [entry["Attribute"]["MPType"] for entry in image.mpinfo[0xB002][1:]]
        return "pictures" if any("Thumbnail" not in kind for kind in kinds) else ""
    if image.format not in ("PNG", "WEBP", "AVIF", "HEIF") or getattr(image, "n_frames", 1) < 2:
        return ""
    return "pictures" if image.format == "HEIF" else "frames"


def _not_readable(name: str) -> ImageError:
    kind = _NEEDS_EXPORT.get(Path(name).suffix.lower())
    if kind:
        return ImageError(f"{name!r} is {kind}, which can't be read. Export it as JPEG, PNG or TIFF first.")
    return ImageError(f"{name!r} is not a {_ACCEPTED} image, whatever its name says. Export it as one of these.")

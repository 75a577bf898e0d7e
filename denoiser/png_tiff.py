"""Reads 16-bit colour from PNG and TIFF, and writes both formats, with libvips.

Pillow has no 16-bit colour: it silently reads it as 8 bits, and can't write it. So libvips reads the pixels of these
files, and writes all PNGs and TIFFs of either depth. It does not handle metadata: Pillow reads it, and write_png and
write_tiff insert it into the finished file byte for byte.
"""

from __future__ import annotations

import functools
import io
import logging
import struct
import threading
import types
import zlib
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from .metadata import LAYOUT_TAGS, encode_exif, resolution_of

_TIFF_ICC, _TIFF_XMP, _STRIP_OFFSETS = 34675, 700, 273
_GREY, _RGB = (0, 1), (2,)  # PhotometricInterpretation; 0 means white is zero, which libvips inverts
_IHDR_END = 33  # bytes: the signature and first chunk of a PNG
_TIFF_HEADER = 8  # bytes
_METRES_PER_INCH = 0.0254
_READING = threading.Lock()


class DeepTiff(ImageFile.ImageFile):
    """The header of a TIFF with colour or alpha at 16 bits or more; raises SyntaxError for any other file.

    A decoder for Pillow that provides no pixels. size, mode, info and getexif() are as in Pillow's own decoder, which
    doesn't open all of these files. mode names the channels regardless of depth; it is "F" for floating point and
    "I;32" for other depths, which this package does not read.
    """

    format = "TIFF"

    def _open(self) -> None:
        assert self.fp is not None  # set by the constructor
        start = self.fp.read(16)
        big = start[2:3] == b"+"  # BigTIFF, with 8-byte offsets; Pillow reads only little-endian ones
        directory = ImageFileDirectory_v2(start if big else start[:8])
        tags = Image.Exif()
        tags.bigtiff, tags.endian = big, "<" if start[:2] == b"II" else ">"
        tags.load_from_fp(self.fp, directory.next)
        colours = 1 if tags[ExifTags.Base.PhotometricInterpretation] in _GREY else 3
        samples, bits = tags[ExifTags.Base.SamplesPerPixel], _as_set(tags[ExifTags.Base.BitsPerSample])
        if tags[ExifTags.Base.PhotometricInterpretation] not in (*_GREY, *_RGB) or samples < 2 or max(bits) < 16:
            raise SyntaxError("not 16-bit colour or alpha")
        # Samples after the colours: 1 is premultiplied alpha (which libvips undoes), 2 is plain alpha.
        extra = tags.get(ExifTags.Base.ExtraSamples, 2)
        alpha = samples > colours and (extra[0] if isinstance(extra, tuple) else extra) in (1, 2)
        self._mode = ("L" if colours == 1 else "RGB") + ("A" if alpha else "")
        formats = _as_set(tags.get(ExifTags.Base.SampleFormat, 1))
        if bits != {16} or formats != {1}:
            self._mode = "F" if 3 in formats else "I;32"
        self._size = tags[ExifTags.Base.ImageWidth], tags[ExifTags.Base.ImageLength]
        self.info = {"icc_profile": tags.get(_TIFF_ICC), "xmp": tags.get(_TIFF_XMP)}
        self._tags = tags

    def getexif(self) -> Image.Exif:
        return self._tags


def _as_set(value: object) -> set:
    return set(value) if isinstance(value, tuple) else {value}


def is_deep(image: Image.Image, file: BinaryIO) -> bool:
    """Return whether a newly opened image, not loaded yet, is a TIFF or PNG with 16-bit colour or alpha."""
    if image.format != "PNG":
        return isinstance(image, DeepTiff)
    file.seek(_IHDR_END - 9)
    depth, kind = file.read(2)
    return depth == 16 and kind in (2, 4, 6)  # RGB, grey with alpha, RGBA


def read_samples(image: Image.Image, file: BinaryIO, orientation: int) -> np.ndarray:
    """Read the samples of a file for which is_deep is true, upright according to its EXIF `orientation`, 1 to 8.

    Returns uint16 of shape (H, W, channels): 1 for grey, 2 for grey and alpha, 3 for RGB, 4 for RGB and alpha. A PNG's
    transparent colour becomes alpha; further samples of a TIFF are left out.

    Raises ValueError if the file is damaged, or libvips reads another size or depth than the header in `image` says.
    """
    vips = _vips()
    file.seek(0)
    data = file.read()
    load = vips.Image.pngload_buffer if image.format == "PNG" else vips.Image.tiffload_buffer
    try:
        with _READING:
            vips.Error("")  # empties libvips's global buffer of error messages
            samples = load(data, access="sequential", fail_on="error")  # reads only the header
            if (samples.width, samples.height) != image.size or samples.format != "ushort":
                raise ValueError(f"{samples.width}×{samples.height} {samples.format} instead of {image.size}")
            if orientation > 1:
                samples = samples.copy_memory()  # autorot reads in another order than the file's
                samples.set_type(vips.GValue.gint_type, "orientation", orientation)
                samples = samples.autorot()
            array = samples.numpy()
            if complaints := vips.Error("").detail:  # a damaged tile is black, with a message but no exception
                raise ValueError(complaints)
    except vips.Error as error:
        raise ValueError(str(error)) from error
    return array[..., : len(image.mode)] if isinstance(image, DeepTiff) else array


def write_png(
    file: BinaryIO, samples: np.ndarray, icc_profile: bytes | None, exif: bytes | None, xmp: bytes | None
) -> None:
    """Write uint8 or uint16 samples, (H, W) or (H, W, 2 to 4) with alpha last, as a PNG of the same depth.

    Raises OSError if libvips fails.
    """
    # Level 2 with the "sub" filter: within a few per cent of the default's size, in a third of the time.
    png = _encode(samples, "pngsave_buffer", compression=2, filter="sub")
    file.write(png[:_IHDR_END])
    if icc_profile:
        file.write(_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc_profile)))
    if resolution := resolution_of(exif):
        pixels_per_metre = (round(side / _METRES_PER_INCH) for side in resolution)
        file.write(_chunk(b"pHYs", struct.pack(">IIB", *pixels_per_metre, 1)))
    if exif:
        file.write(_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
    if xmp:
        file.write(_chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + xmp))  # no compression, language or translation
    file.write(memoryview(png)[png.index(b"IDAT") - 4 :])  # skips the resolution that libvips invents


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_tiff(
    file: BinaryIO, samples: np.ndarray, icc_profile: bytes | None, exif: bytes | None, xmp: bytes | None
) -> None:
    """Write samples, as for write_png, as a TIFF with deflate compression.

    Raises OSError if libvips fails, and one of LIBRARY_ERRORS if the EXIF block is invalid.
    """
    tiff = _encode(samples, "tiffsave_buffer", compression="deflate", predictor="horizontal")
    directory = ImageFileDirectory_v2(tiff[:_TIFF_HEADER])
    end = directory.next  # the strips are between the header and the directory
    source = io.BytesIO(tiff)
    source.seek(end)
    directory.load(source)
    tags = Image.Exif()  # EXIF is structured like a TIFF: one directory holds the tags of both
    tags.load(exif or b"")
    for tag in LAYOUT_TAGS.intersection(tags):
        del tags[tag]
    for tag in LAYOUT_TAGS.intersection(directory):  # all except the resolution, which libvips invents
        tags[tag] = directory[tag]
    # Pillow writes the directory first and counts offsets from its end.
    tags[_STRIP_OFFSETS] = tuple(offset - _TIFF_HEADER for offset in directory[_STRIP_OFFSETS])
    tags.endian = "<" if directory.prefix == b"II" else ">"
    for tag, value in ((_TIFF_ICC, icc_profile), (_TIFF_XMP, xmp)):
        if value:
            tags[tag] = value
    file.write(encode_exif(tags, _TIFF_HEADER).removeprefix(b"Exif\0\0"))
    file.write(memoryview(tiff)[_TIFF_HEADER:end])


def _encode(samples: np.ndarray, saver: str, **options: object) -> bytes:
    vips = _vips()
    try:
        image = vips.Image.new_from_array(samples)
        if samples.dtype == np.uint16:  # otherwise libvips treats everything but RGB as 8 bits
            image = image.copy(interpretation="grey16" if image.bands < 3 else "rgb16")
        return getattr(image, saver)(keep="none", **options)
    except vips.Error as error:
        raise OSError(str(error)) from error


@functools.cache
def _vips() -> types.ModuleType:
    """Import pyvips on first use, since that is slow, and stop it from caching results."""
    import pyvips

    pyvips.cache_set_max(0)
    logging.getLogger("pyvips").setLevel(logging.ERROR)  # what it warns about is raised here
    return pyvips

"""Photo files of every format that is read, and random damage to them, for the fuzz test.

`python tests/helpers/damaged_files.py PNG 0 500 FOLDER` opens the damaged files with these numbers, saves those that
open, and prints a line of JSON for each: the outcome, the seconds and the peak of memory in bytes.
"""

import io
import json
import random
import resource
import signal
import sys
import time
import traceback
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import tifffile
from memory import peak_of
from PIL import Image, ImageCms

from denoiser.errors import ImageError
from denoiser.image_io import Photo, open_image, save_image

SECONDS, BYTES = 10, 2 << 30  # that one file may take
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 4), np.uint8)
PIXELS[8:40] = PIXELS[8:9]  # something to compress
INTERESTING = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
SUFFIXES = (".png", ".jpg", ".webp", ".tif", ".bmp", ".avif")


def metadata():
    exif = Image.Exif()
    exif[271], exif[274], exif[282] = "Maker", 6, 300.0
    exif[0x8769], exif[0x8825] = {36867: "2024:01:02", 40962: 64, 37500: bytes(300)}, {1: "N", 2: (48.0, 51.0, 29.5)}
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6" hdrgm:Version="1.0"/></x:xmpmeta>'
    return {"exif": exif, "icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), "xmp": xmp}


def by_pillow(kind, mode="RGB", **options):
    image, buffer = Image.fromarray(PIXELS[..., :3]).convert(mode), io.BytesIO()
    if "append_images" in options:
        options["append_images"] = [image.transpose(Image.Transpose.ROTATE_180)]
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def by_tifffile(samples, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **{"photometric": "rgb"} | options)
    return buffer.getvalue()


def by_us(dtype, suffix, folder):
    path = folder / f"whole{suffix}"
    about = metadata() | {"exif": metadata()["exif"].tobytes()}
    save_image(Photo(PIXELS[..., :3].astype(dtype) * (257 if dtype == np.uint16 else 1), **about), path)
    return path.read_bytes()


def heic(**options):
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(PIXELS[..., :3])).save(buffer, **options)
    return buffer.getvalue()


def whole_files(kind, folder):
    """Return intact files of a format."""
    about, two = metadata(), {"save_all": True, "append_images": []}
    deep = PIXELS.astype(np.uint16) * 257
    return {
        "JPEG": lambda: [
            by_pillow("JPEG", **about),
            by_pillow("JPEG", progressive=True, **about),
            by_pillow("JPEG", "L", restart_marker_blocks=2),
            by_pillow("JPEG", "CMYK"),
            by_pillow("MPO", **two),
        ],
        "PNG": lambda: [
            by_us(np.uint8, ".png", folder),
            by_us(np.uint16, ".png", folder),
            by_pillow("PNG", "P", transparency=3),
            by_pillow("PNG", "LA"),
            by_pillow("PNG", "1"),
            by_pillow("PNG", **two),
        ],
        "WEBP": lambda: [
            by_pillow("WEBP", **about),
            by_pillow("WEBP", "RGBA", lossless=True),
            by_pillow("WEBP", **two),
        ],
        "TIFF": lambda: [
            by_us(np.uint8, ".tif", folder),
            by_us(np.uint16, ".tif", folder),
            by_pillow("TIFF"),
            by_pillow("TIFF", "CMYK", compression="tiff_lzw"),
            by_pillow("TIFF", compression="jpeg"),
            by_pillow("TIFF", "1", compression="group4"),
            by_pillow("TIFF", **two),
            by_tifffile(PIXELS[..., :3], tile=(16, 16), compression="zlib", predictor=True),
            by_tifffile(deep, tile=(32, 32), extrasamples=["unassalpha"]),
            by_tifffile(deep[..., :3], bigtiff=True, rowsperstrip=5),
            by_tifffile(PIXELS[..., :3], bigtiff=True, byteorder="<"),
            by_tifffile(deep[..., :2], photometric="minisblack", extrasamples=["assocalpha"], byteorder=">"),
            by_tifffile(deep[..., 0], photometric="miniswhite"),
        ],
        "BMP": lambda: [by_pillow("BMP"), by_pillow("BMP", "P"), by_pillow("BMP", "1"), by_pillow("BMP", "RGBA")],
        "GIF": lambda: [by_pillow("GIF", comment=b"a comment"), by_pillow("GIF", **two), by_pillow("GIF", "L")],
        "AVIF": lambda: [by_pillow("AVIF", **about), by_pillow("AVIF", "RGBA"), by_pillow("AVIF", **two)],
        "HEIC": lambda: [
            heic(**about | {"exif": about["exif"].tobytes()}),
            heic(color_primaries=12, transfer_characteristics=13, save_nclx_profile=True),
        ],
    }[kind]()


FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIC")


def damaged(data, others, draw):
    """Damage a file in one to four places."""
    data = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        # Headers matter most: half of the accidents happen in the first part, or in the last, where TIFFs have theirs.
        start = draw.choice([0, 0, max(0, len(data) - 600), draw.randrange(len(data))])
        at = min(len(data) - 1, start + draw.randrange(600))
        kind = draw.randrange(9)
        if kind < 3:
            data[at] = draw.choice([data[at] ^ 1 << draw.randrange(8), draw.randrange(256)])
        elif kind < 6:
            size, order = draw.choice([1, 2, 4, 4, 8]), draw.choice(["big", "little"])
            value = draw.choice([*INTERESTING, len(data), draw.randrange(70_000), at])
            data[at : at + size] = (value % 256**size).to_bytes(size, order)
        elif kind == 6:
            data[at : at + draw.randrange(200)] = b"" if draw.random() < 0.5 else bytes(draw.randrange(200))
        elif kind == 7:
            other = draw.choice(others)
            there = draw.randrange(len(other))
            data[at:at] = other[there : there + draw.randrange(300)]
        else:
            del data[max(8, draw.randrange(len(data))) :]
    return bytes(data)


def with_checksums(png):
    """The PNG with corrected checksums, so that its decoder doesn't stop at them."""
    data, at = bytearray(png), 8
    while at + 12 <= len(data) and at + 12 + (size := int.from_bytes(data[at : at + 4], "big")) <= len(data):
        data[at + 8 + size : at + 12 + size] = zlib.crc32(data[at + 4 : at + 8 + size]).to_bytes(4, "big")
        at += 12 + size
    return bytes(data)


def damaged_file(kind, number, whole):
    """Return the damaged file of a format with a number: always the same."""
    draw = random.Random(f"{kind} {number}")
    data = damaged(draw.choice(whole), whole, draw)
    return with_checksums(data) if kind == "PNG" and draw.random() < 0.8 else data


def use(path, number):
    """Open a file and, if it is a photo, save it: "photo", or the sentence that says why not."""
    try:
        photo = open_image(path)
        suffix = SUFFIXES[number % len(SUFFIXES)]
        if max(photo.width, photo.height) < 5000:  # only damage makes one that opens this large
            save_image(photo, path.with_name(f"again{suffix}"))
        return "photo"
    except ImageError as error:
        return str(error)
    except Exception:
        return traceback.format_exc()


def main(kind, first, last, folder):
    folder = Path(folder)
    whole = whole_files(kind, folder)
    for data in whole:  # also loads what libraries load on first use
        (folder / "file").write_bytes(data)
        assert use(folder / "file", 0) == "photo", kind
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + 2 * BYTES, taken + 2 * BYTES))  # protects the machine
    for number in range(first, last):
        (folder / "file").write_bytes(damaged_file(kind, number, whole))
        print(json.dumps({"number": number}), flush=True)
        signal.alarm(SECONDS)  # ends the process
        started = time.monotonic()
        outcome, peak = peak_of(lambda number=number: use(folder / "file", number))
        signal.alarm(0)
        seconds = time.monotonic() - started
        print(json.dumps({"number": number, "outcome": outcome, "seconds": seconds, "peak": peak}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])

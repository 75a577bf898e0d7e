"""Colour spaces of photo files: ICC profiles, and the other ways in which files describe their colours.

A photo has an ICC profile, or none if it is sRGB. Other descriptions in a file (code points of ITU-T H.273 in PNG, HEIC
and AVIF; gamma and chromaticities in PNG) are converted to an equivalent profile, and the pixels stay as they are.
"""

from __future__ import annotations

import contextlib
import io
import struct

import numpy as np
from PIL import Image, ImageCms

from .errors import LIBRARY_ERRORS, ImageError

MAX_PROFILE_BYTES = 8 << 20

Point = tuple[float, float]  # CIE x and y
Primaries = tuple[Point, Point, Point, Point]  # red, green, blue, white

_D65, _DCI, _C = (0.3127, 0.3290), (0.314, 0.351), (0.310, 0.316)
SRGB_PRIMARIES: Primaries = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65)
_NTSC_1987 = ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65)
_PRIMARIES: dict[int, Primaries] = {  # by H.273 code point; all others are unknown or unused, and treated as sRGB
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: _NTSC_1987,
    7: _NTSC_1987,
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _DCI),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
# Curves from pixel values to light, as parameters of ICC parametric curves: a power law, or one with a linear segment
# near black. Television curves and unknown ones are treated as sRGB's.
SRGB_CURVE: tuple[float, ...] = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_CURVES: dict[int, tuple[float, ...]] = {4: (2.2,), 5: (2.8,), 8: (1.0,)}
_HDR = {16: "PQ", 18: "HLG"}
_GAMMA_OF_SRGB, _TOLERANCE = 1 / 2.2, 0.05  # a PNG gamma this close means sRGB's curve, as in libpng
_D50 = np.array([0.9642, 1.0, 0.8249])  # white point of ICC profiles, XYZ
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SPACE_FIELD = slice(16, 20)  # in a profile's header


def matching_profile(profile: bytes | None, *, grey: bool) -> bytes | None:
    """Return the profile if its colour space (grey or RGB) is that of the pixels, else None."""
    return profile if profile and profile[_SPACE_FIELD] == (b"GRAY" if grey else b"RGB ") else None


def check_profile(profile: bytes | None, name: str) -> None:
    """Raise ImageError if the profile is far too long. name is the file's name."""
    if profile and len(profile) > MAX_PROFILE_BYTES:
        size, most = len(profile) >> 20, MAX_PROFILE_BYTES >> 20
        raise ImageError(f"{name!r} has a colour profile of {size} MiB; up to {most} are accepted. Convert it to sRGB.")


def check(info: dict, cicp: tuple[int, ...] | None, name: str) -> None:
    """Raise ImageError for colours that are not supported: high dynamic range, or a profile that is far too long.

    info is the info dictionary of an opened Pillow image, and cicp the H.273 code points of a PNG.
    """
    check_profile(info.get("icc_profile"), name)
    kind = _HDR.get(_code_points(info, cicp)[1])
    if kind:
        raise ImageError(f"{name!r} is an HDR image ({kind}), which can't be read. Export it in standard range (SDR).")


def profile_of(info: dict, cicp: tuple[int, ...] | None, *, grey: bool) -> bytes | None:
    """Return the ICC profile of an image, described as for check; None for sRGB, or if it doesn't fit the pixels."""
    primaries, transfer = _code_points(info, cicp)
    if primaries or transfer:
        return _profile(_PRIMARIES.get(primaries, SRGB_PRIMARIES), _CURVES.get(transfer, SRGB_CURVE), grey=grey)
    if info.get("icc_profile"):
        return matching_profile(info["icc_profile"], grey=grey)
    if "srgb" not in info and ("gamma" in info or "chromaticity" in info):
        return _profile_from_gamma(info.get("gamma"), info.get("chromaticity"), grey=grey)
    return None


def _code_points(info: dict, cicp: tuple[int, ...] | None) -> tuple[int, int]:
    """Return the code points of primaries and transfer function, or zeros.

    In a PNG they take precedence over the profile; in HEIC and AVIF the profile does.
    """
    if cicp:
        return cicp[0], cicp[1]
    described = info.get("nclx_profile")
    if described and not info.get("icc_profile"):
        return described["color_primaries"], described["transfer_characteristics"]
    return 0, 0


def _profile_from_gamma(gamma: float | None, chromaticity: tuple[float, ...] | None, *, grey: bool) -> bytes | None:
    """Build a profile for the gamma and chromaticities of a PNG; None for sRGB, or if the values are invalid."""
    with contextlib.suppress(*LIBRARY_ERRORS):
        primaries, curve = SRGB_PRIMARIES, SRGB_CURVE
        if chromaticity and not np.allclose(chromaticity, np.roll(np.ravel(SRGB_PRIMARIES), 2), atol=0.005):
            white, red, green, blue = zip(chromaticity[::2], chromaticity[1::2], strict=True)
            primaries = red, green, blue, white
        if gamma is not None and (primaries != SRGB_PRIMARIES or abs(gamma / _GAMMA_OF_SRGB - 1) > _TOLERANCE):
            curve = (1 / gamma,)
        if 0.1 <= curve[0] <= 10 and all(0 <= x <= 1 and 0 < y <= 1 for x, y in primaries):
            return _profile(primaries, curve, grey=grey)
    return None


def _profile(primaries: Primaries, curve: tuple[float, ...], *, grey: bool) -> bytes | None:
    if curve == SRGB_CURVE and (grey or primaries == SRGB_PRIMARIES):
        return None
    return build_profile(primaries, curve, grey=grey)


def build_profile(primaries: Primaries, curve: tuple[float, ...], *, grey: bool) -> bytes:
    """Build an ICC profile (version 4, ISO 15076-1) of a display with the given primaries and curve."""
    tone = struct.pack(">4sIHH", b"para", 0, 0 if len(curve) == 1 else 3, 0) + _fixed(*curve)
    text = "RGB" if not grey else "Grey"
    tags = {b"desc": _text(f"{text} as the file described it"), b"cprt": _text("CC0"), b"wtpt": _xyz(_D50)}
    if grey:
        tags[b"kTRC"] = tone
    else:
        *colours, white = ((x / y, 1.0, (1 - x - y) / y) for x, y in primaries)
        columns = np.array(colours).T
        columns = columns * np.linalg.solve(columns, white)  # so that they add up to white
        to_d50 = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD
        tags[b"chad"] = struct.pack(">4sI", b"sf32", 0) + _fixed(*to_d50.flatten())
        for letter, column in zip("rgb", (to_d50 @ columns).T, strict=True):
            tags[f"{letter}XYZ".encode()], tags[f"{letter}TRC".encode()] = _xyz(column), tone
    start, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        table += struct.pack(">4sII", tag, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">II4s", start + len(body), 0, b"\4\x30\0\0") + b"mntr" + (b"GRAY" if grey else b"RGB ")
    header += b"XYZ " + struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(*_D50)
    return header.ljust(128, b"\0") + table + body


def _fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(*values)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">III4sII", 0, 1, 12, b"enUS", len(encoded), 28) + encoded


def cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert a CMYK or Lab image to RGB, through its profile if that is usable."""
    if image.mode == "CMYK" and profile:
        with contextlib.suppress(ImageCms.PyCMSError):  # a damaged profile, or one for another mode
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode="RGB")
            assert converted is not None  # it is only with inPlace
            return converted
    return image.convert("RGB")


def to_srgb(pixels: np.ndarray, profile: bytes) -> np.ndarray | None:
    """Convert 8-bit pixels, grey or RGB, from their profile to sRGB; None if the profile can't be used."""
    grey = pixels.ndim == 2
    image = Image.fromarray(np.arange(256, dtype=np.uint8)[None] if grey else pixels)  # for grey, a lookup table
    srgb = io.BytesIO(build_profile(SRGB_PRIMARIES, SRGB_CURVE, grey=grey))
    flags = ImageCms.Flags.NOOPTIMIZE if grey else ImageCms.Flags.NONE  # optimized tables are too coarse for grey
    try:
        converted = ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, flags=flags)
    except (ImageCms.PyCMSError, *LIBRARY_ERRORS):
        return None
    return np.array(converted)[0][pixels] if grey else np.array(converted)

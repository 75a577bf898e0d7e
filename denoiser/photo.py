"""A photo in memory: its pixels and metadata."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .errors import ImageError
from .metadata import exif_without_gps, xmp_without_gps


@dataclass(frozen=True, eq=False)
class Photo:
    """An upright image with the metadata of its file.

    pixels: (H, W, 3) RGB or (H, W) grey; uint8 or uint16 over the full range.
    alpha: (H, W) of the same dtype, 0 = transparent; None if there is none.
    icc_profile: an ICC profile for the pixels; None means sRGB.
    exif: an EXIF block without Orientation.
    xmp: an XMP packet without Orientation.
    is_part: whether overwriting the file would lose more that is in it: frames, pages, layers, extra channels, a video.
    notes: sentences for the user on what was left out or converted.

    Raises ImageError if pixels or alpha have another shape or dtype.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    is_part: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("pixels", "alpha"):
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) and not (name == "alpha" and array is None):
                raise ImageError(f"The {name} must be a NumPy array, not {type(array).__name__}.")
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
        """Bits per channel: 8 or 16."""
        return self.pixels.dtype.itemsize * 8

    def with_pixels(self, pixels: np.ndarray) -> Photo:
        """Return the photo with other pixels. Raises ImageError unless height and width are the same."""
        if pixels.shape[:2] != self.pixels.shape[:2]:
            raise ImageError(
                f"The new pixels must have height and width {self.pixels.shape[:2]}, not {pixels.shape[:2]}."
            )
        return replace(self, pixels=pixels)

    def without_location(self) -> Photo:
        """Return the photo without the GPS data in its EXIF and XMP.

        A block that can't be parsed is removed whole. Place names that a person typed in are not removed.
        """
        exif, xmp = self.exif and exif_without_gps(self.exif), self.xmp and xmp_without_gps(self.xmp)
        return replace(self, exif=exif, xmp=xmp)


def to_8bit(samples: np.ndarray) -> np.ndarray:
    """Round uint16 samples of any shape to uint8."""
    wide = samples.astype(np.uint32)
    wide += 128  # in place, to save memory
    wide //= 257
    return wide.astype(np.uint8)

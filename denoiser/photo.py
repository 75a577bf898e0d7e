"""A photo in memory: its pixels, and what its file said beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .errors import ImageError
from .metadata import exif_without_gps, xmp_without_gps


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture as it is meant to be seen, with what its file said beside the pixels.

    pixels: (H, W, 3) RGB or (H, W) grey; uint8 or uint16 over the full range; upright.
    alpha: (H, W) of the same dtype, 0 = transparent; None where the file had none.
    icc_profile: of the same colour space as the pixels; None stands for sRGB.
    exif: an EXIF block without Orientation, since the pixels are upright already.
    xmp: an XMP packet without Orientation.
    is_part: whether its file holds more (frames, pages, layers, a film), so that it can't stand for the file.
    notes: what of the file is not in the photo, each in a sentence for the person who gave the file.

    Raises ImageError where pixels or alpha are anything else.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    is_part: bool = False
    notes: tuple[str, ...] = ()

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

    def with_pixels(self, pixels: np.ndarray) -> Photo:
        """The same photo with other pixels of the same height and width; raises ImageError where they differ."""
        if pixels.shape[:2] != self.pixels.shape[:2]:
            raise ImageError(f"The new pixels must be {self.pixels.shape[:2]} high and wide, not {pixels.shape[:2]}.")
        return replace(self, pixels=pixels)

    def without_location(self) -> Photo:
        """The same photo without the GPS data of its EXIF and XMP; the rest of both stays.

        A block that can't be parsed goes as a whole. Place names that a person typed in are not looked for.
        """
        exif, xmp = self.exif and exif_without_gps(self.exif), self.xmp and xmp_without_gps(self.xmp)
        return replace(self, exif=exif, xmp=xmp)


def to_8bit(samples: np.ndarray) -> np.ndarray:
    """uint16 samples of any shape, rounded to uint8."""
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)

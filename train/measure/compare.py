"""Show photos before and after denoising, side by side at 1:1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from denoiser import Denoiser, Photo, residual

from .evaluate import noisy_version


def compare(
    denoisers: Sequence[Denoiser], photos: Sequence[np.ndarray], level: float | None = None, side: int | None = None
) -> np.ndarray:
    """Draw one row per photo, uint8 (H, W, 3), all denoised blindly; return uint8 (rows, columns, 3).

    A row holds the noisy photo, the result of each denoiser and what the last one removed. With a level, the photos are
    clean: a row holds the photo with 8-bit Gaussian noise of that level, the results and the clean photo. Only the
    middle, side x side pixels, is shown; None shows whole photos. Smaller photos are padded with black.
    """
    rows = []
    for photo in photos:
        if level is None:
            noisy, restored = middle(photo, side), [middle(denoiser.denoise(photo), side) for denoiser in denoisers]
            last = residual(Photo(noisy), Photo(restored[-1])).pixels
        else:
            last = middle(photo, side)
            noisy = (noisy_version(last, level, quantized=True) * 255).round().astype(np.uint8)
            restored = [denoiser.denoise(noisy) for denoiser in denoisers]
        rows.append([noisy, *restored, last])
    height = side or max(row[0].shape[0] for row in rows)
    width = side or max(row[0].shape[1] for row in rows)
    return np.concatenate([np.concatenate([_padded(part, height, width) for part in row], axis=1) for row in rows])


def middle(photo: np.ndarray, side: int | None) -> np.ndarray:
    """Return the middle of a photo, at most side x side pixels; all of it for None."""
    if side is None:
        return photo
    top, left = (max(0, length - side) // 2 for length in photo.shape[:2])
    return photo[top : top + side, left : left + side]


def _padded(photo: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.pad(photo, [(0, height - photo.shape[0]), (0, width - photo.shape[1]), (0, 0)])

"""Colour matrices and their application to batches of pixels."""

from __future__ import annotations

import torch
from torch import Tensor

# Y, Cb and Cr of a picture file, with Cb and Cr around zero: JFIF, i.e. BT.601 at full range.
RGB_TO_YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
YCC_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))


def mix(pixels: Tensor, matrix: Tensor) -> Tensor:
    """Multiply the colour of every pixel, (N, 3, H, W), by `matrix`, (3, 3) or (N, 3, 3)."""
    return (matrix @ pixels.flatten(2)).view_as(pixels)


def constant(values: object, like: Tensor) -> Tensor:
    """Return `values` as a tensor with the dtype and device of `like`."""
    return torch.tensor(values, dtype=like.dtype, device=like.device)

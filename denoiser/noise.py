"""Noise models: pure functions of (pixels, strength, generator).

Pixels are float tensors of any shape with values in [0, 1]. Results keep shape, dtype and device, and are neither
clipped nor rounded. sigma is a standard deviation on the same scale, and `level` the same on the 0-255 scale.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

LEVEL_SCALE = 255.0
Level = TypeVar("Level", float, Tensor)


def sigma_from_level(level: Level) -> Level:
    """Convert a noise level on the 0-255 scale to a standard deviation on [0, 1]."""
    return level / LEVEL_SCALE


def level_from_sigma(sigma: float) -> float:
    """Convert a standard deviation on [0, 1] to a noise level on the 0-255 scale."""
    return sigma * LEVEL_SCALE


def gaussian(pixels: Tensor, sigma: float | Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Add white Gaussian noise of standard deviation sigma, a number or a tensor that broadcasts to the pixels.

    The generator must be on the device of the pixels; None uses PyTorch's default generator.
    """
    noise = torch.randn(pixels.shape, dtype=pixels.dtype, device=pixels.device, generator=generator)
    return pixels + torch.as_tensor(sigma, dtype=pixels.dtype, device=pixels.device) * noise


def poisson_gaussian(
    pixels: Tensor, shot: float | Tensor, read: float | Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Add signal-dependent sensor noise of variance shot * pixels + read**2: photon (shot) noise plus read noise.

    shot and read are numbers, or tensors that broadcast to the pixels, on the scale of the pixels. The Poisson part is
    approximated by a Gaussian (Foi et al. 2008, "Practical Poissonian-Gaussian noise modeling and fitting for
    single-image raw-data").
    """
    shot, read = (torch.as_tensor(item, dtype=pixels.dtype, device=pixels.device) for item in (shot, read))
    return gaussian(pixels, (shot * pixels.clamp(min=0) + read**2).sqrt(), generator)


def quantize(pixels: Tensor) -> Tensor:
    """Clip to [0, 1] and round to multiples of 1/255, as saving to an 8-bit file does. Returns floats."""
    return (pixels.clamp(0, 1) * 255).round() / 255

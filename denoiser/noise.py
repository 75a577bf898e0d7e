"""Noise models: pure functions of (pixels, strength, generator).

Pixels are float tensors of any shape with values in [0, 1]; the result keeps shape, dtype and device and is neither
clipped nor rounded. sigma is a standard deviation on the same scale; `level` is the 0-255 number that people know.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEVEL_SCALE = 255.0


def sigma_from_level(level: float) -> float:
    """The 0-255 noise level that people know, as a standard deviation on [0, 1]."""
    return level / LEVEL_SCALE


def level_from_sigma(sigma: float) -> float:
    """The inverse of sigma_from_level."""
    return sigma * LEVEL_SCALE


def gaussian(pixels: Tensor, sigma: float | Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Add white Gaussian noise of standard deviation sigma, a number or a tensor that broadcasts to the pixels.

    The generator must be on the device of the pixels; None draws from PyTorch's default one.
    """
    noise = torch.randn(pixels.shape, dtype=pixels.dtype, device=pixels.device, generator=generator)
    return pixels + torch.as_tensor(sigma, dtype=pixels.dtype, device=pixels.device) * noise


def poisson_gaussian(
    pixels: Tensor, shot: float | Tensor, read: float | Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Add signal-dependent noise of variance shot * pixels + read**2: photons arriving plus the sensor's read-out.

    Both strengths are on [0, 1] and broadcast to the pixels. The Gaussian approximation of the Poisson part is used
    (Foi et al. 2008, "Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data").
    """
    shot, read = (torch.as_tensor(item, dtype=pixels.dtype, device=pixels.device) for item in (shot, read))
    return gaussian(pixels, (shot * pixels.clamp(min=0) + read**2).sqrt(), generator)


def quantize(pixels: Tensor) -> Tensor:
    """Clip to [0, 1] and round to 8 bits, as saving to a picture file does. Returns floats, multiples of 1/255."""
    return (pixels.clamp(0, 1) * 255).round() / 255

"""Noise models: pure functions of (pixels, strength, generator).

Pixels are float tensors of any shape with values in [0, 1]; the result keeps shape, dtype and device and is neither
clipped nor rounded. sigma is a standard deviation on the same scale; `level` is the 0-255 number that people know.
`camera`, the noise of photos as they come out of a camera, differs from the others in most of this: see there.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from denoiser.camera import blur, develop, draw_camera, reduce_noise, unprocess
from denoiser.jpeg import jpeg

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


@torch.no_grad()
def camera(pixels: Tensor, generator: torch.Generator, downscale: int = 1) -> tuple[Tensor, Tensor]:
    """Take sRGB pictures, (N, 3, H, W) with even H and W, with a random camera each: (noisy, clean), float32.

    Both went through the same lens, sensor colours, demosaicing, smoothing and sharpening and, last, were shrunk to
    H / downscale by W / downscale. Only noisy has the sensor's noise, reduced as cameras do it, is rounded to
    multiples of 1/255 and, most often, has the traces of JPEG: a network that takes the one to the other leaves
    sharpness alone. Strong noise darkens a developed picture, whose curves are bent; clean is as dark, so that colours
    are left alone too. The generator must be on the device of the pixels. Mixed precision doesn't apply here.
    """
    with torch.autocast(pixels.device.type, enabled=False):
        shots = draw_camera(pixels.shape[0], generator)
        light = blur(unprocess(pixels.float(), shots), shots.optics)
        error = poisson_gaussian(light, shots.shot, shots.read, generator) - light
        rows = torch.zeros_like(light[:, :1, :, :1])
        error = error + gaussian(rows, shots.row, generator)
        clean, noisy, mirrored = (
            develop(torch.maximum(light + sign * error, shots.black).clamp(max=1), shots) for sign in (0, 1, -1)
        )
        # The noise itself cancels in the mean of noisy and mirrored; what is left is the drift of the colours.
        clean = (clean + local_mean((noisy + mirrored) / 2 - clean)).clamp(0, 1)
        noisy = (clean + reduce_noise(noisy - clean, shots)).clamp(0, 1)
        if downscale > 1:
            noisy, clean = functional.avg_pool2d(noisy, downscale), functional.avg_pool2d(clean, downscale)
        return quantize(torch.where(shots.compressed, jpeg(noisy, shots.quality, shots.halved_chroma), noisy)), clean


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


def quantize(pixels: Tensor) -> Tensor:
    """Clip to [0, 1] and round to 8 bits, as saving to a picture file does. Returns floats, multiples of 1/255."""
    return (pixels.clamp(0, 1) * 255).round() / 255

"""Apply JPEG compression to batches of tensors, exactly as libjpeg does, on any device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .colour import RGB_TO_YCC, YCC_TO_RGB, constant, mix

# The standard's example tables (ITU-T T.81, annex K.1), which nearly every encoder scales.
LUMA_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_STEPS = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(((99,) * 8),) * 4,
)


def jpeg(pixels: Tensor, quality: Tensor, halved_chroma: Tensor) -> Tensor:
    """Save `pixels` as JPEG and open it again (ITU-T T.81, libjpeg's tables): any (H, W); [0, 1], not rounded.

    quality and halved_chroma have shape (N, 1, 1, 1), as in Camera.
    """
    height, width = pixels.shape[-2:]
    padded = functional.pad(pixels, (0, -width % 16, 0, -height % 16), mode="replicate")
    luma, chroma = mix(255 * padded, constant(RGB_TO_YCC, pixels)).split([1, 2], dim=1)
    luma = rounded_spectrum(luma - 128, constant(LUMA_STEPS, pixels), quality) + 128
    steps = constant(CHROMA_STEPS, pixels)
    halved = rounded_spectrum(functional.avg_pool2d(chroma, 2), steps, quality)
    halved = functional.interpolate(halved, scale_factor=2, mode="bilinear")
    chroma = torch.where(halved_chroma, halved, rounded_spectrum(chroma, steps, quality))
    picture = mix(torch.cat([luma, chroma], dim=1), constant(YCC_TO_RGB, pixels)) / 255
    return picture[..., :height, :width].clamp(0, 1)


def rounded_spectrum(values: Tensor, steps: Tensor, quality: Tensor) -> Tensor:
    """Round the cosine coefficients of each 8×8 block to the steps of `quality`, as JPEG does, and transform back.

    values: (N, C, H, W) around zero, with H and W multiples of 8; they are rounded to whole numbers first.
    steps: (8, 8), the quantization steps of quality 50.
    """
    percent = torch.where(quality < 50, torch.floor(5000 / quality), 200 - 2 * quality)
    steps = ((steps.flatten() * percent[..., None] + 50) / 100).floor().clamp(1, 255)
    frequency, place = torch.meshgrid(*[torch.arange(8, dtype=values.dtype, device=values.device)] * 2, indexing="ij")
    cosines = torch.cos(torch.pi / 8 * (place + 0.5) * frequency) / 2
    cosines[0] = 8**-0.5
    transform = torch.kron(cosines, cosines)  # (64, 64), for flattened blocks

    count, channels, height, width = values.shape
    blocks = values.round().view(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4).flatten(-2)
    kept = (blocks @ transform.mT / steps).round() * steps
    blocks = (kept @ transform).unflatten(-1, (8, 8)).transpose(3, 4)
    # Flat blocks often end on halves, which decoders round up; to the nearest even number they would lose colour.
    return (blocks.reshape(values.shape) + 0.5 + 1e-3).floor().clamp(-128, 127)

"""Simulate the noise of uploaded photos: camera noise or grain, then filtered, resized and recompressed.

Pixels are float32 of shape (N, 3, H, W), RGB on [0, 1]. A pair is (noisy, clean), with noisy rounded to 8 bits as in a
file. All random numbers come from the generator, on the device of the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from denoiser import noise

from .camera import blur, photograph
from .colour import RGB_TO_YCC, YCC_TO_RGB, constant, mix
from .jpeg import jpeg
from .photo_set import PhotoSet

MARGIN = 16  # extra pixels simulated around a crop, so that it can start anywhere on the Bayer and JPEG grids
GRAIN_SHARE = 0.2  # of the uploads have grain added directly; the rest come from a camera
FILTERED_SHARE = 0.2  # went through an edge-preserving filter, as in phones
RESIZED_SHARE = 0.3  # were resized, noise and all
SCALES = (0.5, 2.0)  # range of the resizing factor
RECOMPRESSED_SHARE = 0.35  # were stored as JPEG a second time
JPEG_GRID = 16  # pixels after which JPEG's blocks repeat, with halved chroma


@torch.no_grad()
def upload_pairs(
    photos: PhotoSet, count: int, size: int, partial_share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw pairs of size x size crops of simulated uploads: (noisy, clean), each (count, 3, size, size).

    A partial_share of them are noisy only in part. Resized crops share one factor, since they are computed together;
    everything else is drawn per crop.
    """
    with torch.autocast(photos.pixels.device.type, enabled=False):
        resized = int((_uniform(count, 0, 1, generator) < RESIZED_SHARE).sum())
        low, high = (math.log(scale) for scale in SCALES)
        scale = float(_uniform(1, low, high, generator).exp())
        pairs = [
            _pairs_at_scale(photos, number, size, factor, partial_share, generator)
            for number, factor in [(count - resized, 1.0), (resized, scale)]
            if number
        ]
        noisy, clean = (torch.cat(pictures) for pictures in zip(*pairs, strict=True))
    return noisy, clean


def _pairs_at_scale(
    photos: PhotoSet, count: int, size: int, scale: float, partial_share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw the pairs that are resized by `scale`, or by as much as the size of the photos allows."""
    largest = photos.smallest_side // 2 * 2  # cameras take even sides
    window = min(size + MARGIN, largest)
    source = min(2 * math.ceil(window / scale / 2), largest)
    crops = photos.crops(count, source, generator)
    grainy = int((_uniform(count, 0, 1, generator) < GRAIN_SHARE).sum())
    makers = [(crops[:grainy], grain), (crops[grainy:], photograph)]
    pairs = [make(part, generator) for part, make in makers if len(part)]
    noisy, clean = (torch.cat(pictures) for pictures in zip(*pairs, strict=True))
    noisy = change_some(noisy, partial_share, generator, lambda some, chosen: in_part(some, clean[chosen], generator))
    noisy = change_some(noisy, FILTERED_SHARE, generator, lambda some, chosen: smooth(some, clean[chosen], generator))
    if source != window:
        by_area = source > window and bool(torch.rand((), generator=generator, device=generator.device) < 0.5)
        noisy, clean = (resize(pixels, window, by_area) for pixels in (noisy, clean))
    noisy = noise.quantize(noisy)
    noisy = change_some(noisy, RECOMPRESSED_SHARE, generator, lambda some, _: recompress(some, generator))
    return cut(noise.quantize(noisy), clean, size, generator)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draw one number per picture: (count, 1, 1, 1)."""
    return low + (high - low) * torch.rand((count, 1, 1, 1), generator=generator, device=generator.device)


def change_some(
    pixels: Tensor, share: float, generator: torch.Generator, change: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Replace each picture with probability `share` by change(chosen pictures, mask of the chosen)."""
    chosen = _uniform(len(pixels), 0, 1, generator).flatten() < share
    if chosen.any():
        pixels = pixels.clone()
        pixels[chosen] = change(pixels[chosen], chosen)
    return pixels


def grain(pixels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Add correlated noise to pictures: half of them in luma, a quarter in chroma, a quarter in both.

    Luma grain reaches up to 2 pixels, chroma blotches up to 12, each at levels of 2 to 20. Some pairs are
    sharpened, noise and all.
    """
    count, _, height, width = pixels.shape
    shape = (count, 3, height, width)
    planes = torch.randn(shape, generator=generator, device=pixels.device)
    luma = blur(planes[:, :1], _uniform(count, 0, 2, generator))
    chroma = blur(planes[:, 1:], _uniform(count, 0.5, 12, generator))
    kind = _uniform(count, 0, 1, generator)
    strengths = [_uniform(count, 2, 20, generator) / noise.LEVEL_SCALE for _ in range(2)]
    luma = _unit(luma) * strengths[0] * ((kind < 0.5) | (kind >= 0.75))
    chroma = _unit(chroma) * strengths[1] * (kind >= 0.5)
    noisy = pixels + mix(torch.cat([luma, chroma], dim=1), constant(YCC_TO_RGB, pixels))
    amount = _uniform(count, 0, 2, generator) * (_uniform(count, 0, 1, generator) < 0.4)
    reach = _uniform(count, 0.7, 1.2, generator)
    noisy, clean = (image + amount * (image - blur(image, reach)) for image in (noisy, pixels))
    return noise.quantize(noisy), clean.clamp(0, 1)


def _unit(planes: Tensor) -> Tensor:
    return planes / planes.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()


def in_part(noisy: Tensor, clean: Tensor, generator: torch.Generator) -> Tensor:
    """Keep the noise only in one part of each picture, or rising across it."""
    return clean + partial_mask(len(noisy), noisy.shape[-1], generator) * (noisy - clean)


def partial_mask(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw masks that rise from 0 to 1 in a random direction, sharply or gradually: (count, 1, size, size)."""
    angle = _uniform(count, 0, 2 * math.pi, generator)
    place = torch.linspace(-0.5, 0.5, size, device=generator.device)
    along = place.view(-1, 1) * angle.sin() + place * angle.cos()
    middle, width = _uniform(count, -0.3, 0.3, generator), _uniform(count, 0.02, 1, generator)
    return ((along - middle) / width + 0.5).clamp(0, 1)


def smooth(noisy: Tensor, clean: Tensor, generator: torch.Generator) -> Tensor:
    """Filter noisy pictures as phones do: an edge-preserving filter matched roughly to their noise level."""
    level = (noisy - clean).square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return neighbourhood_filter(noisy, level * _uniform(len(noisy), 1, 3, generator))


def neighbourhood_filter(pixels: Tensor, tolerance: Tensor, radius: int = 2) -> Tensor:
    """Average each pixel with neighbours of similar brightness (Yaroslavsky 1985).

    tolerance, (N, 1, 1, 1) or (N, 1, H, W), is the difference in brightness, on [0, 1], at which a neighbour has the
    weight exp(-1/2).
    """
    side = 2 * radius + 1
    padded = F.pad(pixels, (radius,) * 4, mode="reflect")
    around = F.unfold(padded, side).unflatten(1, (3, side**2)).unflatten(-1, pixels.shape[-2:])
    difference = (around - pixels.unsqueeze(2)).mean(dim=1) / tolerance.clamp(min=1e-4)
    weights = torch.exp(-0.5 * difference.square())
    return (around * weights.unsqueeze(1)).sum(dim=2) / weights.sum(dim=1, keepdim=True)


def resize(pixels: Tensor, side: int, by_area: bool) -> Tensor:
    """Resize squares to side x side, by area averaging or bicubic interpolation."""
    if by_area:
        return F.interpolate(pixels, size=(side, side), mode="area")
    return F.interpolate(pixels, size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)


def recompress(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Compress pictures as JPEG of quality 40 to 95, most with halved chroma, on a randomly placed grid."""
    count = len(pixels)
    quality = _uniform(count, 40, 95, generator).round()
    halved = _uniform(count, 0, 1, generator) < 0.75
    down, right = torch.randint(JPEG_GRID, (2,), generator=generator, device=generator.device).tolist()
    stored = jpeg(F.pad(pixels, (right, 0, down, 0), mode="replicate"), quality, halved)
    return stored[..., down:, right:]


def cut(noisy: Tensor, clean: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cut a random window of size x size, the same from both pictures of each pair."""
    free = noisy.shape[-1] - size + 1
    corners = torch.randint(free, (len(noisy), 2), generator=generator, device=generator.device).tolist()
    windows = [(..., slice(top, top + size), slice(left, left + size)) for top, left in corners]
    noisy, clean = (
        torch.stack([picture[window] for picture, window in zip(pictures, windows, strict=True)])
        for pictures in (noisy, clean)
    )
    return noisy, clean


def grey(pixels: Tensor) -> Tensor:
    """Return pictures with their brightness in all three channels."""
    return mix(pixels, constant(RGB_TO_YCC, pixels))[:, :1].expand(-1, 3, -1, -1)

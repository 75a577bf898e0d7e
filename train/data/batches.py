"""Draw training batches: augmented crops of the photos, with noise added.

All random numbers come from one generator, on its device: a GPU never waits for the CPU, and a run can be resumed
exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from denoiser import noise

from ..config import TrainConfig
from .noise_level import local_sigma
from .photo_set import PhotoSet
from .uploads import change_some, grey, neighbourhood_filter, partial_mask, upload_pairs

TOLD_SHARE = 0.5  # of the crops are denoised with a given level, the rest with the estimate
WRONG_SHARE = 0.3  # of the given levels are wrong on purpose
MAX_TOLD_LEVEL = 100.0  # the highest level that a person can ask for
SOFTENING = 0.5  # share of the edge-preserving filter in the target of a crop that is told far too high a level
SOFTENED_RATIOS = (1.4, 5.6)  # told to true level: from here on the share rises, and reaches its full size
SOFTENING_FLOOR = 2 / 255  # levels are compared above this, since lower ones are barely visible


@dataclass(frozen=True)
class Batch:
    """Training crops, float (N, 3, crop, crop)."""

    clean: Tensor
    noisy: Tensor
    sigma: Tensor  # the noise level map on [0, 1]: (N, 1, 1, 1), or (N, 1, crop, crop) if the level differs in a crop


def draw_batch(
    photos: PhotoSet, config: TrainConfig, generator: torch.Generator, camera_photos: PhotoSet | None = None
) -> Batch:
    """Draw one batch: first crops with the noise of uploads, then Gaussian and clean ones, by random shares."""
    count = int(_chosen(config.batch_size, config.camera_share, generator).sum())
    parts = []
    if count:
        noisy, clean = upload_pairs(camera_photos or photos, count, config.crop, config.partial_share, generator)
        chosen = _chosen(count, config.grey_share, generator)
        noisy, clean = (torch.where(chosen, grey(pixels), pixels) for pixels in (noise.quantize(noisy), clean))
        parts.append(Batch(clean, noise.quantize(noisy), local_sigma(noisy - clean)))
    if count < config.batch_size:
        parts.append(gaussian_batch(photos, config, config.batch_size - count, generator))
    if len(parts) == 1:
        return parts[0]
    whole = [(part.clean, part.noisy, part.sigma.expand(-1, -1, config.crop, config.crop)) for part in parts]
    return Batch(*(torch.cat(pixels) for pixels in zip(*whole, strict=True)))


def gaussian_batch(photos: PhotoSet, config: TrainConfig, count: int, generator: torch.Generator) -> Batch:
    """Draw `count` crops with Gaussian noise, in some of them only in part, and clean crops among them."""
    clean = clean_crops(photos, config, count, generator)
    sigma = draw_sigma(config, count, generator)
    if config.clean_share:
        sigma = sigma * ~_chosen(count, config.clean_share / (1 - config.camera_share), generator)
    if config.partial_share:
        sigma = change_some(
            sigma.expand(-1, -1, config.crop, config.crop),
            config.partial_share,
            generator,
            lambda some, _: some * partial_mask(len(some), config.crop, generator),
        )
    one_plane = _chosen(count, config.grey_share, generator)
    clean = torch.where(one_plane, grey(clean), clean)
    return Batch(clean, add_noise(clean, sigma, config, generator, one_plane), sigma)


def _chosen(crops: int, share: float, generator: torch.Generator) -> Tensor:
    """Choose each crop with probability `share`: bool (crops, 1, 1, 1)."""
    if share in (0, 1):
        return torch.full((crops, 1, 1, 1), bool(share), device=generator.device)
    return torch.rand((crops, 1, 1, 1), generator=generator, device=generator.device) < share


def clean_crops(photos: PhotoSet, config: TrainConfig, count: int, generator: torch.Generator) -> Tensor:
    """Draw clean crops with the augmentation of the config: (count, 3, crop, crop) in [0, 1]."""
    if config.augmentation == "classic":
        return classic_augmentation(photos.crops(count, config.crop, generator, turns=False), generator)
    return photos.crops(count, config.crop, generator)


def classic_augmentation(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Augment as the reference does: rotate by up to 20°, shift by up to 20 %, flip, scale brightness by 0.5-1.2.

    Flips are horizontal; pixels from outside the crop are filled by reflection. (N, 3, S, S) in [0, 1] stays so.
    """

    def uniform(low: float, high: float) -> Tensor:
        draw = torch.rand(crops.shape[0], generator=generator, device=crops.device)
        return low + (high - low) * draw

    angle = torch.deg2rad(uniform(-20, 20))
    flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    shift_x, shift_y = uniform(-0.4, 0.4), uniform(-0.4, 0.4)  # affine_grid's unit is half a side
    cos, sin = angle.cos(), angle.sin()
    rows = [torch.stack([flip * cos, -sin, shift_x], dim=1), torch.stack([flip * sin, cos, shift_y], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(crops.shape), align_corners=False)
    moved = F.grid_sample(crops, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return (moved * uniform(0.5, 1.2)[:, None, None, None]).clamp(0, 1)


def draw_sigma(config: TrainConfig, count: int, generator: torch.Generator) -> Tensor:
    """Draw the noise level of each crop by the config's law, as standard deviations on [0, 1]: (count, 1, 1, 1)."""
    levels = 1 if config.level_per_batch else count
    draw = torch.rand((levels, 1, 1, 1), generator=generator, device=generator.device)
    if config.sigma_law == "exponential":
        sigma = -noise.sigma_from_level(config.mean_level) * torch.log1p(-draw)
    else:
        sigma = noise.sigma_from_level(config.max_level) * draw
    return sigma.expand(count, 1, 1, 1)


def add_noise(
    clean: Tensor,
    sigma: Tensor,
    config: TrainConfig,
    generator: torch.Generator,
    one_plane: Tensor | None = None,
) -> Tensor:
    """Add Gaussian noise to the crops, then clip, or clip and round as in a file, shares of them.

    one_plane, bool (N, 1, 1, 1), selects the crops with the same noise in all three channels, as in grey photos.
    """
    unit = noise.gaussian(torch.zeros_like(clean), 1.0, generator)
    if one_plane is not None:
        unit = torch.where(one_plane, unit[:, :1], unit)
    noisy = clean + sigma * unit
    draw = torch.rand((clean.shape[0], 1, 1, 1), generator=generator, device=clean.device)
    noisy = torch.where(draw < config.quantize_share, noise.quantize(noisy), noisy)
    return torch.where(draw >= 1 - config.clip_share, noisy.clamp(0, 1), noisy)


def draw_told(sigma: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw which crops are given a noise level, bool (N, 1, 1, 1), and the levels, in the shape of sigma.

    Most get the true level, so that the network obeys it. Some get 0.5 to 3 times the true level, or any level, so that
    no level that a person may choose breaks a photo.
    """
    told, kind, draw = torch.rand((3, len(sigma), 1, 1, 1), generator=generator, device=sigma.device)
    off, anything = sigma * 0.5 * 6**draw, noise.sigma_from_level(MAX_TOLD_LEVEL) * draw
    given = torch.where(kind < WRONG_SHARE, torch.where(kind < WRONG_SHARE / 2, anything, off), sigma)
    return told < TOLD_SHARE, given


def soften_overstated(clean: Tensor, sigma: Tensor, told: Tensor, given: Tensor) -> Tensor:
    """Return the target of each crop: clean, or slightly smoothed where it is told far more than its true level.

    The smoothing grows with the ratio of the two levels, so that a network removes more the more it is told: a person
    who asks for more has a reason, such as an estimate that is too low. Small ratios change nothing, because estimates
    err by as much. Arguments and result are as in draw_told and Batch.
    """
    ratio = (given + SOFTENING_FLOOR) / (sigma + SOFTENING_FLOOR)
    start, end = SOFTENED_RATIOS
    share = SOFTENING * told * (torch.log(ratio / start) / math.log(end / start)).clamp(0, 1)
    chosen = share.amax(dim=(1, 2, 3)) > 0
    target = clean.clone()
    target[chosen] += share[chosen] * (neighbourhood_filter(clean[chosen], given[chosen]) - clean[chosen])
    return target

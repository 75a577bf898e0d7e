"""The training loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from denoiser.model import DenoisingAutoencoder

from ..config import TrainConfig

ESTIMATOR_WEIGHT = 0.1  # relative to the denoising loss; low: a wrong estimate counts mostly by the harm it does
LEVEL_FLOOR = 10 / 255  # below this level errors count absolutely, above it relative to the level
ESTIMATE_FLOOR = 2 / 255  # the same for the estimator's errors: lower levels are barely visible
DECIBELS = 10 / math.log(10)  # by which a PSNR changes for a small change of the error, relative to it
PSNR_FLOOR = 1 / 255  # smaller errors are invisible: a crop restored that well counts little in the PSNR loss
CHARBONNIER_EPSILON = 1e-3  # smaller errors count squared (Charbonnier et al. 1994)
PIXEL_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "l1": torch.abs,
    "charbonnier": lambda error: (error.square() + CHARBONNIER_EPSILON**2).sqrt(),
    "mse": torch.square,
}


class Objective(nn.Module):
    """A network and its loss as one module, as DistributedDataParallel and torch.compile need it."""

    def __init__(self, model: DenoisingAutoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, *batch_and_config: Any) -> tuple[Tensor, Tensor]:
        return training_loss(self.model, *batch_and_config)


def training_loss(
    model: DenoisingAutoencoder,
    clean: Tensor,
    noisy: Tensor,
    sigma: Tensor,
    told: Tensor,
    config: TrainConfig,
    given: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the loss of a batch and the restored crops (the noisy ones if only the estimator is trained).

    Crops where `told` is true are denoised with the noise level map `given` (default: sigma, the true one), so that the
    network obeys it; the others with the estimate, so that the network tolerates the estimator's errors. The estimator
    learns from the true level, and from those other crops: where texture can't be told from noise, the level that
    restores a crop best is lower than the likeliest one. A colour shift too small to matter in a pixel shows in the
    whole picture, so drift_weight can make it count.
    """
    level = sigma.mean(dim=(1, 2, 3), keepdim=True)
    if not model.steerable:
        restored = model(noisy)
        return denoising_loss(restored - clean, level, config), restored
    estimate = model.estimate_sigma(noisy)
    estimator_loss = quantile_loss(estimate, sigma, config.estimate_quantile)
    if config.estimator_only:
        return estimator_loss, noisy
    restored = model(noisy, torch.where(told, sigma if given is None else given, estimate))
    loss = denoising_loss(restored - clean, level, config)
    scale = DECIBELS if config.loss == "psnr" else loss.detach()
    return loss + ESTIMATOR_WEIGHT * scale * estimator_loss, restored


def denoising_loss(error: Tensor, level: Tensor, config: TrainConfig) -> Tensor:
    """Return the loss of the errors of crops, (N, C, H, W), whose mean noise levels are (N, 1, 1, 1).

    The PSNR loss is the negative mean PSNR of the crops in dB (HINet: Chen et al. 2021): a crop counts by the share of
    its error that could go, not by the size of it.
    """
    shift = error.mean(dim=(2, 3), keepdim=True)
    if config.loss == "psnr":
        squared, squared_shift = (part.square().mean(dim=(1, 2, 3)) for part in (error, shift))
        return 10 * torch.log10(squared + config.drift_weight * squared_shift + PSNR_FLOOR**2).mean()
    pixel_loss = PIXEL_LOSSES[config.loss]
    exponent = -1.0 if config.loss == "mse" else -0.5  # errors grow about with the root of the level
    weight = (level + LEVEL_FLOOR) ** exponent if config.balance_levels else torch.ones_like(level)
    weight = weight / weight.mean()
    return (weight * pixel_loss(error)).mean() + config.drift_weight * (weight * pixel_loss(shift)).mean()


def quantile_loss(estimate: Tensor, sigma: Tensor, quantile: float) -> Tensor:
    """Return the pinball loss of the log of an estimate, minimal at the given quantile of the plausible levels.

    Its weight does not depend on the true level, so that 0.5 gives the median (Koenker & Bassett 1978). A higher
    quantile makes the estimator overestimate, which harms less (CBDNet, Guo et al. 2019).
    """
    missing = torch.log((sigma + ESTIMATE_FLOOR) / (estimate + ESTIMATE_FLOOR))
    return 2 * torch.maximum(quantile * missing, (quantile - 1) * missing).mean()

"""Compare design choices: short runs from scratch, each with one change and the same training time.

`python -m train experiment` prints the tables of results. A short run shows how fast a choice learns, which matters
most when training time is scarce; it does not show where that choice would end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from denoiser import Denoiser, metrics, noise
from denoiser.inference import pick_device
from denoiser.model import NETWORKS, DenoisingAutoencoder, ModelConfig, ResidualBlock, ResidualBody, draw_weights
from denoiser.weights import Weights

from ..config import ConfigError, TrainConfig
from ..data.dead_leaves import dead_leaves
from ..data.photo_set import PhotoSet
from ..data.training_data import load_photos
from ..fit.loop import learning_rate, run_progress, start_run
from ..fit.step import train_step
from ..measure.evaluate import noisy_version
from ..measure.network_size import network_size
from ..measure.results import LEVELS

# Only Gaussian noise, for runs of minutes.
RECIPE = TrainConfig(
    crop=128, learning_rate=4e-4, warmup_steps=30, ema_decay=0.99, camera_share=0.0, clean_share=0.0, grey_share=0.0,
    partial_share=0.0, drift_weight=0.0, estimate_quantile=0.5,
)  # fmt: skip
BASELINE = replace(NETWORKS["residual"], encoder_blocks=(2, 2, 4))  # costs as much as the other shapes below
DEAD_LEAVES = 100  # pictures of 384x384 added to the 400 photos
TIMED_SIDE, TIMED_ROUNDS = 512, 5


@dataclass(frozen=True)
class Variant:
    """One change to the baseline: to its settings, to the shape of its network, or to the network itself."""

    settings: dict[str, Any] = field(default_factory=dict)
    shape: ModelConfig = BASELINE
    change: Callable[[DenoisingAutoencoder], None] = lambda network: None  # made before training, in place
    extra: str = ""  # additional training data: "photos" (those of --photos) or "dead leaves"
    growing_crops: tuple[int, ...] = ()  # crop sizes, each for an equal share of the time


@dataclass(frozen=True)
class Outcome:
    """The results of one variant."""

    name: str
    psnr: tuple[float, ...]  # on the validation photos, one per level of LEVELS
    crops: int  # number of training crops
    gmac: float
    seconds_per_megapixel: float


def full_resolution(network: DenoisingAutoencoder) -> None:
    """Make the first level work on the full-size picture instead of half the size."""
    first, body = network.config.widths[0], network.body
    body.head = nn.Conv2d(4, first, kernel_size=3, padding=1)
    body.tail = nn.Conv2d(first, 3, kernel_size=3, padding=1)
    draw_weights(body.head)
    for parameter in body.tail.parameters():
        nn.init.normal_(parameter, std=1e-4 if parameter.ndim == 4 else 0.0)


class ConcatenatingBody(ResidualBody):
    """Concatenates skips and mixes them by a 1x1 convolution, which starts as the sum."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.mix = nn.ModuleDict({str(width): nn.Conv2d(2 * width, width, 1) for width in config.widths[:-1]})
        with torch.no_grad():
            for parameter in self.mix.parameters():
                width = len(parameter)
                summing = torch.cat([torch.eye(width)] * 2, dim=1)[:, :, None, None]
                parameter.copy_(summing if parameter.ndim == 4 else torch.zeros(width))

    def join(self, upward: Tensor, skip: Tensor) -> Tensor:
        return self.mix[str(skip.shape[1])](torch.cat([upward, skip], dim=1))


def concatenated_skips(network: DenoisingAutoencoder) -> None:
    network.body = ConcatenatingBody(network.config)


def without_map(network: DenoisingAutoencoder) -> None:
    """Hide the noise level map from the autoencoder."""
    seen = torch.tensor([1.0, 1.0, 1.0, 0.0])[:, None, None]
    network.body.register_forward_pre_hook(lambda body, inputs: (inputs[0] * seen.to(inputs[0]),))


def orthogonal(network: DenoisingAutoencoder) -> None:
    """Initialise the residual blocks with orthogonal instead of Kaiming weights."""
    for block in network.body.modules():
        if isinstance(block, ResidualBlock):
            for conv in block.layers:
                if isinstance(conv, nn.Conv2d):
                    nn.init.orthogonal_(conv.weight, 0.1 if conv is block.last_conv else 1.0)


class PointBranch(nn.Module):
    """A 3x3 convolution with a parallel 1x1 one, merged into a single 3x3 kernel, so that they cost the same as one."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.point = nn.Parameter(torch.zeros(conv.out_channels, conv.in_channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        kernel = self.conv.weight + F.pad(self.point, (1, 1, 1, 1))
        return F.conv2d(features, kernel, self.conv.bias, padding=1)


def branches(network: DenoisingAutoencoder) -> None:
    """Add a parallel 1x1 convolution to each 3x3 convolution of the blocks."""
    for block in network.body.modules():
        if isinstance(block, ResidualBlock):
            for place, layer in enumerate(block.layers):
                if isinstance(layer, nn.Conv2d):
                    block.layers[place] = PointBranch(layer)


def shaped(widths: tuple[int, ...], encoder: tuple[int, ...], decoder: tuple[int, ...]) -> Variant:
    return Variant(shape=replace(BASELINE, widths=widths, encoder_blocks=encoder, decoder_blocks=decoder))


VARIANTS = {
    "baseline": Variant(),
    # The network.
    "widths 48 96 192": shaped((48, 96, 192), (2, 2, 4), (2, 2)),
    "widths 48 64 96, blocks 3 4 6 / 3 4": shaped((48, 64, 96), (3, 4, 6), (3, 4)),
    "widths 64 96 128, blocks 1 3 6 / 1 3": shaped((64, 96, 128), (1, 3, 6), (1, 3)),
    "four levels, widths 64 96 128 160, blocks 2 2 2 3 / 2 2 1": shaped((64, 96, 128, 160), (2, 2, 2, 3), (2, 2, 1)),
    "full-resolution stem, widths 16 48 96 192": replace(
        shaped((16, 48, 96, 192), (1, 2, 2, 4), (1, 2, 2)), change=full_resolution
    ),
    "skips concatenated": Variant(change=concatenated_skips),
    "batch norm": Variant(shape=replace(BASELINE, normalization="batch")),
    "1x1 branches in training": Variant(change=branches),
    "no noise level map": Variant(change=without_map),
    # The training.
    "orthogonal initialisation": Variant(change=orthogonal),
    "only AdamW, learning rate 1e-3": Variant({"optimizer": "adamw", "learning_rate": 1e-3}),
    "learning rate x 2.5": Variant({"learning_rate": 1e-3}),
    "learning rate / 2": Variant({"learning_rate": 2e-4}),
    "crops of 64, batches of 64": Variant({"crop": 64, "batch_size": 64}),
    "crops of 64, then 96, then 128": Variant(growing_crops=(64, 96, 128)),
    "MSE": Variant({"loss": "mse"}),
    "Charbonnier": Variant({"loss": "charbonnier"}),
    "exponential level law": Variant({"sigma_law": "exponential"}),
    "more photos": Variant(extra="photos"),
    "dead leaves as well": Variant(extra="dead leaves"),
}


def experiment(names: Iterable[str], minutes: float, more_photos: list[np.ndarray]) -> Iterator[Outcome]:
    """Train each named variant for `minutes` and measure it. Raises ConfigError for an unknown name."""
    names = list(names)
    for name in names:
        if name not in VARIANTS:
            raise ConfigError(f"there is no experiment {name!r}; choose from: {'; '.join(VARIANTS)}")
        if VARIANTS[name].extra == "photos" and not more_photos:
            raise ConfigError(f"{name!r} needs more photos; give a folder of them with --photos")
    training, validation = load_photos(RECIPE)
    for name in names:
        yield run_variant(name, minutes, training, validation, more_photos)


def run_variant(
    name: str, minutes: float, training: list[np.ndarray], validation: list[np.ndarray], more_photos: list[np.ndarray]
) -> Outcome:
    variant = VARIANTS[name]
    config = replace(RECIPE, max_minutes=minutes, **variant.settings)
    device = pick_device(config.device)
    if variant.extra == "photos":
        training = training + more_photos
    elif variant.extra == "dead leaves":
        training = training + [dead_leaves(384, seed) for seed in range(DEAD_LEAVES)]
    photos = PhotoSet(training, device)
    torch.manual_seed(config.seed)
    network = DenoisingAutoencoder(variant.shape)
    variant.change(network)
    run = start_run(config, device, network)
    started = time.monotonic()
    with tqdm(total=60 * minutes, desc=name, unit="s", leave=False) as bar:
        while (progress := run_progress(config, run)) < 1:
            if sizes := variant.growing_crops:
                config = replace(config, crop=sizes[min(int(progress * len(sizes)), len(sizes) - 1)])
            train_step(run, photos, config, learning_rate(config, run.step, progress))
            run.seconds = time.monotonic() - started
            bar.update(min(run.seconds, bar.total) - bar.n)
    model = run.measured_model.eval()
    denoiser = Denoiser(Weights(model, name), str(device))
    psnr = tuple(round(mean_psnr(denoiser, validation, level), 2) for level in LEVELS)
    return Outcome(name, psnr, run.crops, network_size(model)[1], seconds_per_megapixel(model))


def mean_psnr(denoiser: Denoiser, photos: list[np.ndarray], level: float) -> float:
    """Return the mean blind PSNR, with the unclipped noise of `evaluate`."""
    scores = []
    for pixels in photos:
        restored = noise.quantize(torch.from_numpy(denoiser.denoise(noisy_version(pixels, level, quantized=False))))
        scores.append(float(metrics.psnr(restored[None], torch.from_numpy(pixels)[None] / 255)))
    return float(np.mean(scores))


def seconds_per_megapixel(model: DenoisingAutoencoder) -> float:
    picture = torch.rand(1, 3, TIMED_SIDE, TIMED_SIDE, device=next(model.parameters()).device)
    picture = picture.contiguous(memory_format=torch.channels_last)
    seconds = []
    with torch.inference_mode():
        for _ in range(TIMED_ROUNDS + 1):
            started = time.perf_counter()
            model(picture)
            seconds.append(time.perf_counter() - started)
    return median(seconds[1:]) / TIMED_SIDE**2 * 1e6


def outcomes_table(outcomes: Iterable[Outcome]) -> str:
    """Format the outcomes as a Markdown table, each compared with the first."""
    levels = " | ".join(f"level {level}" for level in LEVELS)
    lines = [
        f"| what was changed | {levels} | mean | against baseline | crops | GMAC at 256² | s per megapixel |",
        "|---|" + "---|" * (len(LEVELS) + 5),
    ]
    first = None
    for outcome in outcomes:
        mean = float(np.mean(outcome.psnr))
        first = mean if first is None else first
        psnr = " | ".join(f"{value:.2f}" for value in outcome.psnr)
        lines.append(
            f"| {outcome.name} | {psnr} | {mean:.2f} | {mean - first:+.2f} | {outcome.crops:,} "
            f"| {outcome.gmac:.1f} | {outcome.seconds_per_megapixel:.2f} |"
        )
    return "\n".join(lines)

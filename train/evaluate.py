"""Measure a denoiser on sets of clean photos: PSNR, SSIM and argmax-channel accuracy per set and noise level.

Protocol: per photo, numpy.random.default_rng(0) draws standard normal noise of the photo's shape in float64, times the
level, added on the 0-255 scale; "unclipped" as it is, "8-bit" clipped and rounded to uint8 as a file has it. What is
measured, the noisy photo too, is clipped and rounded; PSNR over all pixels and channels, then the mean over photos.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from denoiser import Denoiser, metrics, noise

LEVELS = (15, 25, 50)
PROTOCOLS = ("unclipped", "8-bit")


@dataclass(frozen=True)
class Result:
    """The means over one set of photos at one noise level."""

    dataset: str
    images: int
    noise: str  # one of PROTOCOLS
    told: bool  # whether the network was given the level; else it was blind
    level: float
    noisy_psnr: float
    psnr: float
    ssim: float
    argmax_channel_accuracy: float
    estimated_level: float

    def to_json(self) -> dict[str, object]:
        """As JSON has it, where there is no infinity: the PSNR of identical pictures is null."""
        return {key: None if value == math.inf else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, row: dict[str, object]) -> Result:
        return cls(**{key: math.inf if value is None else value for key, value in row.items()})


def noisy_version(pixels: np.ndarray, level: float, quantized: bool) -> np.ndarray:
    """The photo, uint8 (H, W, 3), with the protocol's noise: float32 (H, W, 3) on the scale of [0, 1]."""
    noisy = pixels + np.random.default_rng(0).standard_normal(pixels.shape) * level
    if quantized:
        noisy = np.clip(np.round(noisy), 0, 255)
    return (noisy / 255).astype(np.float32)


def measure(
    denoiser: Denoiser,
    dataset: str,
    photos: Sequence[np.ndarray],
    levels: Iterable[float] = LEVELS,
    quantized: bool = False,
    told: bool = False,
    show_progress: bool = True,
) -> list[Result]:
    """Denoise every photo, uint8 (H, W, 3), at every level and average what the metrics say: one Result a level."""
    results = []
    for level in levels:
        rows = []
        label = f"{dataset} level {level:g}"
        for pixels in tqdm(photos, desc=label, unit="photo", leave=False, disable=not show_progress):
            noisy = noisy_version(pixels, level, quantized)
            restored = denoiser.denoise(noisy, level if told else None)
            rows.append((*_scores(noisy, restored, pixels), denoiser.estimate_level(noisy)))
        means = [round(float(value), 4) for value in np.mean(rows, axis=0)]  # printed and kept alike
        protocol = PROTOCOLS[quantized]
        results.append(Result(dataset, len(rows), protocol, told, float(level), *means))
    return results


def measure_camera(denoiser: Denoiser, photos: Sequence[np.ndarray]) -> float:
    """Blind PSNR on photos with a simulated camera's noise, the same at every call; each with a camera of its own."""
    scores = []
    for seed, pixels in enumerate(photos):
        even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
        noisy, clean = noise.camera(_batch(even / 255).float(), torch.Generator().manual_seed(seed))
        restored = denoiser.denoise(noisy[0].permute(1, 2, 0).contiguous().numpy())
        scores.append(float(metrics.psnr(noise.quantize(_batch(restored)), clean.double())))
    return float(np.mean(scores))


def side_by_side(denoiser: Denoiser, pixels: np.ndarray, level: float) -> np.ndarray:
    """Noisy (8-bit), denoised blindly and clean, from left to right: uint8 (H, W, 3) -> uint8 (H, 3 W, 3)."""
    noisy = (noisy_version(pixels, level, quantized=True) * 255).round().astype(np.uint8)
    return np.concatenate([noisy, denoiser.denoise(noisy), pixels], axis=1)


def _scores(noisy: np.ndarray, restored: np.ndarray, pixels: np.ndarray) -> tuple[float, float, float, float]:
    reference = _batch(pixels / 255)
    result = noise.quantize(_batch(restored))
    scores = (
        metrics.psnr(noise.quantize(_batch(noisy)), reference),
        metrics.psnr(result, reference),
        metrics.ssim(result, reference),
        metrics.argmax_channel_accuracy(result, reference),
    )
    return tuple(float(score) for score in scores)


def _batch(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).double().permute(2, 0, 1)[None]


def markdown_table(results: Iterable[Result]) -> str:
    """The results as a Markdown table, one row a set, protocol and level."""
    lines = [
        "| photos | noise | level | noisy PSNR | PSNR | SSIM | argmax-channel accuracy | estimated level |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in results:
        name = f"{row.dataset} ({row.images})" + (", told the level" if row.told else "")
        lines.append(
            f"| {name} | {row.noise} | {row.level:g} | {row.noisy_psnr:.2f} | {row.psnr:.2f} | {row.ssim:.4f} "
            f"| {row.argmax_channel_accuracy:.3f} | {row.estimated_level:.1f} |"
        )
    return "\n".join(lines)


def network_size(model: torch.nn.Module) -> tuple[int, float]:
    """Parameters, and billions of multiply-accumulates for a picture of 256x256 pixels."""
    was_training = model.training
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.eval()(torch.zeros(1, 3, 256, 256, device=next(model.parameters()).device))
    model.train(was_training)
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() / 2e9

"""Measure a denoiser: PSNR, SSIM and argmax-channel accuracy for each set of photos and noise level.

Protocol for sets of clean photos: per photo, numpy.random.default_rng(0) draws standard normal noise of the photo's
shape in float64, times the level, added on the 0-255 scale; "unclipped" leaves it as it is, "8-bit" clips and rounds
it to uint8 as in a file. A grey photo (R = G = B), as all are with --grey, gets one plane of noise for all channels.
"exponential" is the noise of the reference network: the level of photo number i comes from numpy.random.default_rng(i),
exponential with mean 38.25, and the noisy photo is clipped. Every measured picture, the noisy photo too, is clipped and
rounded; PSNR is taken over all pixels and channels, then averaged over photos. Pairs of a noisy photo and its clean
twin are measured as they are.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from denoiser import Denoiser, metrics, noise

from ..config import ConfigError
from ..data import uploads
from ..data.noise_level import local_sigma
from ..data.photo_files import photos_below, read_photos
from .results import EXPONENTIAL, LEVELS, PROTOCOLS, REAL, Result

PAIR_ENDINGS = {"_real": "_mean", "_noisy": "_gt"}  # endings of the names of a noisy photo and its clean twin
EXPONENTIAL_MEAN = 38.25  # noise level; the reference says 0.15 on [0, 1]
BAND = 64  # rows of a photo that are compared at a time


def noisy_version(pixels: np.ndarray, level: float, quantized: bool) -> np.ndarray:
    """Add the noise of the protocol to a photo, uint8 (H, W, 3): float32 (H, W, 3) on the scale of [0, 1]."""
    is_grey = (pixels == pixels[..., :1]).all()
    noisy, generator = np.empty(pixels.shape, np.float32), np.random.default_rng(0)
    for row, clean in enumerate(pixels):  # in rows, to save memory; the draws are those of the whole
        values = clean + generator.standard_normal((len(clean), 1 if is_grey else 3)) * level
        noisy[row] = (np.clip(np.round(values), 0, 255) if quantized else values) / 255
    return noisy


def exponential_version(pixels: np.ndarray, seed: int) -> np.ndarray:
    """Add the reference's noise, of a random level, to a photo, uint8 (H, W, 3): float32 (H, W, 3) within [0, 1]."""
    noisy, generator = np.empty(pixels.shape, np.float32), np.random.default_rng(seed)
    level = generator.exponential(EXPONENTIAL_MEAN)
    for row, clean in enumerate(pixels):  # in rows, as above
        noisy[row] = np.clip(clean + generator.standard_normal(clean.shape) * level, 0, 255) / 255
    return noisy


def measure(
    denoiser: Denoiser,
    dataset: str,
    photos: Sequence[np.ndarray],
    levels: Iterable[float] = LEVELS,
    quantized: bool = False,
    told: bool = False,
    show_progress: bool = True,
) -> list[Result]:
    """Denoise every photo, uint8 (H, W, 3), at every level and average the metrics: one Result per level."""
    results = []
    for level in levels:
        rows = []
        label = f"{dataset} level {level:g}"
        for pixels in tqdm(photos, desc=label, unit="photo", leave=False, disable=not show_progress):
            rows.append(_scores(denoiser, noisy_version(pixels, level, quantized), pixels, level if told else None))
        results.append(Result(dataset, len(rows), PROTOCOLS[quantized], told, float(level), *_means(rows)))
    return results


def measure_exponential(denoiser: Denoiser, dataset: str, photos: Sequence[np.ndarray]) -> Result:
    """Denoise every photo, uint8 (H, W, 3), blindly with the reference's noise, and average the metrics."""
    rows = []
    for seed, pixels in enumerate(tqdm(photos, desc=f"{dataset} {EXPONENTIAL}", unit="photo", leave=False)):
        rows.append(_scores(denoiser, exponential_version(pixels, seed), pixels))
    return Result(dataset, len(rows), EXPONENTIAL, False, None, *_means(rows))


def load_photos(folder: Path, grey: bool = False) -> tuple[str, list[np.ndarray]]:
    """Read the photos of a folder, as they are or turned grey: the name of the set, and uint8 (H, W, 3) each.

    Photos too small to measure are left out. Raises ConfigError if none is left.
    """
    photos = read_photos(photos_below(folder), smallest=metrics.SSIM_WINDOW)
    if not photos:
        raise ConfigError(f"{folder} holds no usable photos")
    if not grey:
        return set_name(folder), photos
    photos = [uploads.grey(_batch(pixels)).round()[0].byte().permute(1, 2, 0).numpy() for pixels in photos]
    return set_name(folder, grey), photos


def set_name(folder: Path, grey: bool = False) -> str:
    """Return the name of the set of photos in a folder, by which its results are kept."""
    return os.path.basename(os.path.abspath(folder)) + ("-grey" if grey else "")


def check_names(*kinds: Sequence[Path]) -> None:
    """Raise ConfigError if two folders of a kind have the same name: the later results would replace the others."""
    for folders in kinds:
        names = [set_name(folder) for folder in folders]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"two sets are called {name!r}, the name that results are kept by; rename one")


def measure_pairs(
    denoiser: Denoiser, dataset: str, pairs: Sequence[tuple[np.ndarray, np.ndarray]], told: bool = False
) -> Result:
    """Denoise noisy photos and compare them with their clean twins: pairs of uint8 (H, W, 3).

    With `told`, the network gets the true noise level map, which takes the clean twin to compute: the gain shows what
    the estimator costs.
    """
    rows = []
    for noisy, clean in tqdm(pairs, desc=dataset, unit="photo", leave=False):
        pixels = (noisy / 255).astype(np.float32)
        rows.append(_scores(denoiser, pixels, clean, _true_map(noisy, clean) if told else None))
    return Result(dataset, len(rows), REAL, told, None, *_means(rows))


def _true_map(noisy: np.ndarray, clean: np.ndarray) -> Tensor:
    """Return the true noise level map of a pair: (1, 1, H, W)."""
    return local_sigma(_batch(noisy / 255 - clean / 255).float())


def load_pairs(folder: Path, clean_folder: Path | None = None) -> tuple[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Read the pairs of find_pairs: the name of the set, and uint8 (H, W, 3) each.

    Raises ConfigError for a pair that can't be read or compared.
    """
    pairs = []
    for paths in find_pairs(folder, clean_folder):
        pair = read_photos(paths)
        if len(pair) < 2 or pair[0].shape != pair[1].shape:
            raise ConfigError(f"{paths[0]} and {paths[1]} can't be compared: one can't be read, or their sizes differ")
        height, width, _ = pair[0].shape
        if min(height, width) < metrics.SSIM_WINDOW:
            needed = f"at least {metrics.SSIM_WINDOW} a side are needed to measure SSIM"
            raise ConfigError(f"{paths[0]} is {width}×{height} pixels; {needed}")
        pairs.append((pair[0], pair[1]))
    return set_name(folder), pairs


def find_pairs(folder: Path, clean_folder: Path | None = None) -> list[tuple[Path, Path]]:
    """Return the (noisy, clean) paths of two folders, matched by name, or of one, matched by the endings of the names.

    Raises ConfigError if a noisy photo has no clean twin, or if there are no pairs.
    """
    if clean_folder is not None:
        pairs = [(path, clean_folder / path.relative_to(folder)) for path in photos_below(folder)]
    else:
        pairs = []
        for path in photos_below(folder):
            for ending, clean_ending in PAIR_ENDINGS.items():
                if path.stem.lower().endswith(ending):
                    twin = clean_ending.upper() if path.stem[-1].isupper() else clean_ending
                    pairs.append((path, path.with_stem(path.stem[: -len(ending)] + twin)))
    for noisy, clean in pairs:
        if not clean.is_file():
            raise ConfigError(f"{noisy} has no clean twin: {clean} isn't there")
    if not pairs:
        endings = ", ".join(f"*{ending} and *{clean_ending}" for ending, clean_ending in PAIR_ENDINGS.items())
        raise ConfigError(f"there are no pairs in {folder}; name them {endings}, or give two folders")
    return pairs


def _scores(
    denoiser: Denoiser, noisy: np.ndarray, clean: np.ndarray, told: float | Tensor | None = None
) -> tuple[float, ...]:
    """Measure one photo for a Result: noisy float32 and clean uint8, (H, W, 3); `told` is a level or a map."""
    if isinstance(told, Tensor):
        with torch.inference_mode():
            batch = denoiser.weights.model(_batch(noisy).float().to(denoiser.device), told.to(denoiser.device))
        restored = batch[0].permute(1, 2, 0).cpu().numpy()
    else:
        restored = denoiser.denoise(noisy, told)
    return *_compared(noisy, restored, clean), denoiser.estimate_level(noisy)


def _compared(noisy: np.ndarray, restored: np.ndarray, clean: np.ndarray) -> tuple[float, float, float, float]:
    """Return the PSNR of the noisy photo, and PSNR, SSIM and argmax-channel accuracy of the restored one.

    In bands, to save memory. Each shares rows with the next, so that every window of SSIM is inside one.
    """
    sums, height, overlap = np.zeros(4), len(clean), metrics.SSIM_WINDOW - 1
    for top in range(0, height, BAND):
        rows, windows = min(BAND, height - top), max(0, min(BAND, height - overlap - top))
        band = [_batch(pixels[top : top + BAND + overlap]) for pixels in (clean, noisy, restored)]
        reference, before, after = band[0] / 255, noise.quantize(band[1]), noise.quantize(band[2])
        similarity = float(metrics.ssim(after, reference)) if windows else 0.0
        reference, before, after = (pixels[:, :, :rows] for pixels in (reference, before, after))
        errors = [float((pixels - reference).square().mean()) for pixels in (before, after)]
        accuracy = float(metrics.argmax_channel_accuracy(after, reference))
        sums += np.array([*errors, similarity, accuracy]) * (rows, rows, windows, rows)
    *errors, similarity, accuracy = sums / (height, height, height - overlap, height)
    before_psnr, after_psnr = (-10 * math.log10(error) if error else math.inf for error in errors)
    return before_psnr, after_psnr, float(similarity), float(accuracy)


def _means(rows: Sequence[tuple[float, ...]]) -> list[float]:
    return [round(float(value), 4) for value in np.mean(rows, axis=0)]  # the same in print and in files


def _batch(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).double().permute(2, 0, 1)[None]

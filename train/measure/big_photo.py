"""Measure what a megapixel of a big photo costs, tiles and all, as a multiple of the bare network's time for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

import denoiser
from denoiser.inference import has_fast_bfloat16
from denoiser.memory import tune_allocator

HEIGHT, WIDTH = 4000, 6000  # 24 megapixels
BARE_SIDE = 1024  # of the picture that the bare network is timed on


def big_photo(rounds: int, threads: int) -> str:
    """Time the default network on a photo of 24 megapixels and alone, in turns; return a Markdown table.

    8-bit photos are computed in bfloat16 where the CPU has instructions for it, 16-bit ones always in float32.
    """
    torch.set_num_threads(threads)
    tune_allocator()
    model = denoiser.load(device="cpu")
    noise = np.random.default_rng(0).integers(96, 160, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    photos: dict[str, np.ndarray] = {"float32": noise.astype(np.uint16) * 257}
    if has_fast_bfloat16(model.device):
        photos["bfloat16"] = noise
    lines = ["| computed in | s per megapixel, bare | s per megapixel of 24 | ratio |", "|---|---|---|---|"]
    for name, pixels in photos.items():
        bare, whole, ratios = _timed(model, pixels, name == "bfloat16", rounds)
        lines.append(f"| {name} | {bare:.2f} | {whole:.2f} | {ratios:.2f} |")
    return "\n".join(lines)


def _timed(model: denoiser.Denoiser, pixels: np.ndarray, bfloat16: bool, rounds: int) -> tuple[float, float, float]:
    """Return seconds per megapixel of the bare network and of the photo, and the median of the ratios in a round."""
    network = model.weights.model
    picture = torch.rand(1, 3, BARE_SIDE, BARE_SIDE, generator=torch.Generator().manual_seed(0))
    picture = picture.contiguous(memory_format=torch.channels_last)

    def bare() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            network(picture)

    bare()  # warms up
    photo, rounds_seconds = denoiser.Photo(pixels), []
    for _ in range(rounds):
        bares, whole, steps = [_seconds(bare)], 0.0, model.by_tile(photo)
        more = True
        while more:  # the bare network after every tile, as the machine may get slower or faster meanwhile
            started = time.perf_counter()
            more = next(steps, None) is not None
            whole += time.perf_counter() - started
            bares.append(_seconds(bare))
        rounds_seconds.append((median(bares) / BARE_SIDE**2 * 1e6, whole / (HEIGHT * WIDTH) * 1e6))
    alone, tiled = zip(*rounds_seconds, strict=True)
    return median(alone), median(tiled), median(whole / one for one, whole in rounds_seconds)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started

"""Validate a run: score it on the validation photos, log the scores, draw a picture grid, keep the best weights."""

from __future__ import annotations

import hashlib
import json
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from denoiser import Denoiser, Photo, metrics, noise, save_image
from denoiser.weights import Weights, save_weights

from ..config import HUB, KEYWORDS, ConfigError, TrainConfig
from ..data.photo_set import PhotoSet
from ..data.uploads import upload_pairs
from ..files import write_file
from ..measure.compare import compare, middle
from ..measure.evaluate import exponential_version, noisy_version
from ..measure.results import LEVELS
from ..publish.card import DATA_TERMS, forget_card
from .checkpoint import Run, best_effort
from .distributed import World

METRICS_FILE, WEIGHTS_FOLDER = "metrics.jsonl", "weights"
SIDE = 256  # pixels, the largest window that is measured: photos may have many megapixels
GRID_PHOTOS, GRID_SIDE, GRID_LEVEL = 4, 192, 25

# Settings left out of the model card: paths of one machine, or recorded elsewhere.
ELSEWHERE = (
    *("data", "camera_data", "val", "output_dir", "init", "resume", "steps", "max_minutes", "push", "push_every"),
    *("checkpointing_steps", "checkpoints_total_limit", "report_to"),
)


def validate(
    run: Run,
    photos: list[np.ndarray],
    config: TrainConfig,
    output: Path,
    training: dict[str, float] | None = None,
    world: World | None = None,
) -> dict[str, float]:
    """Measure, log a line to metrics.jsonl, save a picture grid, and keep the weights if they are the best so far.

    Each process measures its share of the photos; the first one writes. `training`, what was seen while training, is
    logged too. Returns the PSNRs by their names in the log. Raises ConfigError if the network returns NaN.
    """
    world = world or World()
    denoiser = Denoiser(Weights(run.measured_model, config.recipe), str(run.device))
    shared = [photo_scores(denoiser, photo, seed, config) for seed, photo in world.share(list(enumerate(photos)))]
    scores = mean_scores(world.gather(shared))
    if math.isnan(scores["psnr"]):
        raise ConfigError(f"the network diverged before step {run.step}; start anew with a lower --learning-rate")
    run.validated_step = run.step
    if world.is_main:
        line = {"step": run.step, "minutes": round(run.seconds / 60, 2)} | (training or {})
        line |= {name: round(value, 4) for name, value in scores.items()}
        tqdm.write(", ".join(f"{key} {value}" for key, value in line.items()))
        with best_effort("the log"):
            write_metrics(output / METRICS_FILE, [*read_metrics(output / METRICS_FILE), line])
        with best_effort("the picture grid"):
            save_grid(denoiser, photos, output / f"grid-{run.step:06d}.png")
        forget_incomparable_best(run, photos, config)
        if scores["psnr"] > run.best_psnr:
            with best_effort("the best weights"):
                facts = training_facts(run, config) | {"validation_psnr": round(scores["psnr"], 3)}
                save_weights(run.measured_model, output / WEIGHTS_FOLDER, facts, run.license)
                forget_card(output / WEIGHTS_FOLDER)
                run.best_psnr = scores["psnr"]
    run.model.train()
    return scores


def forget_incomparable_best(run: Run, photos: list[np.ndarray], config: TrainConfig) -> None:
    """Reset the best PSNR, and report it, if it was measured on other photos or other noise."""
    measured_on = validation_fingerprint(photos, config)
    if run.measured_on not in ("", measured_on):
        run.best_psnr = -math.inf
        tqdm.write("the validation photos or noise changed: the best PSNR so far is reset")
    run.measured_on = measured_on


def validation_fingerprint(photos: list[np.ndarray], config: TrainConfig) -> str:
    """Hash the photos and the settings that photo_scores depends on: PSNRs compare only if they are the same."""
    digest = hashlib.sha256(repr((bool(config.camera_share), config.partial_share)).encode())
    for photo in photos:
        digest.update(repr(photo.shape).encode() + photo.tobytes())
    return digest.hexdigest()


def photo_scores(denoiser: Denoiser, photo: np.ndarray, seed: int, config: TrainConfig) -> dict[str, float]:
    """Measure the blind PSNR on a window of a photo, uint8 (H, W, 3), with each noise; `seed` picks the camera."""
    clean = middle(photo, SIDE)
    scores = {f"psnr_{level}": psnr(denoiser, noisy_version(clean, level, False), clean / 255) for level in LEVELS}
    if config.camera_share:
        scores["psnr_camera"] = psnr(denoiser, *upload(photo, seed, config.partial_share))
    if config.sigma_law == "exponential":
        scores |= exponential_scores(denoiser, clean, seed)
    return scores


def exponential_scores(denoiser: Denoiser, clean: np.ndarray, seed: int) -> dict[str, float]:
    """Measure what the reference reports, on its own noise: the squared error and the argmax-channel accuracy."""
    restored, reference = (
        torch.from_numpy(pixels).permute(2, 0, 1)[None].double()
        for pixels in (denoiser.denoise(exponential_version(clean, seed)), clean / 255)
    )
    accuracy = metrics.argmax_channel_accuracy(noise.quantize(restored), reference)
    return {"mse_exponential": float((restored - reference).square().mean()), "accuracy_exponential": float(accuracy)}


def upload(photo: np.ndarray, seed: int, partial_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Simulate an upload of a window of a photo, uint8 (H, W, 3); the same for the same seed.

    Returns (noisy, clean), float32 (H, W, 3) on [0, 1].
    """
    side = min(SIDE, *(length // 2 * 2 for length in photo.shape[:2]))
    pair = upload_pairs(PhotoSet([photo]), 1, side, partial_share, torch.Generator().manual_seed(seed))
    noisy, clean = (np.ascontiguousarray(pixels[0].permute(1, 2, 0)) for pixels in pair)
    return noisy, clean


def psnr(denoiser: Denoiser, noisy: np.ndarray, clean: np.ndarray) -> float:
    """Denoise blindly, round to 8 bits and return the PSNR in dB. Both pictures are float (H, W, 3) on [0, 1]."""
    restored = noise.quantize(torch.from_numpy(denoiser.denoise(noisy)).double())
    return float(metrics.psnr(restored[None], torch.from_numpy(clean)[None].double()))


def mean_scores(scores: list[dict[str, float]]) -> dict[str, float]:
    """Return the means over photos, and "psnr", which selects the best weights.

    "psnr" is the mean over the levels; if the run also trains on camera noise, that counts half.
    """
    means = {name: float(np.mean([row[name] for row in scores])) for name in scores[0]}
    psnr = float(np.mean([means[f"psnr_{level}"] for level in LEVELS]))
    if "psnr_camera" in means:
        psnr = (psnr + means["psnr_camera"]) / 2
    return {"psnr": psnr} | means


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read the lines of a run's log, except for damaged ones."""
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with suppress(ValueError, TypeError):
            found.append(dict(json.loads(line)))
    return found


def write_metrics(path: Path, lines: list[dict[str, float]]) -> None:
    """Replace a run's log, completely or not at all. Raises ConfigError if it can't be written."""
    write_file(path, "".join(json.dumps(line) + "\n" for line in lines))


def forget_later_metrics(path: Path, step: int) -> None:
    """Drop the log lines after `step`, where the run resumes: they will be logged again."""
    write_metrics(path, [line for line in read_metrics(path) if line["step"] <= step])


def note_settings(run: Run, config: TrainConfig) -> None:
    """Record the settings in the run, or only the changed ones if it is resumed with others."""
    known = {key: value for part in run.settings for key, value in part.items()}
    settings = {key: value for key, value in config.to_json().items() if key not in ELSEWHERE}
    changed = {key: value for key, value in settings.items() if key not in known or known[key] != value}
    if changed:
        run.settings.append({"from_step": run.step} | changed)


def training_facts(run: Run, config: TrainConfig) -> dict[str, Any]:
    """Return the facts of the training for the model card."""
    on_gpu = run.device.type == "cuda"
    return {
        "recipe": config.recipe,
        "data": [data_name(source) for source in dict.fromkeys((*config.data, *config.camera_data))],
        "steps": run.step,
        "crops": run.crops,
        "minutes": round(run.seconds / 60, 1),
        "device": torch.cuda.get_device_name(run.device) if on_gpu else f"{os.cpu_count()} CPU cores",
        "settings": run.settings,
        "started_from": run.started_from,
    }


def data_name(source: str) -> str:
    """Return the name of a --data source without its local path; a folder named like known data ends in a slash."""
    if source in KEYWORDS or source.startswith(HUB):
        return source
    name = os.path.basename(os.path.abspath(source))
    return f"{name}/" if name in DATA_TERMS else name


def save_grid(denoiser: Denoiser, photos: list[np.ndarray], path: Path) -> None:
    """Save one picture with a row of noisy, denoised and clean for each of the first photos."""
    save_image(Photo(compare([denoiser], photos[:GRID_PHOTOS], GRID_LEVEL, GRID_SIDE)), path)

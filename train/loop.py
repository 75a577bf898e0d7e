"""The training loop: one step after another, validation and checkpoints now and then, and an exact resume."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from denoiser import Denoiser, Photo, metrics, save_image
from denoiser.inference import pick_device
from denoiser.model import PRESETS, DenoisingAutoencoder
from denoiser.weights import Weights, load_weights, save_weights

from .card import write_card
from .checkpoint import Run, load_checkpoint, save_checkpoint
from .config import ConfigError, TrainConfig
from .data import PhotoSet, draw_batch, load_camera_photos, load_photos
from .evaluate import LEVELS, measure, measure_camera, side_by_side
from .loss import training_loss
from .optimizers import make_optimizers
from .push import push

TOLD_SHARE = 0.5  # of the crops are denoised with the true level, the others with the estimate
METRICS_FILE = "metrics.jsonl"
GRID_PHOTOS, GRID_SIDE, GRID_LEVEL = 4, 192, 25


# Settings that say nothing about the weights: paths of one machine, or what the other facts tell.
ELSEWHERE = ("data", "camera_data", "val", "output_dir", "init", "resume", "steps", "max_minutes", "push", "push_every")


def fit(config: TrainConfig) -> Path:
    """Train as the config says; returns the folder of the best weights, output_dir/weights.

    Raises ConfigError for settings or data that can't be used.
    """
    output = Path(config.output_dir)
    checkpoint = output / "checkpoint.pt"
    if checkpoint.exists() and not config.resume:
        raise ConfigError(f"{output} holds a run already; --resume continues it, another --output-dir starts anew")
    device = pick_device(config.device)
    training, validation = load_photos(config)
    photos = PhotoSet(training, device)
    camera_training = load_camera_photos(config)
    camera_photos = PhotoSet(camera_training, device) if camera_training else None
    run = start_run(config, device)
    output.mkdir(parents=True, exist_ok=True)
    if config.resume and checkpoint.exists():
        load_checkpoint(run, checkpoint)
        forget_later_metrics(output / METRICS_FILE, run.step)
    note_settings(run, config)
    (output / "train.json").write_text(json.dumps(config.to_json(), indent=2) + "\n", encoding="utf-8")
    print(f"{config.model} on {device}: {len(training)} photos to train on, {len(validation)} to validate on, {output}")

    loss_of = torch.compile(training_loss) if config.compile else training_loss
    started = time.monotonic() - run.seconds
    with tqdm(total=config.steps, initial=run.step, unit="step", smoothing=0.05) as bar:
        while (progress := run_progress(config, run)) < 1:
            rate = learning_rate(config, run.step, progress)
            loss, restored_psnr = train_step(run, photos, config, rate, loss_of, camera_photos)
            run.seconds = time.monotonic() - started
            bar.update()
            if run.step % 20 == 0:
                speed = config.batch_size * bar.format_dict["rate"] if bar.format_dict["rate"] else math.nan
                bar.set_postfix_str(f"loss {float(loss):.4f}, {float(restored_psnr):.2f} dB, {speed:.0f} images/s")
            if run.step % config.validation_steps == 0:
                validate(run, validation, config, output, float(loss))
                run.seconds = time.monotonic() - started
            if run.step % config.checkpointing_steps == 0:
                save_checkpoint(run, checkpoint)
            if config.push_every and run.step % config.push_every == 0:
                push_weights(output, config)
                run.seconds = time.monotonic() - started
    if run.step != run.validated_step:
        validate(run, validation, config, output)
    save_checkpoint(run, checkpoint)
    if config.push:
        push_weights(output, config)
    return output / "weights"


def push_weights(output: Path, config: TrainConfig) -> None:
    """Put the best weights so far on the Hub. Where that fails, it is said, and the training goes on."""
    folder = output / "weights"
    if not folder.is_dir():
        return  # nothing was validated yet
    try:
        write_card(folder)
        tqdm.write(f"pushed: {push(folder, config.push).url}")
    except ConfigError as error:
        tqdm.write(
            f"not pushed: {error}. The weights are in {folder}: python -m train push {folder} --repo {config.push}"
        )


def start_run(config: TrainConfig, device: torch.device, model: DenoisingAutoencoder | None = None) -> Run:
    """A run at step 0, the same for the same seed; of a new network of the config's kind if none is given."""
    torch.manual_seed(config.seed)  # initialisation and dropout draw from PyTorch's default generator
    model = model or DenoisingAutoencoder(PRESETS[config.model])
    started_from = None
    if config.init:
        weights = load_weights(config.init)
        model, started_from = weights.model, weights.training
        if model.config.architecture != PRESETS[config.model].architecture:
            raise ConfigError(
                f"--init {config.init} is a {model.config.architecture} network, not --model {config.model}"
            )
    model = model.train().to(device, memory_format=torch.channels_last)
    average = None
    if config.ema_decay:
        average = AveragedModel(model, multi_avg_fn=_ema(config.ema_decay), use_buffers=True)
    generator = torch.Generator(device).manual_seed(config.seed)
    return Run(model, average, make_optimizers(model, config), generator, started_from=started_from)


def _ema(decay: float) -> object:
    """Exponential moving average whose decay starts low, so that early weights are soon forgotten."""

    @torch.no_grad()
    def update(averages: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        weight = 1 - ((1 + count) / (10 + count)).clamp(max=decay)
        for average, value in zip(averages, current, strict=True):
            if average.is_floating_point():
                average.lerp_(value, weight.to(average.dtype))
            else:
                average.copy_(value)

    return update


def run_progress(config: TrainConfig, run: Run) -> float:
    """How much of the run is done, from 0 to 1: by steps or by time, whichever is further."""
    by_time = run.seconds / (60 * config.max_minutes) if config.max_minutes else 0.0
    return max(run.step / config.steps, by_time)


def learning_rate(config: TrainConfig, step: int, progress: float) -> float:
    """The rate for a step: a linear warm-up, then half a cosine down to zero, or constant."""
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    decay = 0.5 * (1 + math.cos(math.pi * progress)) if config.schedule == "cosine" else 1.0
    return config.learning_rate * warmup * decay


def uses_bf16(config: TrainConfig, device: torch.device) -> bool:
    """Whether the network computes in bfloat16: by default on a GPU, and on a CPU that multiplies it in tiles (AMX)."""
    fast = device.type == "cuda" or torch.cpu.get_capabilities().get("amx_bf16", False)
    return fast if config.mixed_precision == "auto" else config.mixed_precision == "bf16"


def train_step(
    run: Run,
    photos: PhotoSet,
    config: TrainConfig,
    rate: float,
    loss_of: object = None,
    camera_photos: PhotoSet | None = None,
) -> tuple[Tensor, Tensor]:
    """One optimizer step. Returns the loss and the mean PSNR of the restored crops, as tensors on the device."""
    batch = draw_batch(photos, config, run.generator, camera_photos)
    clean, noisy, sigma = batch.clean, batch.noisy, batch.sigma
    told = torch.rand((len(sigma), 1, 1, 1), generator=run.generator, device=sigma.device) < TOLD_SHARE
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
    with torch.autocast(clean.device.type, torch.bfloat16, enabled=uses_bf16(config, clean.device)):
        loss, restored = (loss_of or training_loss)(run.model, clean, noisy, sigma, told, config)
    run.model.zero_grad(set_to_none=True)
    loss.backward()
    if config.max_grad_norm:
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.max_grad_norm)
    for optimizer in run.optimizers:
        optimizer.step()
    if run.average is not None:
        run.average.update_parameters(run.model)
    run.step += 1
    run.crops += config.batch_size
    return loss.detach(), metrics.psnr(restored.detach().float(), clean).mean()


def validate(run: Run, photos: list[np.ndarray], config: TrainConfig, output: Path, loss: float | None = None) -> None:
    """Measure, log a line to metrics.jsonl, save a picture grid, and keep the weights if they are the best so far."""
    weights = Weights(run.measured_model, config.model)
    denoiser = Denoiser(weights, str(next(run.model.parameters()).device))
    results = measure(denoiser, "validation", photos, LEVELS, show_progress=False)
    psnr = float(np.mean([row.psnr for row in results]))
    camera_psnr = measure_camera(denoiser, photos) if config.camera_share else None
    if camera_psnr is not None:
        psnr = (psnr + camera_psnr) / 2
    if math.isnan(psnr):
        raise ConfigError(f"the network diverged before step {run.step}; start anew with a lower --learning-rate")
    line = {"step": run.step, "minutes": round(run.seconds / 60, 2), "loss": loss, "psnr": round(psnr, 4)}
    line |= {f"psnr_{row.level:g}": round(row.psnr, 4) for row in results}
    if camera_psnr is not None:
        line["psnr_camera"] = round(camera_psnr, 4)
    with (output / METRICS_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    tqdm.write(", ".join(f"{key} {value}" for key, value in line.items() if value is not None))
    save_grid(denoiser, photos, output / f"grid-{run.step:06d}.png")
    run.validated_step = run.step
    if psnr > run.best_psnr:
        run.best_psnr = psnr
        save_weights(run.measured_model, output / "weights", training_facts(run, config))
    run.model.train()


def forget_later_metrics(path: Path, step: int) -> None:
    """Drop what a run had logged after the checkpoint it is resumed from: it will log it again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(line for line in lines if json.loads(line)["step"] <= step), encoding="utf-8")


def note_settings(run: Run, config: TrainConfig) -> None:
    """Remember the settings, or which of them are others than before: a run may be resumed with changed ones."""
    known = {key: value for part in run.settings for key, value in part.items()}
    settings = {key: value for key, value in config.to_json().items() if key not in ELSEWHERE}
    changed = {key: value for key, value in settings.items() if key not in known or known[key] != value}
    if changed:
        run.settings.append({"from_step": run.step} | changed)


def training_facts(run: Run, config: TrainConfig) -> dict[str, object]:
    """What a model card says of the training."""
    device = next(run.model.parameters()).device
    return {
        "model": config.model,
        "data": [Path(source).name for source in dict.fromkeys((*config.data, *config.camera_data))],
        "steps": run.step,
        "crops": run.crops,
        "minutes": round(run.seconds / 60, 1),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPU cores",
        "validation_psnr": round(run.best_psnr, 3),
        "settings": run.settings,
        "started_from": run.started_from,
    }


def save_grid(denoiser: Denoiser, photos: list[np.ndarray], path: Path) -> None:
    """Rows of noisy, denoised and clean, one a photo, as one picture."""
    rows = []
    for photo in photos[:GRID_PHOTOS]:
        clean = photo[:GRID_SIDE, :GRID_SIDE]
        clean = np.pad(clean, [(0, GRID_SIDE - side) for side in clean.shape[:2]] + [(0, 0)])
        rows.append(side_by_side(denoiser, clean, GRID_LEVEL))
    save_image(Photo(np.concatenate(rows)), path)

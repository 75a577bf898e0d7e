"""The training loop: steps, periodic validation and checkpoints, and exact resume."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from denoiser import DenoiserError
from denoiser.model import NETWORKS, DenoisingAutoencoder
from denoiser.weights import load_weights

from ..config import SETTINGS_FILE, ConfigError, TrainConfig
from ..data.training_data import open_training_data
from ..files import write_file
from ..publish.card import write_card
from ..publish.push import push
from .checkpoint import Run, best_effort, find_checkpoints, resume_run, save_checkpoint
from .curve import draw_curve
from .distributed import joined_world
from .interrupt import catch_interrupts
from .optimizers import make_optimizers
from .progress import Report
from .step import MAX_SKIPPED, make_objective, train_step
from .validation import METRICS_FILE, WEIGHTS_FOLDER, forget_later_metrics, note_settings, read_metrics, validate

WARMUP_SHARE = 0.03  # of a run at most: a short run could end before --warmup-steps


def fit(config: TrainConfig) -> Path:
    """Train with the settings of the config; return the folder of the best weights, output_dir/weights.

    Under torchrun the processes share the work. Raises ConfigError if the settings or the data can't be used or the run
    diverges, and KeyboardInterrupt, after saving everything, if the run is interrupted.
    """
    with joined_world() as world, catch_interrupts() as interrupt:
        output = Path(config.output_dir)
        if find_checkpoints(output) and not config.resume:
            raise ConfigError(f"{output} holds a run already; --resume continues it, another --output-dir starts anew")
        device = world.pick_device(config.device)
        with world.one_by_one():  # the first process downloads
            data = open_training_data(config, device, world.rank, world.size)
        run = start_run(config, device)
        checkpoint = resume_run(run, config.resume, output) if config.resume else None
        if checkpoint and not (output / WEIGHTS_FOLDER).is_dir():
            run.best_psnr = -math.inf  # its weights are in another folder
        note_settings(run, config)
        if world.is_main:
            prepare_folder(run, config, output)
            if checkpoint:
                print(f"resumed from {checkpoint} at step {run.step}")
            elif config.resume:
                print(f"no checkpoint in {output}: a new run starts")
            print(f"{config.recipe} on {device}: {data.about}")

        objective = make_objective(run.model, config, world)
        data.seek(run.crops // world.size)  # may take minutes, which don't count as training time
        started = time.monotonic() - run.seconds
        with Report(config, run, world, output, run_progress(config, run)) as report:
            while (progress := run_progress(config, run)) < 1 and not interrupt.requested:
                rate = learning_rate(config, run.step, progress)
                data.seek(run.crops // world.size)
                step = train_step(run, data.photos, config.at(progress), rate, objective, data.camera_photos, world)
                run.seconds, stop = world.highest(time.monotonic() - started, interrupt.requested)
                interrupt.requested = bool(stop)
                report.step(step, rate, run_progress(config, run), data.waited)
                stop_if_diverged(run, output)
                if run.step % config.validation_steps == 0:
                    report.scores(validate(run, data.validation, config, output, report.means(), world))
                if run.step % config.checkpointing_steps == 0 and world.is_main:
                    with best_effort("the checkpoint"):
                        save_checkpoint(run, output, config.checkpoints_total_limit)
                if config.push and config.push_every and run.step % config.push_every == 0 and world.is_main:
                    push_weights(output, config.push)
            if not interrupt.requested and run.step != run.validated_step:
                report.scores(validate(run, data.validation, config, output, report.means(), world))
        if world.is_main:
            finish(run, config, output, interrupt.requested)
        if interrupt.requested:
            raise KeyboardInterrupt
        return output / WEIGHTS_FOLDER


def prepare_folder(run: Run, config: TrainConfig, output: Path) -> None:
    """Make the folder of a run, with its settings and its log so far. Raises ConfigError if that isn't possible."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_file(output / SETTINGS_FILE, json.dumps(config.to_json(), indent=2) + "\n")
        forget_later_metrics(output / METRICS_FILE, run.step)
    except OSError as error:
        raise ConfigError(f"--output-dir {output} can't be used: {error}") from error


def finish(run: Run, config: TrainConfig, output: Path, interrupted: bool) -> None:
    """Save the state; if the run is complete, draw its curve and push its weights."""
    try:
        path = save_checkpoint(run, output, config.checkpoints_total_limit)
    except OSError as error:
        raise ConfigError(f"step {run.step} could not be saved: {error}; an older checkpoint may be there") from error
    if interrupted:
        print(f"stopped after step {run.step}, saved as {path}; `fit --resume --output-dir {output}` continues")
        return
    if not (output / WEIGHTS_FOLDER).is_dir():
        raise ConfigError(f"no weights could be written to {output / WEIGHTS_FOLDER}; {path} holds the run")
    with best_effort("the curve"):
        draw_curve(read_metrics(output / METRICS_FILE), output / "curve.png")
    if config.push:
        push_weights(output, config.push)


def stop_if_diverged(run: Run, output: Path) -> None:
    """Raise ConfigError, naming the last good checkpoint, if MAX_SKIPPED steps in a row were skipped."""
    if run.skipped_in_a_row < MAX_SKIPPED:
        return
    good = find_checkpoints(output)
    advice = f"continue with --resume {good[-1]} and" if good else "start anew with"
    raise ConfigError(
        f"the gradients were not finite in {MAX_SKIPPED} steps in a row, up to step {run.step}; "
        f"{advice} a lower --learning-rate"
    )


def push_weights(output: Path, repo: str) -> None:
    """Push the best weights so far to the Hub. A failure is reported and training goes on."""
    folder = output / WEIGHTS_FOLDER
    if not folder.is_dir():
        return  # nothing has been validated yet
    try:
        write_card(folder)
        tqdm.write(f"pushed: {push(folder, repo).url}")
    except (ConfigError, DenoiserError, OSError) as error:
        reason = str(error).rstrip(".")
        tqdm.write(f"not pushed: {reason}. The weights are in {folder}: python -m train push {folder} --repo {repo}")


def start_run(config: TrainConfig, device: torch.device, model: DenoisingAutoencoder | None = None) -> Run:
    """Create a run at step 0, the same for the same seed; without `model`, of a new network of the config's kind."""
    torch.manual_seed(config.seed)  # initialisation draws from PyTorch's default generator
    model = model or DenoisingAutoencoder(NETWORKS[config.network])
    origin: dict[str, Any] = {}
    if config.init:
        weights = load_weights(config.init)
        model, origin = weights.model, {"started_from": weights.training, "license": weights.license}
        if model.config.architecture != NETWORKS[config.network].architecture:
            raise ConfigError(
                f"--init {config.init} is a {model.config.architecture} network, not --network {config.network}"
            )
    if config.estimator_only:
        if not model.steerable:
            raise ConfigError("--estimator-only: a classic network has no noise level estimator")
        model.body.requires_grad_(False)
    # torch's stubs lack this overload
    model = model.train().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = None
    if config.ema_decay:
        average = AveragedModel(model, multi_avg_fn=_ema(config.ema_decay), use_buffers=True)
    return Run(model, average, make_optimizers(model, config), **origin)


def _ema(decay: float) -> Callable[..., None]:
    """Return an exponential moving average whose decay starts low, so that early weights fade quickly."""

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
    """Return the completed share of the run, from 0 to 1: by steps or by time, whichever is further."""
    by_time = run.seconds / (60 * config.max_minutes) if config.max_minutes else 0.0
    return max(run.step / config.steps, by_time)


def learning_rate(config: TrainConfig, step: int, progress: float) -> float:
    """Return the learning rate of a step: a linear warm-up, then half a cosine down to zero, or constant.

    progress is the completed share of the run, from 0 to 1. The warm-up is cut to WARMUP_SHARE of the run.
    """
    warmup = min(1.0, max((step + 1) / config.warmup_steps, progress / WARMUP_SHARE)) if config.warmup_steps else 1.0
    decay = 0.5 * (1 + math.cos(math.pi * progress)) if config.schedule == "cosine" else 1.0
    return config.learning_rate * warmup * decay

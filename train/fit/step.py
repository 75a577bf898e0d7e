"""One optimizer step: draw batches, compute their gradients, update the weights."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from denoiser import metrics
from denoiser.inference import has_fast_bfloat16
from denoiser.model import DenoisingAutoencoder

from ..config import TrainConfig
from ..data.batches import draw_batch, draw_told, soften_overstated
from ..data.photo_set import PhotoSet
from .checkpoint import Run
from .distributed import World
from .loss import Objective

MAX_PSNR = 100.0  # shown if all crops were restored exactly
MAX_SKIPPED = 10  # steps in a row without finite gradients, after which the run stops


class Step(NamedTuple):
    """The outcome of one optimizer step in this process."""

    loss: Tensor  # on the device, like psnr
    psnr: Tensor  # over all pixels of the restored crops
    accuracy: Tensor  # share of their pixels whose largest channel is the right one
    drawing: float  # seconds spent drawing the crops and their noise


def uses_bf16(config: TrainConfig, device: torch.device) -> bool:
    """Return whether to compute in bfloat16: by default on a GPU, and on a CPU that is fast at it."""
    fast = device.type == "cuda" or has_fast_bfloat16(device)
    return fast if config.mixed_precision == "auto" else config.mixed_precision == "bf16"


def make_objective(
    model: DenoisingAutoencoder, config: TrainConfig, world: World
) -> Objective | DistributedDataParallel:
    """Wrap the network with its loss for train_step: compiled on request, and shared among the processes."""
    objective = Objective(model)
    if config.compile:
        objective.compile()
    if world.size > 1:
        devices = [world.local_rank] if next(model.parameters()).is_cuda else None
        return DistributedDataParallel(objective, device_ids=devices)
    return objective


def step_generator(config: TrainConfig, step: int, batch: int, device: torch.device) -> torch.Generator:
    """Return the random generator for one batch of one step.

    It does not depend on earlier steps: a resumed run draws the same as an uninterrupted one, and several processes the
    same as one that computes their batches in turn. PyTorch's default generator, used by dropout, gets the same seed.
    """
    seed = int(np.random.SeedSequence((config.seed, step, batch)).generate_state(1)[0])
    torch.manual_seed(seed)
    return torch.Generator(device).manual_seed(seed)


def train_step(
    run: Run,
    photos: PhotoSet,
    config: TrainConfig,
    rate: float,
    objective: Objective | DistributedDataParallel | None = None,
    camera_photos: PhotoSet | None = None,
    world: World | None = None,
) -> Step:
    """Take one optimizer step on the mean gradient of --gradient-accumulation-steps batches of each process.

    A step without finite gradients changes nothing and is counted as skipped.
    """
    objective, world = objective or Objective(run.model), world or World()
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
    run.model.zero_grad(set_to_none=True)
    drawing, losses, psnrs, accuracies, count = 0.0, [], [], [], config.gradient_accumulation_steps
    for turn in range(count):
        started = time.perf_counter()
        generator = step_generator(config, run.step, world.rank * count + turn, run.device)
        batch = draw_batch(photos, config, generator, camera_photos)
        told, given = draw_told(batch.sigma, generator)
        target = soften_overstated(batch.clean, batch.sigma, told, given) if run.model.steerable else batch.clean
        drawing += time.perf_counter() - started
        postponed: AbstractContextManager[None] = nullcontext()
        if isinstance(objective, DistributedDataParallel) and turn < count - 1:
            postponed = objective.no_sync()  # the processes average their gradients once, at the last batch
        with postponed:
            with torch.autocast(run.device.type, torch.bfloat16, enabled=uses_bf16(config, run.device)):
                loss, restored = objective(target, batch.noisy, batch.sigma, told, config, given)
            (loss / count).backward()
        losses.append(loss.detach())
        restored = restored.detach().float()
        psnrs.append(metrics.psnr(restored.flatten(0, 1)[None], batch.clean.flatten(0, 1)[None]).clamp(max=MAX_PSNR))
        accuracies.append(metrics.argmax_channel_accuracy(restored, batch.clean).mean())
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.max_grad_norm or math.inf)
    if torch.isfinite(norm):  # the same in all processes
        for optimizer in run.optimizers:
            optimizer.step()
        if run.average is not None:
            run.average.update_parameters(run.model)
        run.skipped_in_a_row = 0
    else:
        run.skipped += 1
        run.skipped_in_a_row += 1
    run.step += 1
    run.crops += config.batch_size * count * world.size
    loss, psnr, accuracy = (torch.stack(values).mean() for values in (losses, psnrs, accuracies))
    return Step(loss, psnr, accuracy, drawing)

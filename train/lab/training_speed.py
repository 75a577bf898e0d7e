"""Measure the overhead of the trainer: its steps compared with bare ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from ..config import TrainConfig
from ..data.batches import draw_batch
from ..data.dead_leaves import dead_leaves
from ..data.photo_set import PhotoSet
from ..fit.loop import start_run
from ..fit.loss import Objective
from ..fit.step import step_generator, train_step, uses_bf16

PHOTOS, SIDE = 8, 320  # the content of the photos doesn't matter here
STEPS = 5  # per measurement


@dataclass(frozen=True)
class Speed:
    """Steps per second and their ratio, as medians over the rounds."""

    trainer: float
    bare: float
    ratio: float
    drawing_share: float  # of the trainer's time, for crops and noise

    def __str__(self) -> str:
        return (
            f"trainer {self.trainer:.2f} steps/s, forward + backward + optimizer only {self.bare:.2f} steps/s: "
            f"{self.ratio:.0%}; {self.drawing_share:.1%} of the trainer's time goes into drawing crops and noise"
        )


def training_speed(config: TrainConfig, rounds: int) -> Speed:
    """Time whole training steps and bare ones on a fixed batch in turns, so that both see the same machine load."""
    device = torch.device("cpu")
    photos = PhotoSet([dead_leaves(max(SIDE, config.crop), seed) for seed in range(PHOTOS)], device)
    trained, bare = start_run(config, device), start_run(config, device)
    objective, bare_objective = Objective(trained.model), Objective(bare.model)
    batch = draw_batch(photos, config, step_generator(config, 0, 0, device))
    told = torch.arange(config.batch_size).view(-1, 1, 1, 1) % 2 == 0
    drawing = 0.0

    def whole_step() -> None:
        nonlocal drawing
        drawing += train_step(trained, photos, config, config.learning_rate, objective).drawing

    def bare_step() -> None:
        bare.model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=uses_bf16(config, device)):
            loss, _ = bare_objective(batch.clean, batch.noisy, batch.sigma, told, config)
        loss.backward()
        for optimizer in bare.optimizers:
            optimizer.step()

    seconds_of(whole_step)
    seconds_of(bare_step)
    drawing = 0.0
    pairs = [(seconds_of(whole_step), seconds_of(bare_step)) for _ in range(rounds)]
    whole, bare_only = (median(times) for times in zip(*pairs, strict=True))
    share = drawing / sum(pair[0] for pair in pairs)
    return Speed(STEPS / whole, STEPS / bare_only, median(bare / whole for whole, bare in pairs), share)


def seconds_of(step: Callable[[], None]) -> float:
    started = time.perf_counter()
    for _ in range(STEPS):
        step()
    return time.perf_counter() - started

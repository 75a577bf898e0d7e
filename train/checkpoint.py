"""The state of a training run, and how it gets to disk and back."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel

from denoiser.model import DenoisingAutoencoder

from .config import ConfigError

COUNTERS = ("step", "crops", "seconds", "validated_step", "best_psnr")


@dataclass
class Run:
    """The whole state of a training run: what a checkpoint holds."""

    model: DenoisingAutoencoder
    average: AveragedModel | None  # exponential moving average of the weights
    optimizers: list[torch.optim.Optimizer]
    generator: torch.Generator  # of crops, augmentation and noise
    step: int = 0
    crops: int = 0  # that it has seen
    seconds: float = 0.0
    settings: list[dict[str, object]] = field(default_factory=list)  # the first ones, then what was changed, from_step
    started_from: dict[str, object] | None = None  # how the weights of --init had been trained
    validated_step: int = -1  # the last step that was validated
    best_psnr: float = -math.inf

    @property
    def measured_model(self) -> DenoisingAutoencoder:
        """The averaged weights where there are any: those are validated and kept."""
        return self.average.module if self.average is not None else self.model


def save_checkpoint(run: Run, path: Path) -> None:
    """Write the whole state, atomically: a crash leaves the old checkpoint."""
    device = next(run.model.parameters()).device
    state = {
        "model": run.model.state_dict(),
        "average": run.average.state_dict() if run.average is not None else None,
        "optimizers": [optimizer.state_dict() for optimizer in run.optimizers],
        "generator": run.generator.get_state(),
        "torch_random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "settings": run.settings,
        "counters": {name: getattr(run, name) for name in COUNTERS},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def load_checkpoint(run: Run, path: Path) -> None:
    """Put a run back to where save_checkpoint saw it. Raises ConfigError if the checkpoint is another network's."""
    device = next(run.model.parameters()).device
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise ConfigError(f"{path} is damaged and can't be resumed; start anew in another --output-dir") from error
    try:
        if (state["average"] is None) != (run.average is None):
            raise ValueError("one of the two has averaged weights")
        run.model.load_state_dict(state["model"])
        if run.average is not None:
            run.average.load_state_dict(state["average"])
        for optimizer, saved in zip(run.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is a checkpoint of another kind of run; resume with its own settings") from error
    run.generator.set_state(state["generator"])
    torch.set_rng_state(state["torch_random"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda_random"], device)
    run.settings = state["settings"]
    for name, value in state["counters"].items():
        setattr(run, name, value)

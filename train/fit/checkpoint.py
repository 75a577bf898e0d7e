"""The state of a training run, and how it gets to disk and back."""

from __future__ import annotations

import io
import math
import pickle
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import fsync
from pathlib import Path
from typing import Any, cast

import torch
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from denoiser import DenoiserError
from denoiser.model import DenoisingAutoencoder
from denoiser.weights import LICENSE

from ..config import LATEST, ConfigError

COUNTERS = ("step", "crops", "seconds", "skipped", "validated_step", "best_psnr", "measured_on")
ORIGIN = ("started_from", "license")  # checkpoints of old don't have it
CHECKPOINT_NAME = re.compile(r"checkpoint-(\d+)\.pt")


@dataclass
class Run:
    """The whole state of a training run: what a checkpoint holds.

    There is no random state in it: what is drawn in a step depends on the seed and the number of the step alone.
    """

    model: DenoisingAutoencoder
    average: AveragedModel | None  # exponential moving average of the weights
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    crops: int = 0  # that it has seen, in all processes
    seconds: float = 0.0
    skipped: int = 0  # steps whose gradients weren't finite
    skipped_in_a_row: int = 0
    settings: list[dict[str, Any]] = field(default_factory=list)  # the first ones, then what was changed, from_step
    started_from: dict[str, Any] | None = None  # how the weights of --init had been trained
    license: str = LICENSE  # of the weights: that of --init's, empty where they don't say
    validated_step: int = -1  # the last step that was validated
    best_psnr: float = -math.inf
    measured_on: str = ""  # a fingerprint of what that was measured on; empty where a checkpoint of old doesn't say

    @property
    def measured_model(self) -> DenoisingAutoencoder:
        """The averaged weights where there are any: those are validated and kept."""
        return cast(DenoisingAutoencoder, self.average.module) if self.average is not None else self.model

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


@contextmanager
def best_effort(what: str) -> Iterator[None]:
    """Write something that a run can do without: where a disk is full or gone, it is said, and the run goes on."""
    try:
        yield
    except (OSError, DenoiserError, ConfigError) as error:
        tqdm.write(f"{what} could not be written: {error}; the run goes on without it")


def find_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a run's folder, oldest first."""
    found = [path for path in folder.glob("checkpoint-*.pt") if CHECKPOINT_NAME.fullmatch(path.name)]
    return sorted(found, key=step_of)


def step_of(path: Path) -> int:
    return int(path.stem.removeprefix("checkpoint-"))


def save_checkpoint(run: Run, folder: Path, limit: int) -> Path:
    """Write the whole state, atomically, then remove all checkpoints but the newest `limit`.

    A crash at any moment leaves the older ones. Raises OSError where it can't be written.
    """
    state = {
        "model": run.model.state_dict(),
        "average": run.average.state_dict() if run.average is not None else None,
        "optimizers": [optimizer.state_dict() for optimizer in run.optimizers],
        "settings": run.settings,
        "counters": {name: getattr(run, name) for name in COUNTERS},
        "origin": {name: getattr(run, name) for name in ORIGIN},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path, partial = folder / f"checkpoint-{run.step:07d}.pt", folder / "checkpoint.partial"
    torch.save(state, content := io.BytesIO())  # straight to a full disk it would hide why it fails
    try:
        with partial.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            fsync(file.fileno())  # or a power cut could leave the new name with nothing in it
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    for old in find_checkpoints(folder)[:-limit]:
        old.unlink()
    return path


def resume_run(run: Run, resume: str, folder: Path) -> Path | None:
    """Put a run back to where its newest checkpoint stands, or the one at the path `resume`; returns which.

    Where the newest is damaged, the one before it serves; where there is none at all, the run starts anew. Raises
    ConfigError where none can be used, or where the folder holds later ones than that at the path.
    """
    candidates = find_checkpoints(folder) if resume == LATEST else [Path(resume)]
    for path in reversed(candidates):
        try:
            load_checkpoint(run, path)
        except DamagedCheckpoint as error:
            print(error, file=sys.stderr)
            continue
        if resume != LATEST and any(step_of(other) > run.step for other in find_checkpoints(folder)):
            raise ConfigError(f"{folder} holds later checkpoints; to go on from {path}, name another --output-dir")
        return path
    if candidates:
        raise ConfigError("no checkpoint could be read; start anew in another --output-dir")
    return None


class DamagedCheckpoint(ConfigError):
    """A file that isn't a whole checkpoint."""


def load_checkpoint(run: Run, path: Path) -> None:
    """Put a run back to where save_checkpoint saw it.

    Raises DamagedCheckpoint, or ConfigError if the checkpoint is another network's.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no checkpoint {path}; give {LATEST}, or the path of a checkpoint-*.pt") from error
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise DamagedCheckpoint(f"{path} is damaged and can't be resumed from") from error
    try:
        if (state["average"] is None) != (run.average is None):
            raise ValueError("one of the two has averaged weights")
        run.model.load_state_dict(state["model"])
        if run.average is not None:
            run.average.load_state_dict(state["average"])
        for optimizer, saved in zip(run.optimizers, state["optimizers"], strict=True):
            _load_optimizer(optimizer, saved)
        run.settings = state["settings"]
        known = {name: state["counters"][name] for name in COUNTERS if name in state["counters"]}
        origin = state.get("origin", {})
        known |= {name: origin[name] for name in ORIGIN if name in origin}
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is a checkpoint of another kind of run; resume with its own settings") from error
    for name, value in known.items():
        setattr(run, name, value)


def _load_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Take over the moments; the settings stay those that the run was given, but for the rate, which each step sets."""
    given = [{k: v for k, v in group.items() if k not in ("params", "lr")} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, settings in zip(optimizer.param_groups, given, strict=True):
        group.update(settings)

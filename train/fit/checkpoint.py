"""The state of a training run, saved to and loaded from checkpoints."""

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
ORIGIN = ("started_from", "license")  # missing in old checkpoints
CHECKPOINT_NAME = re.compile(r"checkpoint-(\d+)\.pt")


@dataclass
class Run:
    """The whole state of a training run: what a checkpoint holds.

    It has no random state: every random draw of a step depends only on the seed and the number of the step.
    """

    model: DenoisingAutoencoder
    average: AveragedModel | None  # exponential moving average of the weights
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    crops: int = 0  # seen so far, over all processes
    seconds: float = 0.0
    skipped: int = 0  # steps whose gradients weren't finite
    skipped_in_a_row: int = 0
    settings: list[dict[str, Any]] = field(
        default_factory=list
    )  # the initial ones, then each change with its from_step
    started_from: dict[str, Any] | None = None  # how the weights of --init were trained
    license: str = LICENSE  # of the weights; of --init's weights if given, empty if they record none
    validated_step: int = -1  # the last step that was validated
    best_psnr: float = -math.inf
    measured_on: str = ""  # fingerprint of the validation data of best_psnr; empty in old checkpoints

    @property
    def measured_model(self) -> DenoisingAutoencoder:
        """The averaged weights if the run averages, else the model: these are validated and kept."""
        return cast(DenoisingAutoencoder, self.average.module) if self.average is not None else self.model

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


@contextmanager
def best_effort(what: str) -> Iterator[None]:
    """Write `what`, which a run can do without: if the disk is full or gone, report it and go on."""
    try:
        yield
    except (OSError, DenoiserError, ConfigError) as error:
        tqdm.write(f"{what} could not be written: {error}; the run goes on without it")


def find_checkpoints(folder: Path) -> list[Path]:
    """Return the paths of the checkpoints in the folder of a run, oldest first."""
    found = [path for path in folder.glob("checkpoint-*.pt") if CHECKPOINT_NAME.fullmatch(path.name)]
    return sorted(found, key=step_of)


def step_of(path: Path) -> int:
    """Return the step of a checkpoint, which its name states."""
    return int(path.stem.removeprefix("checkpoint-"))


def save_checkpoint(run: Run, folder: Path, limit: int) -> Path:
    """Write the whole state atomically to `folder`, then remove all but the newest `limit` checkpoints.

    A crash at any moment leaves the older checkpoints intact. Raises OSError if the file can't be written.
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
    torch.save(state, content := io.BytesIO())  # writing directly, torch would hide why a full disk fails
    try:
        with partial.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            fsync(file.fileno())  # or a power cut could leave an empty file under the new name
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    for old in find_checkpoints(folder)[:-limit]:
        old.unlink()
    return path


def resume_run(run: Run, resume: str, folder: Path) -> Path | None:
    """Restore a run from its newest checkpoint, or from the one at the path `resume`; return the path used.

    If the newest is damaged, the one before it is used; if there is none, the run starts anew and the result is None.
    Raises ConfigError if none can be used, or if the folder holds later checkpoints than the given one.
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
    """A file that is not a complete checkpoint."""


def load_checkpoint(run: Run, path: Path) -> None:
    """Restore a run from a checkpoint of save_checkpoint.

    Raises DamagedCheckpoint, or ConfigError if the checkpoint belongs to another network.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no checkpoint {path}; give {LATEST}, or the path of a checkpoint-*.pt") from error
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise DamagedCheckpoint(f"{path} is damaged and can't be resumed from") from error
    try:
        if (state["average"] is None) != (run.average is None):
            raise ValueError("only one of the two has averaged weights")
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
    """Restore the moments but keep the settings of this run, except for the learning rate, which each step sets."""
    given = [{k: v for k, v in group.items() if k not in ("params", "lr")} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, settings in zip(optimizer.param_groups, given, strict=True):
        group.update(settings)

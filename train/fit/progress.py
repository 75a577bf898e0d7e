"""Show a run while it trains: a progress bar, and an experiment tracker on request."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from tqdm import tqdm

from ..config import ConfigError, TrainConfig
from .checkpoint import Run
from .distributed import World
from .step import Step

EVERY = 20  # steps between two reads of the loss: each read waits for the GPU


class Report:
    """Reports the steps and scores of a run, only in the main process; a context manager."""

    def __init__(self, config: TrainConfig, run: Run, world: World, output: Path, progress: float) -> None:
        """Start at `progress` of the run, from 0 to 1. Raises ConfigError if the tracker isn't installed."""
        self.run = run
        self.steps: list[Step] = []  # since the last validation
        self.drawing, self.waited, self.begun = 0.0, 0.0, time.perf_counter()
        self.crops, self.since = run.crops, self.begun  # at the last read
        bar_format = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
        self.bar = tqdm(total=1.0, initial=progress, bar_format=bar_format, disable=not world.is_main)
        self.tracker = make_tracker(config, output, run.step) if world.is_main else None

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        if self.tracker:
            self.tracker.close()

    def step(self, step: Step, rate: float, progress: float, waited: float = 0.0) -> None:
        """Count a step and, every EVERY steps, show it. `waited` is the total of seconds spent waiting for photos."""
        self.steps.append(step)
        self.drawing += step.drawing
        self.waited = waited
        self.bar.update(min(progress, 1.0) - self.bar.n)
        if self.run.step % EVERY:
            return
        loss, psnr, now = float(step.loss), float(step.psnr), time.perf_counter()
        speed = (self.run.crops - self.crops) / (now - self.since)
        self.crops, self.since = self.run.crops, now
        skipped = f", {self.run.skipped} steps skipped" if self.run.skipped else ""
        self.bar.set_postfix_str(
            f"step {self.run.step}, loss {loss:.4f}, {psnr:.2f} dB, {speed:.0f} images/s, "
            f"{self.drawing_share:.0%} of the time for data{skipped}"
        )
        self.track({"loss": loss, "psnr_of_crops": psnr, "learning_rate": rate, "images_per_second": speed})

    @property
    def drawing_share(self) -> float:
        """The share of the time since the start spent drawing crops and noise, or waiting for photos."""
        return (self.drawing + self.waited) / (time.perf_counter() - self.begun)

    def scores(self, scores: dict[str, float]) -> None:
        """Track the scores of a validation."""
        self.track({f"validation/{name}": value for name, value in scores.items()})

    def track(self, values: dict[str, float]) -> None:
        if self.tracker:
            self.tracker.log(values, self.run.step)

    def means(self) -> dict[str, float]:
        """Return the mean loss and accuracy of the steps since the last call; empty if there were none."""
        steps, self.steps = self.steps, []
        if not steps:
            return {}
        return {
            "loss": round(float(torch.stack([step.loss for step in steps]).mean()), 6),
            "accuracy": round(float(torch.stack([step.accuracy for step in steps]).mean()), 4),
        }


class TensorBoard:
    """Writes output_dir/tensorboard, for `tensorboard --logdir`."""

    def __init__(self, config: TrainConfig, output: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(output / "tensorboard"), purge_step=step + 1)

    def log(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class Trackio:
    """Writes to the Trackio project "denoiser", with the output folder's name for the run, for `trackio show`."""

    def __init__(self, config: TrainConfig, output: Path, step: int) -> None:
        import trackio

        self.trackio = trackio
        trackio.init("denoiser", output.name, config=config.to_json(), resume="allow" if step else "never")

    def log(self, values: dict[str, float], step: int) -> None:
        self.trackio.log(values, step=step)

    def close(self) -> None:
        self.trackio.finish()


TRACKERS: dict[str, type[TensorBoard | Trackio]] = {"tensorboard": TensorBoard, "trackio": Trackio}


def make_tracker(config: TrainConfig, output: Path, step: int) -> TensorBoard | Trackio | None:
    """Create the tracker of --report-to, if any. Raises ConfigError if it isn't installed."""
    if config.report_to == "none":
        return None
    try:
        return TRACKERS[config.report_to](config, output, step)
    except ImportError as error:
        raise ConfigError(f"--report-to {config.report_to} is not installed: pip install {config.report_to}") from error

"""Toy runs for the tests of training: a network, photos and settings for seconds.

`python tests/helpers/toy_training.py fit FLAGS` is the real command with that network, for a process of its own.
"""

import importlib
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from denoiser import Photo, save_image
from denoiser.model import DenoisingAutoencoder, ModelConfig
from train.__main__ import main
from train.config import TrainConfig
from train.fit import loop
from train.fit.checkpoint import find_checkpoints

TOY = Path(__file__).resolve()
TINY = ModelConfig(widths=(8, 12, 16), encoder_blocks=(1, 1, 1), decoder_blocks=(1, 1))


def build(config):
    """A network in eval mode; the same config gives the same weights, and the default generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DenoisingAutoencoder(config).eval()


def toy_pictures(count=3, height=24, width=28):
    """Coloured slopes with an edge: something to learn, and nothing like noise."""
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:height, :width][..., None]
    slopes = [rng.uniform(-4, 4, (2, 3)) for _ in range(count)]
    pictures = [128 + (row - 12) * down + (column - 14) * along + 40 * (row > column) for down, along in slopes]
    return [np.clip(picture, 0, 255).astype(np.uint8) for picture in pictures]


@pytest.fixture(scope="session")
def toy_photos(tmp_path_factory):
    """A folder of four small photos."""
    folder = tmp_path_factory.mktemp("photos")
    for number, pixels in enumerate(toy_pictures(4)):
        save_image(Photo(pixels), folder / f"{number}.png")
    return folder


@pytest.fixture
def toy_run(toy_photos, tmp_path, monkeypatch):
    """Settings of a run of twelve steps of the toy network, validated every four and saved every three."""
    monkeypatch.setitem(loop.NETWORKS, "residual", TINY)
    return TrainConfig(
        data=(str(toy_photos),), output_dir=str(tmp_path / "run"), steps=12, batch_size=4, crop=16, warmup_steps=3,
        camera_share=0.0, ema_decay=0.9, device="cpu", validation_steps=4, validation_photos=1, checkpointing_steps=3,
    )  # fmt: skip


def flags(config):
    """What the command is given for that config."""
    different = {name: value for name, value in config.to_json().items() if value != getattr(TrainConfig(), name)}
    values = {name: value if isinstance(value, tuple) else (value,) for name, value in different.items()}
    return [text for name, value in values.items() for text in ("--" + name.replace("_", "-"), *map(str, value))]


def newest_state(config):
    """What a run's newest checkpoint holds, but for the time it took."""
    state = torch.load(find_checkpoints(Path(config.output_dir))[-1], weights_only=True)
    del state["counters"]["seconds"]
    return state


def tensors_of(state):
    average = {f"average {name}": value for name, value in state["average"].items()}
    moments = {
        f"optimizer {number} {place} {name}": value
        for number, optimizer in enumerate(state["optimizers"])
        for place, moment in optimizer["state"].items()
        for name, value in moment.items()
    }
    return {**state["model"], **average, **moments}


def kill_at(module_name: str, function: str, count: str) -> None:
    """Kill this process, as by kill -9, at a call of a function of a module; at fsync, when half a file is written."""
    module = importlib.import_module(module_name)
    real, calls = getattr(module, function), iter(range(int(count)))

    def counted(*arguments, **options):
        if next(calls, None) is None:
            if real is os.fsync:
                os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(module, function, counted)


def run_toy(arguments: list[str], kill: str = "") -> None:
    """Run the command with the toy network in this process and exit; `kill` is "MODULE FUNCTION COUNT", for kill_at."""
    torch.set_num_threads(1)
    loop.NETWORKS["residual"] = TINY
    if kill:
        kill_at(*kill.split())
    sys.exit(main(arguments))


if __name__ == "__main__":
    run_toy(sys.argv[1:])

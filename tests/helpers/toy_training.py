"""Toy runs for the tests of training: a network, photos and settings for seconds.

`python tests/helpers/toy_training.py fit FLAGS` is the real command with that network, for a process of its own.
"""

import importlib
import json
import multiprocessing
import multiprocessing.process
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from denoiser import Photo, save_image
from denoiser.model import DenoisingAutoencoder, ModelConfig
from train.__main__ import main
from train.config import TrainConfig
from train.data.photo_set import PhotoSet
from train.fit import loop, step
from train.fit.checkpoint import find_checkpoints
from train.recipes import RECIPES

TOY = Path(__file__).resolve()
TINY = ModelConfig(widths=(8, 12, 16), encoder_blocks=(1, 1, 1), decoder_blocks=(1, 1), estimator_blocks=1)


def build(config):
    """Build a network in eval mode; the same config gives the same weights. The default generator is not changed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DenoisingAutoencoder(config).eval()


def toy_pictures(count=3, height=24, width=28):
    """Coloured gradients with an edge: something to learn that doesn't look like noise."""
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
    """Return the command's flags for a config."""
    different = {name: value for name, value in config.to_json().items() if value != getattr(TrainConfig(), name)}
    values = {name: value if isinstance(value, tuple) else (value,) for name, value in different.items()}
    return [text for name, value in values.items() for text in ("--" + name.replace("_", "-"), *map(str, value))]


def newest_state(config):
    """Return the content of a run's newest checkpoint, without the time it took."""
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


def run_toy(arguments: list[str], kill: str = "", output: Path | None = None, **environment: str) -> None:
    """Run the command with the toy network in this process and exit.

    `kill` is "MODULE FUNCTION COUNT", for kill_at; what is printed goes to the file `output`.
    """
    os.environ.update(environment)
    torch.set_num_threads(1)
    loop.NETWORKS["residual"] = TINY
    if kill:
        kill_at(*kill.split())
    if output:
        sys.stdout = open(output, "w", buffering=1)  # noqa: SIM115 - until the process ends
    sys.exit(main(arguments))


def start_toy(
    arguments: list[str], kill: str = "", output: Path | None = None, **environment: str
) -> multiprocessing.process.BaseProcess:
    """Start run_toy in another process, forked after the slow imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train.__main__", "torch._dynamo"])
    process = context.Process(target=run_toy, args=(arguments, kill, output), kwargs=environment)
    process.start()
    return process


CPU = torch.device("cpu")
GAUSSIAN = {"camera_share": 0.0, "clean_share": 0.0, "grey_share": 0.0, "partial_share": 0.0}  # only Gaussian noise
CLASSIC = ModelConfig("classic", (4, 4, 6, 6, 8, 10), (), (), normalization="batch", dropout=0.2, negative_slope=0.3)
NETWORKS = {
    "residual": ("photo", TINY),
    "residual with batch norm and dropout": ("photo", replace(TINY, normalization="batch", dropout=0.1)),
    "classic": ("classic", CLASSIC),
}


def toy(recipe=RECIPES["photo"], **changes):
    small = {"steps": 10, "batch_size": 4, "crop": 16, "warmup_steps": 3, "learning_rate": 4e-4, "device": "cpu"}
    small |= {"ema_decay": 0.9, "early_crops": (), "drift_weight": 0.0}
    return replace(recipe, **small | changes)


def take_steps(run, config, count, photos=None):
    photos = PhotoSet(photos or toy_pictures())
    losses = []
    for _ in range(count):
        rate = loop.learning_rate(config, run.step, loop.run_progress(config, run))
        losses.append(float(step.train_step(run, photos, config, rate).loss))
    return losses


def state_of(run):
    return {
        "model": run.model.state_dict(),
        "average": run.average and run.average.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in run.optimizers],
        "counters": (run.step, run.best_psnr),
    }


def assert_same(first, second, where="state"):
    """Assert that two states are equal bit for bit, through dicts and lists."""
    assert type(first) is type(second), where
    if isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype and torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_same(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), where
        for index, pair in enumerate(zip(first, second, strict=True)):
            assert_same(*pair, f"{where}[{index}]")
    else:
        assert first == second, where


def metrics_of(config):
    lines = (loop.Path(config.output_dir) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def files_of(config):
    root = loop.Path(config.output_dir)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def trained_model():
    """A network whose output depends on all weights; a new one is almost the identity."""
    model = DenoisingAutoencoder(TINY)
    torch.nn.init.normal_(model.body.tail.weight, std=0.1)
    return model


def crash_at_step(step, config, monkeypatch):
    real = loop.train_step

    def crashing(run, *arguments):
        if run.step == step:
            raise KeyboardInterrupt
        return real(run, *arguments)

    monkeypatch.setattr(loop, "train_step", crashing)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(config)
    monkeypatch.setattr(loop, "train_step", real)


if __name__ == "__main__":
    run_toy(sys.argv[1:])

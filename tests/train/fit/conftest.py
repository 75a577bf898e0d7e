"""Shared by the tests of training runs: tiny networks, a folder of photos, and a run on it."""

import itertools
import shutil

import pytest
import torch
from toy_training import CLASSIC, NETWORKS, TINY, toy, toy_pictures

from denoiser import Photo, save_image
from train.fit import loop, validation
from train.recipes import RECIPES


@pytest.fixture
def tiny_networks(monkeypatch):
    """Makes every run train a tiny network, and leaves PyTorch's default generator as it was."""
    monkeypatch.setitem(loop.NETWORKS, "residual", TINY)
    monkeypatch.setitem(loop.NETWORKS, "classic", CLASSIC)
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture(params=NETWORKS)
def config(request, monkeypatch):
    """The recipe of each network, on a toy scale."""
    name, model = NETWORKS[request.param]
    monkeypatch.setitem(loop.NETWORKS, RECIPES[name].network, model)
    return toy(RECIPES[name])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A photo folder with train/ and val/."""
    photos = tmp_path_factory.mktemp("runs") / "photos"
    for index, pixels in enumerate(toy_pictures(5)):
        path = photos / ("train" if index < 3 else "val") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(Photo(pixels), path)
    return photos


@pytest.fixture
def small_run(folder, monkeypatch):
    """A config that trains for seconds on that folder and draws no curve. Each test starts without its output."""
    monkeypatch.setattr(loop, "draw_curve", lambda lines, path: path.touch())
    output = folder.parent / "run"
    shutil.rmtree(output, ignore_errors=True)
    changes = {"data": (str(folder),), "output_dir": str(output), "steps": 8}
    return toy(**changes, validation_steps=3, checkpointing_steps=5)


@pytest.fixture
def rising_psnr(monkeypatch):
    """Makes every validation measure more than the one before, as a few steps need not do."""
    values = itertools.count(20.0)
    monkeypatch.setattr(validation, "psnr", lambda *arguments: next(values))


@pytest.fixture
def finished_run(small_run):
    """The config of that run after it has ended: it runs once per file and is copied for each test."""
    output = loop.Path(small_run.output_dir)
    kept = output.with_name("finished")
    if not kept.exists():
        loop.fit(small_run)
        shutil.copytree(output, kept)
    else:
        shutil.copytree(kept, output)
    return small_run

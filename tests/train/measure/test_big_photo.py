"""The time of a big photo is measured as a ratio to that of the bare network in the same run."""

import re
import time

import denoiser
from train.__main__ import main
from train.measure import big_photo


def ratios(text):
    return [float(row) for row in re.findall(r"\| ([\d.]+) \|$", text, re.MULTILINE)]


def slowly(steps):
    time.sleep(0.5)
    yield from steps


def test_the_ratio_rises_with_the_time_around_the_network(tiny_model, monkeypatch, capsys):
    model = denoiser.Denoiser(denoiser.weights.Weights(tiny_model, "tiny"), "cpu")
    monkeypatch.setattr(big_photo.denoiser, "load", lambda device: model)
    monkeypatch.setattr(big_photo, "has_fast_bfloat16", lambda device: True)
    for name, value in (("HEIGHT", 96), ("WIDTH", 128), ("BARE_SIDE", 64)):
        monkeypatch.setattr(big_photo, name, value)
    assert main(["benchmark", "--big-photo", "--rounds", "3", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    assert "| float32 |" in printed and "| bfloat16 |" in printed
    real = model.by_tile
    monkeypatch.setattr(model, "by_tile", lambda photo: slowly(real(photo)))
    slowed = big_photo.big_photo(rounds=1, threads=1)
    assert min(ratios(slowed)) > 2 * max(ratios(printed)) > 0

"""The stand-ins have the published networks' sizes; time and memory are measured, not made up."""

import time

import pytest
import torch
from torch import nn

from train.__main__ import main
from train.fit import step
from train.lab import training_speed as lab
from train.lab.training_speed import training_speed
from train.measure import benchmark
from train.measure.network_size import network_size


@pytest.mark.parametrize(
    ("name", "parameters", "gmac"),
    [("DnCNN-C", 0.67e6, 43.7), ("FFDNet", 0.85e6, 13.9), ("DRUNet", 32.6e6, 138.8)],
)
def test_a_stand_in_has_the_published_size(name, parameters, gmac):
    with torch.device("meta"):  # counted, not computed
        measured = network_size(benchmark.NETWORKS[name]())
    assert measured[0] == pytest.approx(parameters, rel=0.01)
    assert measured[1] == pytest.approx(gmac, rel=0.01)


@pytest.mark.parametrize("name", benchmark.NETWORKS)
def test_every_network_returns_a_picture_of_the_same_size(name):
    with torch.inference_mode():
        assert benchmark.NETWORKS[name]().eval()(torch.zeros(1, 3, 64, 48)).shape == (1, 3, 64, 48)


def test_much_more_work_takes_longer_and_the_reference_is_one(monkeypatch):
    """Eleven times the work takes twice as long even while other tests compute."""

    def network(depth):
        return lambda: nn.Sequential(*benchmark._plain_layers(3, 32, 3, depth))

    monkeypatch.setattr(benchmark, "NETWORKS", {benchmark.REFERENCE: network(4), "deep": network(26)})
    monkeypatch.setattr(benchmark, "memory_above_idle", lambda *arguments: 0.25)
    reference, deep = benchmark.benchmark(side=64, rounds=5, threads=1)
    assert reference.time_ratio == 1 and deep.time_ratio > 2
    assert deep.seconds_per_megapixel > reference.seconds_per_megapixel > 0


@pytest.mark.slow
@pytest.mark.skipif(not benchmark.CLEAR_REFS.exists(), reason="memory is measured on Linux")
def test_a_larger_picture_takes_more_memory_whatever_the_parent_holds():
    torch.ones(2**28)  # a gigabyte, which a child's getrusage would count
    small, large = (benchmark.memory_above_idle("photo", side, threads=1) for side in (64, 512))
    pixels = 3 * 4 * 512**2 / 2**30  # the picture alone
    assert small < large and pixels < large < 1


def test_the_table_has_a_row_for_each_network():
    cost = benchmark.Cost("photo", 3_810_000, 8.8, 0.9, 0.152, 0.3)
    assert benchmark.costs_table([cost]).splitlines()[2] == "| photo | 3.81 M | 8.8 | 0.90 | 0.15 | 0.30 |"


@pytest.mark.parametrize("option", ["--side", "--rounds", "--threads"])
def test_a_count_below_one_is_refused(option, capsys):
    assert main(["benchmark", option, "0"]) == 1
    assert f"{option} is 0; it must be at least 1" in capsys.readouterr().err


@pytest.mark.slow
def test_the_trainers_steps_are_timed_beside_bare_ones(toy_run, monkeypatch):
    for name, value in (("PHOTOS", 2), ("SIDE", 32), ("STEPS", 2)):
        monkeypatch.setattr(lab, name, value)
    speed = training_speed(toy_run, rounds=3)
    assert speed.trainer > 0 and speed.bare > 0 and 0 < speed.drawing_share < 1
    real = step.draw_batch
    monkeypatch.setattr(step, "draw_batch", lambda *arguments: time.sleep(0.2) or real(*arguments))
    slowed = training_speed(toy_run, rounds=3)
    assert slowed.ratio < 0.5 and slowed.drawing_share > 0.5
    assert f"{slowed.ratio:.0%}; " in str(slowed)

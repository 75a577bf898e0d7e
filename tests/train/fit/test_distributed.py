"""Several processes train like one: the same weights for the same crops, one writer, one clock."""

import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_training import TOY, flags, newest_state, start_toy, tensors_of

from train.fit import loop, validation
from train.fit.distributed import World

pytestmark = pytest.mark.slow

PROCESSES = 2


def torchrun(run, *more):
    """Run the command under torchrun with two processes on this machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(PROCESSES), "--standalone"]
    command = [*launcher, str(TOY), "fit", *flags(run), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def two_processes(run, folder, *more):
    """Run the command in the processes that torchrun would start, with what it tells them; return what they print."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"WORLD_SIZE": str(PROCESSES), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    ranks = [str(rank) for rank in range(PROCESSES)]
    arguments = ["fit", *flags(run), *more]
    started = [start_toy(arguments, output=folder / rank, RANK=rank, LOCAL_RANK=rank, **place) for rank in ranks]
    for process in started:
        process.join(240)
    assert [process.exitcode for process in started] == [0] * PROCESSES
    return "".join((folder / rank).read_text() for rank in ranks)


def test_two_processes_reach_the_weights_of_one_with_the_same_crops(toy_run, tmp_path):
    """One process averages the gradients of two batches, two processes those of one each. Then both resume."""
    two = replace(toy_run, validation_photos=3, val=toy_run.data[0], mixed_precision="no")
    one = replace(two, output_dir=str(tmp_path / "one"), gradient_accumulation_steps=PROCESSES)
    loop.fit(replace(one, steps=6))
    loop.fit(replace(one, resume="latest"))
    ended = torchrun(two, "--steps", "6")
    assert ended.returncode == 0, ended.stderr
    printed = [ended.stdout, two_processes(two, tmp_path, "--resume")]
    assert [text.count("photos to train on") for text in printed] == [1, 1]
    ours, expected = newest_state(two), newest_state(one)
    assert ours["counters"]["crops"] == expected["counters"]["crops"] == 12 * 4 * PROCESSES
    for name, value in tensors_of(expected).items():
        torch.testing.assert_close(tensors_of(ours)[name], value, rtol=1e-3, atol=1e-5, msg=name)
    logs = [validation.read_metrics(Path(run.output_dir) / validation.METRICS_FILE) for run in (two, one)]
    for of_two, of_one in zip(*logs, strict=True):
        assert of_two["step"] == of_one["step"]
        assert of_two["psnr"] == pytest.approx(of_one["psnr"], abs=1e-3)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_results_of_all_processes_are_gathered_in_order(count, monkeypatch):
    items = list(range(count))
    worlds = [World(rank, 3) for rank in range(3)]
    shares = [world.share(items) for world in worlds]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1

    def gather(parts, mine):
        parts[:] = shares

    monkeypatch.setattr("torch.distributed.all_gather_object", gather)
    assert all(world.gather(share) == items for world, share in zip(worlds, shares, strict=True))


def test_a_single_process_has_all_the_work_and_waits_for_nobody():
    world = World()
    assert world.is_main and world.share([1, 2]) == world.gather([1, 2]) == [1, 2]
    assert world.highest(1.5, True) == (1.5, True)
    with world.one_by_one():
        pass

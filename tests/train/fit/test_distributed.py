"""Several processes train like one: the same weights for the same crops, one writer, one clock."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.launcher import LaunchConfig, elastic_launch
from toy_training import flags, newest_state, run_toy, tensors_of

from train.fit import loop, validation
from train.fit.distributed import World

pytestmark = pytest.mark.slow

PROCESSES = 2


def torchrun(run, logs, *more):
    """Run the command as torchrun does, with two processes on this machine, forked after the slow imports.

    Returns what they printed.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(["train.__main__", "torch._dynamo"])
    launch = elastic_launch(
        LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=PROCESSES, start_method="forkserver", run_id="toy",
            rdzv_backend="c10d", rdzv_endpoint="localhost:0", max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=str(logs), redirects=Std.OUT),
        ),
        run_toy,
    )  # fmt: skip
    launch(["fit", *flags(run), *more])  # raises if one of them fails
    return "".join(path.read_text() for path in logs.rglob("stdout.log"))


def test_two_processes_reach_the_weights_of_one_with_the_same_crops(toy_run, tmp_path):
    """One process averages the gradients of two batches, two processes those of one each. Then both resume."""
    two = replace(toy_run, validation_photos=3, val=toy_run.data[0], mixed_precision="no")
    one = replace(two, output_dir=str(tmp_path / "one"), gradient_accumulation_steps=PROCESSES)
    loop.fit(replace(one, steps=6))
    loop.fit(replace(one, resume="latest"))
    for name, extra in {"start": ["--steps", "6"], "end": ["--resume"]}.items():
        assert torchrun(two, tmp_path / name, *extra).count("photos to train on") == 1
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

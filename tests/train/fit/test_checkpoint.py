"""Checkpoints: a resumed run equals an uninterrupted one bit for bit, and other runs' checkpoints are refused."""

import copy
from dataclasses import replace

import pytest
import torch
from toy_training import CPU, assert_same, files_of, state_of, take_steps, toy

from train.config import LATEST, ConfigError
from train.fit import checkpoint, loop
from train.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("tiny_networks")


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(config, tmp_path):
    run = loop.start_run(config, CPU)
    losses = take_steps(run, config, 10)
    expected = state_of(run)

    first_half = loop.start_run(config, CPU)
    resumed_losses = take_steps(first_half, config, 5)
    path = checkpoint.save_checkpoint(first_half, tmp_path, 1)
    second_half = loop.start_run(replace(config, seed=99), CPU)
    torch.rand(1000)  # the default generator is anywhere
    checkpoint.load_checkpoint(second_half, path)
    resumed_losses += take_steps(second_half, config, 5)
    assert resumed_losses == losses
    assert_same(state_of(second_half), expected)


def test_saving_disturbs_neither_the_run_nor_its_random_numbers(config, tmp_path):
    run = loop.start_run(config, CPU)
    take_steps(run, config, 2)
    before = copy.deepcopy(state_of(run))
    checkpoint.save_checkpoint(run, tmp_path, 1)
    assert_same(state_of(run), before)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-0000002.pt"]


def test_the_checkpoint_of_another_network_is_refused_and_kept(finished_run):
    before = files_of(finished_run)
    with pytest.raises(ConfigError, match="checkpoint of another kind of run"):
        loop.fit(toy(RECIPES["classic"], data=finished_run.data, output_dir=finished_run.output_dir, resume=LATEST))
    assert files_of(finished_run) == before


def test_a_checkpoint_sets_only_the_counters_of_a_run(tmp_path):
    run = loop.start_run(toy(), CPU)
    path = checkpoint.save_checkpoint(run, tmp_path, 1)
    state = torch.load(path)
    state["counters"] |= {"crops": 12, "model": "gone", "anything": 2}
    torch.save(state, path)
    model = run.model
    checkpoint.load_checkpoint(run, path)
    assert run.crops == 12 and run.model is model and not hasattr(run, "anything")


@pytest.mark.parametrize(("before", "after"), [(0.9, 0.0), (0.0, 0.9)])
def test_a_checkpoint_with_averages_is_not_resumed_without_them_nor_the_reverse(tmp_path, before, after):
    path = checkpoint.save_checkpoint(loop.start_run(toy(ema_decay=before), CPU), tmp_path, 1)
    with pytest.raises(ConfigError, match="checkpoint of another kind of run"):
        checkpoint.load_checkpoint(loop.start_run(toy(ema_decay=after), CPU), path)

"""Resuming ends like an uninterrupted run, and applies the settings given with it."""

from dataclasses import replace

import pytest
from toy_training import assert_same, crash_at_step, files_of, metrics_of, newest_state

from train.config import LATEST
from train.fit import loop

pytestmark = [pytest.mark.usefixtures("tiny_networks"), pytest.mark.slow]


def test_a_crashed_run_resumes_to_the_same_end(small_run, tmp_path, monkeypatch):
    whole = replace(small_run, output_dir=str(tmp_path / "whole"))
    loop.fit(whole)
    crash_at_step(7, small_run, monkeypatch)
    loop.fit(replace(small_run, resume=LATEST))
    assert_same(newest_state(small_run), newest_state(whole))
    weights = "weights/model.safetensors"
    assert files_of(small_run)[weights] == files_of(whole)[weights]
    assert {line["step"]: line["psnr"] for line in metrics_of(small_run)} == {
        line["step"]: line["psnr"] for line in metrics_of(whole)
    }


def test_a_resumed_run_logs_each_validation_once(small_run, monkeypatch):
    crash_at_step(7, small_run, monkeypatch)  # validated at 6, saved at 5
    loop.fit(replace(small_run, resume=LATEST))
    assert [line["step"] for line in metrics_of(small_run)] == [3, 6, 8]


def test_resuming_a_finished_run_changes_nothing(finished_run):
    weights = {name: content for name, content in files_of(finished_run).items() if name.startswith("weights/")}
    state = newest_state(finished_run)
    loop.fit(replace(finished_run, resume=LATEST))
    assert {name: content for name, content in files_of(finished_run).items() if name in weights} == weights
    assert_same(newest_state(finished_run), state)
    assert [line["step"] for line in metrics_of(finished_run)] == [3, 6, 8]


def test_a_finished_run_continues_if_it_is_given_more_steps(finished_run):
    loop.fit(replace(finished_run, resume=LATEST, steps=10))
    assert metrics_of(finished_run)[-1]["step"] == newest_state(finished_run)["counters"]["step"] == 10


def test_settings_changed_at_a_resume_are_recorded_after_the_first_ones(finished_run):
    loop.fit(replace(finished_run, resume=LATEST, steps=finished_run.steps + 2, batch_size=2, loss="mse"))
    state = newest_state(finished_run)
    assert state["settings"][0] | {"batch_size": 4, "loss": "l1", "from_step": 0} == state["settings"][0]
    assert state["settings"][1:] == [{"from_step": finished_run.steps, "batch_size": 2, "loss": "mse"}]
    assert state["counters"]["crops"] == finished_run.steps * 4 + 2 * 2


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_optimizer_settings_given_with_a_resume_apply(small_run, optimizer, monkeypatch):
    first = replace(small_run, optimizer=optimizer, weight_decay=0.1)
    loop.fit(first)
    moments, groups = newest_state(first)["optimizers"][0]["state"], []
    real = loop.train_step

    def watched(run, *arguments):
        if not groups:
            assert_same(run.optimizers[0].state_dict()["state"], moments)
        groups.extend(dict(group) for group in run.optimizers[0].param_groups)
        return real(run, *arguments)

    monkeypatch.setattr(loop, "train_step", watched)
    loop.fit(replace(first, resume=LATEST, steps=10, weight_decay=0.02))
    assert [group["weight_decay"] for group in groups] == [0.02] * 2
    state = newest_state(first)
    assert state["optimizers"][0]["param_groups"][0]["weight_decay"] == state["settings"][-1]["weight_decay"] == 0.02


def test_resume_without_a_run_starts_one_and_says_so(small_run, capsys):
    loop.fit(replace(small_run, resume=LATEST, steps=2))
    assert f"no checkpoint in {small_run.output_dir}: a new run starts" in capsys.readouterr().out
    assert newest_state(small_run)["counters"]["step"] == 2

"""Long runs survive kill -9, damaged and missing checkpoints, a full disk, NaN gradients and Ctrl-C."""

import json
import os
import resource
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_training import flags, newest_state, start_toy, tensors_of

import denoiser
from train.__main__ import main
from train.config import LATEST, ConfigError
from train.data.photo_set import PhotoSet
from train.fit import checkpoint, loop, step, validation

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SIGKILLED = -signal.SIGKILL


def exit_code(toy_run, kill=""):
    """Run the command in another process and return its exit code."""
    process = start_toy(["fit", *flags(toy_run)], kill)
    process.join(120)
    return process.exitcode


def test_a_run_killed_again_and_again_ends_like_an_uninterrupted_one(toy_run, tmp_path):
    whole = replace(toy_run, output_dir=str(tmp_path / "whole"))
    loop.fit(whole)
    kills = [
        "train.fit.loop train_step 2",  # before anything was saved
        "train.fit.checkpoint fsync 1",  # half of the second checkpoint is written
        "train.fit.validation save_grid 1",
        "train.fit.validation save_weights 1",
        "train.fit.checkpoint fsync 0",  # half of the next one
        "train.fit.loop draw_curve 0",  # almost done
    ]
    for number, kill in enumerate(kills):
        assert exit_code(replace(toy_run, resume=LATEST if number else None), kill) == SIGKILLED, kill
    assert exit_code(replace(toy_run, resume=LATEST)) == 0
    ours, expected = newest_state(toy_run), newest_state(whole)
    assert ours["counters"] == expected["counters"] and ours["settings"] == expected["settings"]
    tensors = tensors_of(expected)
    assert tensors.keys() == tensors_of(ours).keys()
    assert [name for name, value in tensors_of(ours).items() if not torch.equal(value, tensors[name])] == []
    name = "weights/model.safetensors"
    assert (Path(toy_run.output_dir) / name).read_bytes() == (Path(whole.output_dir) / name).read_bytes()
    logs = [validation.read_metrics(Path(run.output_dir) / validation.METRICS_FILE) for run in (toy_run, whole)]
    assert [[(line["step"], line["psnr"]) for line in log] for log in logs][0] == [
        (line["step"], line["psnr"]) for line in logs[1]
    ]


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_resume(toy_run, tmp_path):
    endless = replace(toy_run, steps=1_000_000, validation_steps=1_000_000, checkpointing_steps=1_000_000)
    running = start_toy(["fit", *flags(endless)], output=tmp_path / "printed")
    while not (Path(toy_run.output_dir) / "train.json").exists():
        assert running.is_alive()
        time.sleep(0.1)
    time.sleep(0.5)
    os.kill(running.pid, signal.SIGINT)
    running.join(120)
    assert running.exitcode == 130
    out = (tmp_path / "printed").read_text()
    [saved] = checkpoint.find_checkpoints(Path(toy_run.output_dir))
    done = checkpoint.step_of(saved)
    assert (
        f"stopped after step {done}, saved as {saved}; `fit --resume --output-dir {toy_run.output_dir}` continues"
        in out
    )
    loop.fit(replace(toy_run, steps=done + 1, resume=LATEST))
    assert newest_state(toy_run)["counters"]["step"] == done + 1


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None], ids=["empty", "text", "half"])
def test_if_the_newest_checkpoint_is_damaged_the_one_before_it_is_used(toy_run, content, capsys):
    loop.fit(toy_run)
    expected = newest_state(toy_run)
    older, newest = checkpoint.find_checkpoints(Path(toy_run.output_dir))
    newest.write_bytes(newest.read_bytes()[:5000] if content is None else content)
    loop.fit(replace(toy_run, resume=LATEST))
    assert f"{newest} is damaged" in capsys.readouterr().err
    assert newest_state(toy_run)["counters"] == expected["counters"]
    older.write_bytes(b"")
    newest.write_bytes(b"")
    with pytest.raises(ConfigError, match="no checkpoint could be read; start anew in another --output-dir"):
        loop.fit(replace(toy_run, resume=LATEST))


def test_only_the_newest_checkpoints_are_kept(toy_run):
    for limit, steps in ((1, [12]), (3, [9, 12, 15])):
        loop.fit(replace(toy_run, checkpoints_total_limit=limit, resume=LATEST, steps=steps[-1]))
        found = checkpoint.find_checkpoints(Path(toy_run.output_dir))
        assert [checkpoint.step_of(path) for path in found] == (steps if limit == 1 else [12, 15])


def test_a_run_resumes_from_a_given_checkpoint(toy_run, tmp_path, capsys):
    loop.fit(replace(toy_run, checkpoints_total_limit=9))
    first, *_, last = checkpoint.find_checkpoints(Path(toy_run.output_dir))
    with pytest.raises(ConfigError, match="holds later checkpoints; to go on from .* name another --output-dir"):
        loop.fit(replace(toy_run, resume=str(first)))
    other = replace(toy_run, output_dir=str(tmp_path / "other"), resume=str(first))
    capsys.readouterr()
    denoiser.load(loop.fit(other), device="cpu")
    assert capsys.readouterr().out.startswith(f"resumed from {first} at step 3\n")
    assert newest_state(other)["counters"] == newest_state(toy_run)["counters"]
    assert last.exists()
    with pytest.raises(ConfigError, match=r"there is no checkpoint gone\.pt; give latest, or the path"):
        loop.fit(replace(other, resume="gone.pt"))


def test_a_truncated_log_does_not_prevent_a_resume(toy_run):
    loop.fit(toy_run)
    log = Path(toy_run.output_dir) / validation.METRICS_FILE
    first, *others = log.read_text().splitlines(keepends=True)
    log.write_text(first + '{"step": 8, "mi' + "\n" + "".join(others) + '{"step": 12, "min')
    loop.fit(replace(toy_run, resume=LATEST, steps=13))
    assert [line["step"] for line in validation.read_metrics(log)] == [4, 8, 12, 13]


def test_a_full_disk_loses_only_what_cannot_be_written(toy_run, capsys):
    """Files over a limit can't be written, as on a full disk: checkpoints, but not the smaller weights."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, limits[1]))
    try:
        with pytest.raises(ConfigError, match=r"step 12 could not be saved: .*File too large"):
            loop.fit(toy_run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    out = capsys.readouterr().out
    assert "the checkpoint could not be written" in out and "the run goes on" in out
    folder = Path(toy_run.output_dir)
    assert [path.name for path in folder.iterdir() if path.suffix in (".pt", ".partial")] == []
    assert denoiser.load(folder / "weights", device="cpu").weights.training["steps"] in (4, 8, 12)


def not_finite(monkeypatch, steps):
    """Make the losses of these steps NaN, and count all steps."""
    real, seen = step.draw_batch, []

    def draw(*arguments):
        batch = real(*arguments)
        seen.append(len(seen))
        if seen[-1] in steps:
            batch.noisy[0, 0, 0, 0] = torch.nan
        return batch

    monkeypatch.setattr(step, "draw_batch", draw)
    return seen


def test_a_step_without_finite_gradients_changes_nothing_and_is_counted(toy_run, monkeypatch):
    not_finite(monkeypatch, {1, 2})
    run = loop.start_run(toy_run, CPU)
    toy = PhotoSet([np.full((24, 24, 3), 90, dtype=np.uint8)])
    states = []
    for _ in range(4):
        step.train_step(run, toy, toy_run, 1e-3)
        states.append({name: value.clone() for name, value in run.measured_model.state_dict().items()})
    pairs = zip(states, states[1:], strict=False)
    changed = [any(not torch.equal(old[name], new[name]) for name in old) for old, new in pairs]
    assert changed == [False, False, True]
    assert run.skipped == 2 and run.skipped_in_a_row == 0 and run.step == 4
    assert all(value.isfinite().all() for value in run.model.state_dict().values())


def test_a_run_that_keeps_diverging_stops_and_names_the_last_good_checkpoint(toy_run, monkeypatch):
    seen = not_finite(monkeypatch, range(7, 1000))
    with pytest.raises(ConfigError) as error:
        loop.fit(replace(toy_run, steps=1000, validation_steps=1000))
    assert len(seen) == 7 + step.MAX_SKIPPED
    named = checkpoint.find_checkpoints(Path(toy_run.output_dir))[-1]
    assert f"--resume {named} and a lower --learning-rate" in str(error.value)
    state = torch.load(named, weights_only=True)
    assert all(value.isfinite().all() for value in state["model"].values())


def test_the_command_resumes_the_newest_checkpoint_or_a_named_one(toy_run, monkeypatch):
    resumed = []
    monkeypatch.setattr("train.__main__.fit", lambda config: resumed.append(config.resume) or Path("weights"))
    for extra in ([], ["--resume"], ["--resume", "latest"], ["--resume", "runs/photo/checkpoint-0000500.pt"]):
        assert main(["fit", *flags(toy_run), *extra]) == 0
    assert resumed == [None, "latest", "latest", "runs/photo/checkpoint-0000500.pt"]


def test_the_log_is_json(toy_run):
    loop.fit(toy_run)
    for line in (Path(toy_run.output_dir) / validation.METRICS_FILE).read_text().splitlines():
        assert {"step", "minutes", "loss", "accuracy", "psnr", "psnr_15", "psnr_25", "psnr_50"} == set(json.loads(line))

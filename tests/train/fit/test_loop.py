"""The training loop: schedule, averaging, and a run from photos to weights that load."""

import json
import math
import shutil
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy_training import (
    CPU,
    TINY,
    assert_same,
    crash_at_step,
    files_of,
    metrics_of,
    newest_state,
    take_steps,
    toy,
    trained_model,
)

import denoiser
from denoiser import WeightsError
from denoiser.weights import save_weights
from train import files
from train.__main__ import main
from train.config import LATEST, ConfigError, TrainConfig
from train.fit import checkpoint, loop
from train.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("tiny_networks")


def test_the_seed_decides_a_run(config):
    def losses(seed):
        return take_steps(loop.start_run(replace(config, seed=seed), CPU), config, 2)

    assert losses(1) == losses(1) != losses(2)


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_the_average_is_the_exponential_moving_average_of_weights_and_statistics(decay, monkeypatch):
    monkeypatch.setitem(loop.NETWORKS, "residual", replace(TINY, normalization="batch"))
    run = loop.start_run(toy(ema_decay=decay), CPU)
    values, expected = run.model.state_dict(), {}
    generator = torch.Generator().manual_seed(0)
    for count in range(40):
        for name, value in values.items():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator))
            else:
                value.fill_(count)
            weight = 1 - min(decay, (1 + count) / (10 + count)) if count else 1.0
            old = expected.get(name, torch.zeros(()))
            expected[name] = old + weight * (value.double() - old) if value.is_floating_point() else value.clone()
        run.average.update_parameters(run.model)
    for name, value in run.measured_model.state_dict().items():
        assert torch.allclose(value.double(), expected[name].double(), atol=1e-5), name


def test_without_averaging_the_current_weights_are_measured():
    run = loop.start_run(toy(ema_decay=0.0), CPU)
    assert run.average is None and run.measured_model is run.model


def test_every_step_is_averaged():
    run = loop.start_run(toy(), CPU)
    take_steps(run, toy(), 3)
    assert int(run.average.n_averaged) == run.step == 3


@pytest.mark.parametrize(
    ("step", "progress", "expected"),
    [
        (0, 0.0, 0.1),  # the first of ten warm-up steps
        (4, 0.0, 0.5),
        (9, 0.0, 1.0),
        (500, 0.25, 0.5 + math.sqrt(0.125)),
        (500, 0.5, 0.5),
        (500, 0.75, 0.5 - math.sqrt(0.125)),
        (1000, 1.0, 0.0),
        (4, 0.015, 0.5 * 0.5 * (1 + math.cos(0.015 * math.pi))),  # by steps and by time half of the warm-up
        (4, 0.024, 0.8 * 0.5 * (1 + math.cos(0.024 * math.pi))),  # by time it is further
        (4, 0.5, 0.5),  # a run so short has warmed up long ago
    ],
)
def test_the_learning_rate_rises_and_then_falls_along_half_a_cosine(step, progress, expected):
    config = toy(learning_rate=2e-3, warmup_steps=10)
    assert loop.learning_rate(config, step, progress) == pytest.approx(2e-3 * expected)


def test_the_learning_rate_peaks_early_without_a_jump_even_in_short_runs(subtests):
    for steps, warmup_steps in product((40, 200, 2000), (1, 500, 100_000)):
        with subtests.test(steps=steps, warmup_steps=warmup_steps):
            config = toy(learning_rate=1e-4, warmup_steps=warmup_steps)
            rates = [loop.learning_rate(config, step, step / steps) for step in range(steps)]
            peak = rates.index(max(rates))
            assert rates[peak] > 0.98e-4 and peak <= 0.03 * steps + 1
            rise = np.diff(rates[: peak + 1])
            assert (rise > 0).all() and rise.max(initial=0) <= 1.01e-4 / min(warmup_steps, 0.03 * steps)


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.99])
def test_a_constant_learning_rate_is_constant(progress):
    config = toy(schedule="constant", warmup_steps=0, learning_rate=2e-3)
    assert loop.learning_rate(config, 0, progress) == loop.learning_rate(config, 900, progress) == 2e-3


@pytest.mark.parametrize(
    ("minutes", "step", "seconds", "expected"),
    [
        (None, 0, 0, 0),
        (None, 25, 9999, 0.25),
        (10, 25, 60, 0.25),
        (10, 25, 300, 0.5),
        (10, 25, 600, 1),
        (10, 100, 1, 1),
    ],
)
def test_progress_is_by_steps_or_minutes_whichever_is_further(minutes, step, seconds, expected):
    run = loop.start_run(toy(), CPU)
    run.step, run.seconds = step, seconds
    assert loop.run_progress(toy(steps=100, max_minutes=minutes), run) == pytest.approx(expected)


def test_a_run_leaves_settings_metrics_grids_a_checkpoint_and_weights(small_run):
    weights = loop.fit(small_run)
    assert set(files_of(small_run)) == {
        *("train.json", "metrics.jsonl", "curve.png", "weights/config.json", "weights/model.safetensors"),
        *("checkpoint-0000005.pt", "checkpoint-0000008.pt"),
        *(f"grid-{step:06d}.png" for step in (3, 6, 8)),
    }
    assert weights == loop.Path(small_run.output_dir) / "weights"
    assert TrainConfig(**json.loads((weights.parent / "train.json").read_text())) == small_run
    lines = metrics_of(small_run)
    assert [line["step"] for line in lines] == [3, 6, 8]
    for line in lines:
        gaussian = (line["psnr_15"] + line["psnr_25"] + line["psnr_50"]) / 3
        assert line["psnr"] == pytest.approx((gaussian + line["psnr_camera"]) / 2, abs=1e-3)
    assert denoiser.open_image(weights.parent / "grid-000008.png").pixels.shape == (2 * 192, 3 * 192, 3)


def test_a_run_keeps_its_best_averaged_weights(finished_run, folder):
    model = denoiser.load(loop.Path(finished_run.output_dir) / "weights", device="cpu")
    training = model.weights.training
    assert training["validation_psnr"] == pytest.approx(
        max(line["psnr"] for line in metrics_of(finished_run)), abs=1e-3
    )
    assert (
        training["recipe"] == "photo" and training["data"] == ["photos"] and training["crops"] == 4 * training["steps"]
    )
    photo = denoiser.open_image(folder / "val/3.png")
    assert model(photo).pixels.shape == photo.pixels.shape
    highest = max(line["psnr"] for line in metrics_of(finished_run))
    assert training["steps"] in [line["step"] for line in metrics_of(finished_run) if line["psnr"] == highest]
    if training["steps"] == 8:  # the last step's average is in the checkpoint: stored as float16
        average = newest_state(finished_run)["average"]
        for name, value in model.weights.model.state_dict().items():
            assert torch.allclose(value, average["module." + name].half().float()), name


def test_classic_trains_by_the_same_command(folder, tmp_path, capsys):
    output = tmp_path / "classic"
    command = ["fit", "--recipe", "classic", "--data", str(folder), "--output-dir", str(output), "--device", "cpu"]
    small = ["--crop", "16", "--batch-size", "4", "--steps", "3", "--validation-photos", "1"]
    assert main([*command, *small]) == 0
    assert f"best weights: {output / 'weights'}" in capsys.readouterr().out
    assert not denoiser.load(output / "weights", device="cpu").steerable
    assert main([*command, *small]) == 1
    assert "--resume continues it" in capsys.readouterr().err


def test_a_finished_run_is_not_overwritten(finished_run):
    before = files_of(finished_run)
    with pytest.raises(ConfigError, match="holds a run already; --resume continues it, another --output-dir"):
        loop.fit(finished_run)
    assert files_of(finished_run) == before


def test_a_run_that_diverges_fails(small_run):
    with pytest.raises(ConfigError, match="lower --learning-rate"):
        loop.fit(replace(small_run, learning_rate=1e30, warmup_steps=0))


def test_a_run_starts_from_given_weights(tmp_path):
    save_weights(trained_model(), tmp_path / "given")
    expected = denoiser.load(tmp_path / "given", device="cpu").weights.model
    run = loop.start_run(toy(init=str(tmp_path / "given")), CPU)
    assert_same(run.model.state_dict(), expected.state_dict())
    assert_same(run.measured_model.state_dict(), expected.state_dict())
    assert run.model.training
    with pytest.raises(WeightsError, match="nowhere"):
        loop.start_run(toy(init=str(tmp_path / "nowhere")), CPU)


def test_a_run_starts_from_bundled_weights_by_their_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = loop.start_run(toy(init="gaussian"), CPU)
    assert_same(run.model.state_dict(), denoiser.load("gaussian", device="cpu").weights.model.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("license", ["cc-by-nc-4.0", ""])
def test_the_licence_and_training_of_the_initial_weights_are_kept(small_run, tmp_path, license, monkeypatch):
    save_weights(trained_model(), tmp_path / "given", {"steps": 7}, license=license)
    started = replace(small_run, init=str(tmp_path / "given"), validation_steps=100)
    crash_at_step(7, started, monkeypatch)
    shutil.rmtree(tmp_path / "given")
    weights = denoiser.load(loop.fit(replace(started, init=None, resume=LATEST)), device="cpu").weights
    assert weights.license == json.loads(files_of(started)["weights/config.json"])["license"] == license
    assert weights.training["started_from"] == {"steps": 7}


def test_a_run_from_scratch_has_the_licence_of_the_project(finished_run):
    assert denoiser.load(loop.Path(finished_run.output_dir) / "weights", device="cpu").weights.license == "apache-2.0"


def test_a_run_cannot_start_from_weights_of_another_network(tmp_path):
    save_weights(trained_model(), tmp_path / "residual")
    with pytest.raises(ConfigError, match="--init"):
        loop.start_run(toy(RECIPES["classic"], init=str(tmp_path / "residual")), CPU)


def test_a_run_ends_after_its_minutes_with_a_learning_rate_near_zero(small_run, monkeypatch):
    ticks = iter(range(0, 100_000, 4))  # four seconds a look at the clock
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    rates, real = [], loop.learning_rate
    monkeypatch.setattr(loop, "learning_rate", lambda *arguments: rates.append(real(*arguments)) or rates[-1])
    loop.fit(replace(small_run, steps=1000, max_minutes=2, validation_steps=100, checkpointing_steps=100))
    counters = torch.load(checkpoint.find_checkpoints(loop.Path(small_run.output_dir))[-1])["counters"]
    assert counters["step"] == len(rates) == 30 and counters["seconds"] >= 120
    assert max(rates) > 0.9 * small_run.learning_rate and rates[-1] < 0.01 * small_run.learning_rate


@pytest.mark.slow
def test_a_run_pushes_its_best_weights_during_and_after_training(hub, small_run, rising_psnr):
    config = replace(small_run, push="tester/mine", push_every=small_run.validation_steps)
    weights = loop.fit(config)
    commits = hub.repos["tester/mine"].commits
    assert commits[-1].files["model.safetensors"] == (weights / "model.safetensors").read_bytes()
    assert commits[-1].files["config.json"] == (weights / "config.json").read_bytes()
    assert len([commit for commit in commits if commit.title == "Add run"]) > 1
    assert denoiser.load("tester/mine").weights.training["steps"] > 0


@pytest.mark.parametrize("error", [ConfigError("refused"), WeightsError("damaged."), OSError(28, "No space left")])
def test_an_error_while_pushing_is_printed_and_training_goes_on(tmp_path, error, monkeypatch, capsys):
    def failing(folder):
        raise error

    (tmp_path / "weights").mkdir()
    monkeypatch.setattr(loop, "write_card", failing)
    loop.push_weights(tmp_path, "tester/mine")
    assert f"not pushed: {str(error).rstrip('.')}. The weights" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_refused_and_its_files_stay(tmp_path, monkeypatch):
    run, config = loop.start_run(toy(), CPU), toy()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"--output-dir .*run can't be used: .*Not a directory"):
        loop.prepare_folder(run, config, tmp_path / "file" / "run")
    loop.prepare_folder(run, config, tmp_path / "run")
    before = (tmp_path / "run/train.json").read_bytes()

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "atomic_write", full)
    with pytest.raises(ConfigError, match=r"train\.json can't be written: No space left"):
        loop.prepare_folder(run, toy(seed=1), tmp_path / "run")
    assert (tmp_path / "run/train.json").read_bytes() == before


@pytest.mark.slow
def test_a_failed_push_loses_nothing(hub, small_run, capsys):
    hub.fail(".*", 403, times=100)
    weights = loop.fit(replace(small_run, push="tester/mine"))
    assert denoiser.load(weights)
    assert f"train push {weights} --repo tester/mine" in capsys.readouterr().out

"""Progress: the bar, the trackers and the curve of a run."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy_training import flags

import denoiser
from train.__main__ import main
from train.fit import loop
from train.fit.curve import draw_curve
from train.fit.progress import EVERY
from train.fit.validation import read_metrics

NAMES = {"loss", "psnr_of_crops", "learning_rate", "images_per_second"}


@pytest.fixture
def reported_run(toy_run, monkeypatch):
    """A run of twelve steps that shows the sixth and the last, without a curve."""
    monkeypatch.setattr(loop, "draw_curve", lambda lines, path: None)
    monkeypatch.setattr("train.fit.progress.EVERY", 6)
    return toy_run


def test_tensorboard_gets_losses_and_scores(reported_run):
    loop.fit(replace(reported_run, report_to="tensorboard"))
    events = EventAccumulator(str(Path(reported_run.output_dir) / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) >= NAMES
    assert [event.step for event in events.Scalars("loss")] == [6, 12]
    logged = [line["psnr"] for line in read_metrics(Path(reported_run.output_dir) / "metrics.jsonl")]
    assert [event.value for event in events.Scalars("validation/psnr")] == pytest.approx(logged, abs=1e-3)


@pytest.mark.slow
def test_trackio_gets_losses_and_scores(reported_run, monkeypatch):
    logged, runs = [], []
    monkeypatch.setattr("trackio.init", lambda project, name, **options: runs.append((project, name)))
    monkeypatch.setattr("trackio.log", lambda values, step: logged.append((step, set(values))))
    monkeypatch.setattr("trackio.finish", lambda: runs.append("finished"))
    loop.fit(replace(reported_run, report_to="trackio"))
    assert runs == [("denoiser", "run"), "finished"]
    assert [step for step, names in logged if names == NAMES] == [6, 12]
    assert [step for step, names in logged if "validation/psnr_25" in names] == [4, 8, 12]


@pytest.mark.parametrize("tracker", ["tensorboard", "trackio"])
def test_a_missing_tracker_is_named_with_its_installation(toy_run, tracker, monkeypatch, capsys):
    monkeypatch.setitem(
        __import__("sys").modules, {"tensorboard": "torch.utils.tensorboard"}.get(tracker, tracker), None
    )
    assert main(["fit", *flags(toy_run), "--report-to", tracker]) == 1
    assert f"--report-to {tracker} is not installed: pip install {tracker}" in capsys.readouterr().err


def test_the_bar_shows_loss_psnr_speed_and_time_for_data(reported_run, capsys):
    loop.fit(replace(reported_run, end_loss="mse"))
    assert EVERY > 6
    shown = capsys.readouterr().err
    for part in ("step 12, loss 0.", " dB, ", " images/s, ", "% of the time for data"):
        assert part in shown


def test_the_curve_shows_every_level(toy_run, tmp_path):
    loop.fit(toy_run)
    folder = Path(toy_run.output_dir)
    assert denoiser.open_image(folder / "curve.png").pixels.shape[2] == 3
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    draw_curve(lines, tmp_path / "curve.svg")
    drawn = (tmp_path / "curve.svg").read_text()
    assert all(f"<!-- {name} -->" in drawn for name in ("level 15", "level 25", "level 50", "optimizer step"))


def test_without_matplotlib_the_run_ends_with_a_message(toy_run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    denoiser.load(loop.fit(toy_run), device="cpu")
    assert "the curve could not be written: charts need Matplotlib: pip install matplotlib" in capsys.readouterr().out


@pytest.mark.slow
def test_the_reference_recipe_logs_and_draws_what_the_reference_reports(toy_run, tmp_path):
    loop.fit(replace(toy_run, sigma_law="exponential", end_loss="mse"))
    lines = [json.loads(line) for line in (Path(toy_run.output_dir) / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert line["loss"] > 0 and line["mse_exponential"] > 0
        assert 0 < line["accuracy"] < 1 and 0 < line["accuracy_exponential"] <= 1
    draw_curve(lines, tmp_path / "curve.svg")
    drawn = (tmp_path / "curve.svg").read_text()
    assert all(f"<!-- {name} -->" in drawn for name in ("squared error", "argmax-channel accuracy", "training"))

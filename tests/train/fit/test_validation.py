"""Validation: the same noise each time, the best weights kept, and no effect on the run."""

import copy
import io
import json
import math
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy_training import (
    CPU,
    GAUSSIAN,
    assert_same,
    files_of,
    metrics_of,
    newest_state,
    state_of,
    take_steps,
    toy,
    toy_pictures,
)

from train import files
from train.config import LATEST
from train.fit import checkpoint, loop, validation
from train.fit.curve import draw_curve
from train.measure.results import Result
from train.publish.card import save_results
from train.publish.push import push

pytestmark = pytest.mark.usefixtures("tiny_networks")


def test_without_cameras_only_gaussian_noise_is_validated(small_run):
    loop.fit(replace(small_run, steps=2, **GAUSSIAN))
    [line] = metrics_of(small_run)
    assert line["psnr"] == pytest.approx((line["psnr_15"] + line["psnr_25"] + line["psnr_50"]) / 3, abs=1e-3)
    assert "psnr_camera" not in line


def test_simulated_uploads_are_the_same_at_every_validation_and_differ_by_seed():
    photo = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    first, again, other = (validation.upload(photo, seed, 0.1) for seed in (1, 1, 2))
    for pixels, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(pixels, same)
        assert not np.array_equal(pixels, different)


def test_only_the_middle_of_large_photos_is_validated(monkeypatch):
    sizes = []
    denoiser = SimpleNamespace(denoise=lambda noisy: sizes.append(noisy.shape) or noisy)
    validation.photo_scores(denoiser, np.full((900, 700, 3), 90, np.uint8), 0, toy())
    assert sizes == [(256, 256, 3)] * 4


def best_of_a_thousand(config, **counters):
    """Set a finished run's best PSNR out of reach; counters given as None are removed from its checkpoint."""
    path = checkpoint.find_checkpoints(loop.Path(config.output_dir))[-1]
    state = torch.load(path, weights_only=True)
    changed = state["counters"] | {"best_psnr": 1000.0} | counters
    torch.save(state | {"counters": {name: value for name, value in changed.items() if value is not None}}, path)


OTHER_VALIDATION = {
    "other photos": lambda run: {"val": f"{run.data[0]}/train"},
    "fewer photos": lambda run: {"validation_photos": 1},
    "cameras too": lambda run: {"camera_share": 0.5},
}


@pytest.mark.slow
@pytest.mark.parametrize("change", OTHER_VALIDATION.values(), ids=OTHER_VALIDATION)
def test_a_best_psnr_measured_on_something_else_is_reset_with_one_message(small_run, change, capsys):
    small_run = replace(small_run, camera_share=0.0)
    loop.fit(small_run)
    best_of_a_thousand(small_run)
    capsys.readouterr()
    loop.fit(replace(small_run, resume=LATEST, steps=12, **change(small_run)))
    assert capsys.readouterr().out.count("the best PSNR so far is reset") == 1
    measured = [line["psnr"] for line in metrics_of(small_run) if line["step"] > 8]
    assert newest_state(small_run)["counters"]["best_psnr"] == pytest.approx(max(measured), abs=1e-3)
    training = json.loads(files_of(small_run)["weights/config.json"])["training"]
    assert training["steps"] > 8 and training["validation_psnr"] == pytest.approx(max(measured), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("counters", [{}, {"measured_on": None}], ids=["recorded", "from an old checkpoint"])
def test_a_best_psnr_measured_on_the_same_photos_stays(small_run, counters, capsys):
    loop.fit(replace(small_run, camera_share=0.25))
    best_of_a_thousand(small_run, **counters)
    weights = files_of(small_run)["weights/model.safetensors"]
    changes = {"camera_share": 0.5, "batch_size": 2, "val": f"{small_run.data[0]}/val"}
    loop.fit(replace(small_run, resume=LATEST, steps=10, **changes))
    assert "forgotten" not in capsys.readouterr().out
    state = newest_state(small_run)["counters"]
    assert state["best_psnr"] == 1000 and state["measured_on"]
    assert files_of(small_run)["weights/model.safetensors"] == weights


@pytest.mark.parametrize("best", [-math.inf, 1000.0])
def test_weights_are_kept_only_if_they_are_the_best_so_far(tmp_path, best):
    run = loop.start_run(toy(), CPU)
    run.best_psnr = best
    validation.validate(run, toy_pictures(1), toy(), tmp_path)
    assert (tmp_path / "weights/model.safetensors").exists() == (best < 0)
    assert run.best_psnr > 0 and (tmp_path / "metrics.jsonl").exists()


def test_damaged_lines_of_the_log_are_left_out_and_a_missing_log_gives_no_curve(tmp_path):
    log = tmp_path / "metrics.jsonl"
    log.write_bytes(b'{"step": 3}\n5\n{"step": 6, "ps{"step": 9}\n\x00\x00\n\n{"step": 12}')
    assert validation.read_metrics(log) == [{"step": 3}, {"step": 12}]
    assert validation.read_metrics(tmp_path / "gone") == []
    draw_curve([], tmp_path / "curve.png")
    assert not (tmp_path / "curve.png").exists()


def test_a_line_that_cannot_be_written_leaves_the_log_whole(tmp_path, monkeypatch, capsys):
    run, log = loop.start_run(toy(), CPU), tmp_path / "metrics.jsonl"
    validation.validate(run, toy_pictures(1), toy(), tmp_path)
    before = log.read_bytes()

    @contextmanager
    def full(path):
        yield io.BytesIO()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "atomic_write", full)
        validation.validate(run, toy_pictures(1), toy(), tmp_path)
    assert "the log could not be written" in capsys.readouterr().out and log.read_bytes() == before
    validation.validate(run, toy_pictures(1), toy(), tmp_path)
    assert len(validation.read_metrics(log)) == 2


def test_the_data_is_recorded_without_its_path_and_a_folder_is_not_taken_for_a_keyword(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"bsds400": "bsds400", "hub:user/set": "hub:user/set", "my/photos": "photos", ".": tmp_path.name}
    names |= {"renders/synthetic": "synthetic/", "./bsds400": "bsds400/", "my/photos_open": "photos_open/"}
    assert {source: validation.data_name(source) for source in names} == names


def test_validation_disturbs_neither_the_run_nor_its_random_numbers(config, tmp_path):
    config = replace(config, ema_decay=0.9)
    run = loop.start_run(config, CPU)
    take_steps(run, config, 2)
    before = copy.deepcopy(state_of(run))
    validation.validate(run, toy_pictures(1), config, tmp_path / ".")
    run.best_psnr, run.validated_step = -math.inf, -1
    assert_same(state_of(run), before)
    assert run.model.training


@pytest.mark.slow
def test_better_weights_delete_the_results_and_card_of_the_old_ones(hub, small_run, rising_psnr):
    weights = loop.fit(replace(small_run, push="tester/mine"))
    made = ("results.json", "README.md", "example.jpg")
    save_results(weights, [Result("toy", 1, "8-bit", False, 25.0, 20.5, 77.77, 0.9, 0.8, 24.5)])
    (weights / "example.jpg").write_bytes(b"a picture")
    before = files_of(small_run)
    loop.fit(replace(small_run, resume=LATEST))  # nothing is better, as nothing is trained
    assert all(files_of(small_run)[f"weights/{name}"] == before[f"weights/{name}"] for name in made)
    loop.fit(replace(small_run, resume=LATEST, steps=12))
    assert files_of(small_run)["weights/model.safetensors"] != before["weights/model.safetensors"]
    assert not [name for name in made if (weights / name).exists()]
    push(weights, "tester/mine")
    pushed = hub.repos["tester/mine"].commits[-1].files
    assert b"77.77" not in pushed["README.md"] and b"Not measured yet" in pushed["README.md"]

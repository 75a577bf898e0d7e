"""The training loop: exact resume, averaging, schedule, loss, and a run from photos to weights that load."""

import copy
import json
import math
import shutil
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from toy_training import TINY, newest_state, toy_pictures

import denoiser
from denoiser import Photo, WeightsError, save_image
from denoiser.model import DenoisingAutoencoder, ModelConfig
from denoiser.weights import save_weights
from train.__main__ import main
from train.config import LATEST, ConfigError, TrainConfig
from train.data.batches import add_noise, clean_crops, draw_sigma
from train.data.photo_set import PhotoSet
from train.fit import checkpoint, loop, step, validation
from train.fit.loss import ESTIMATE_FLOOR, LEVEL_FLOOR, quantile_loss, training_loss
from train.measure.results import Result
from train.publish.card import save_results
from train.publish.push import push
from train.recipes import RECIPES

CPU = torch.device("cpu")
GAUSSIAN = {"camera_share": 0.0, "clean_share": 0.0, "grey_share": 0.0, "partial_share": 0.0}  # noise alone
CLASSIC = ModelConfig("classic", (4, 4, 6, 6, 8, 10), (), (), normalization="batch", dropout=0.2, negative_slope=0.3)
NETWORKS = {
    "residual": ("photo", TINY),
    "residual with batch norm and dropout": ("photo", replace(TINY, normalization="batch", dropout=0.1)),
    "classic": ("classic", CLASSIC),
}


@pytest.fixture(autouse=True)
def tiny_networks_on_one_thread(monkeypatch):
    monkeypatch.setitem(loop.NETWORKS, "residual", TINY)
    monkeypatch.setitem(loop.NETWORKS, "classic", CLASSIC)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(params=NETWORKS)
def config(request, monkeypatch):
    """The recipe of each network, on a toy scale."""
    name, model = NETWORKS[request.param]
    monkeypatch.setitem(loop.NETWORKS, RECIPES[name].network, model)
    return toy(RECIPES[name])


def toy(recipe=RECIPES["photo"], **changes):
    small = {"steps": 10, "batch_size": 4, "crop": 16, "warmup_steps": 3, "learning_rate": 4e-4, "device": "cpu"}
    small |= {"ema_decay": 0.9, "early_crops": (), "drift_weight": 0.0}
    return replace(recipe, **small | changes)


def take_steps(run, config, count, photos=None):
    photos = PhotoSet(photos or toy_pictures())
    losses = []
    for _ in range(count):
        rate = loop.learning_rate(config, run.step, loop.run_progress(config, run))
        losses.append(float(step.train_step(run, photos, config, rate).loss))
    return losses


def state_of(run):
    return {
        "model": run.model.state_dict(),
        "average": run.average and run.average.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in run.optimizers],
        "counters": (run.step, run.best_psnr),
    }


def assert_same(first, second, where="state"):
    """Equal bit for bit, through dicts and lists."""
    assert type(first) is type(second), where
    if isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype and torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_same(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), where
        for index, pair in enumerate(zip(first, second, strict=True)):
            assert_same(*pair, f"{where}[{index}]")
    else:
        assert first == second, where


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


def test_the_seed_decides_a_run(config):
    def losses(seed):
        return take_steps(loop.start_run(replace(config, seed=seed), CPU), config, 2)

    assert losses(1) == losses(1) != losses(2)


def test_saving_disturbs_neither_the_run_nor_its_random_numbers(config, tmp_path):
    run = loop.start_run(config, CPU)
    take_steps(run, config, 2)
    before = copy.deepcopy(state_of(run))
    checkpoint.save_checkpoint(run, tmp_path, 1)
    assert_same(state_of(run), before)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-0000002.pt"]


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


def test_without_averaging_the_weights_themselves_are_measured():
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


def test_however_short_a_run_is_it_reaches_its_peak_early_and_rises_to_it_without_a_jump(subtests):
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
def test_a_run_is_as_far_as_its_steps_or_its_minutes_whichever_is_further(minutes, step, seconds, expected):
    run = loop.start_run(toy(), CPU)
    run.step, run.seconds = step, seconds
    assert loop.run_progress(toy(steps=100, max_minutes=minutes), run) == pytest.approx(expected)


def test_a_step_uses_the_rate_that_it_is_given(config):
    run = loop.start_run(config, CPU)
    before = [value.detach().clone() for value in run.model.parameters()]
    step.train_step(run, PhotoSet(toy_pictures()), config, 0.0)
    assert_same([value.detach() for value in run.model.parameters()], before)
    step.train_step(run, PhotoSet(toy_pictures()), config, 1e-3)
    after = [value.detach() for value in run.model.parameters()]
    largest = max(float((new - old).abs().max()) for new, old in zip(after, before, strict=True))
    assert 0.5e-3 < largest < 10e-3  # a weight moves by about the rate
    assert run.step == 2
    assert all(group["lr"] == 1e-3 for optimizer in run.optimizers for group in optimizer.param_groups)


def test_in_mixed_precision_the_network_computes_in_bfloat16_and_keeps_its_weights_whole(monkeypatch):
    kinds = []

    def seen(layer, inputs, output):
        kinds.append(output.dtype)

    for precision, kind in (("no", torch.float32), ("bf16", torch.bfloat16)):
        run = loop.start_run(toy(mixed_precision=precision), CPU)
        run.model.body.head.register_forward_hook(seen)
        [loss] = take_steps(run, toy(mixed_precision=precision), 1)
        assert kinds.pop() == kind and 0 < loss < 1
        assert {weight.dtype for weight in run.model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": False, "avx512_f": True}, False),
        ({}, False),
    ],
)
def test_on_a_cpu_bfloat16_is_used_where_it_is_fast(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert step.uses_bf16(toy(), CPU) is expected
    assert not step.uses_bf16(toy(mixed_precision="no"), CPU)
    assert step.uses_bf16(toy(mixed_precision="bf16"), CPU)


def test_without_cameras_gaussian_noise_alone_is_validated(small_run):
    loop.fit(replace(small_run, steps=2, **GAUSSIAN))
    [line] = metrics_of(small_run)
    assert line["psnr"] == pytest.approx((line["psnr_15"] + line["psnr_25"] + line["psnr_50"]) / 3, abs=1e-3)
    assert "psnr_camera" not in line


def test_uploads_are_the_same_at_every_validation_and_differ_by_their_number():
    photo = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    first, again, other = (validation.upload(photo, seed, 0.1) for seed in (1, 1, 2))
    for pixels, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(pixels, same)
        assert not np.array_equal(pixels, different)


def test_large_photos_are_validated_by_their_middle(monkeypatch):
    sizes = []
    denoiser = SimpleNamespace(denoise=lambda noisy: sizes.append(noisy.shape) or noisy)
    validation.photo_scores(denoiser, np.full((900, 700, 3), 90, np.uint8), 0, toy())
    assert sizes == [(256, 256, 3)] * 4


@pytest.mark.parametrize(("exact", "expected"), [(0, 20), (1, 20 + 10 * math.log10(4 / 3)), (4, 100)])
def test_the_psnr_of_the_crops_is_a_number_even_where_some_come_back_exactly(exact, expected):
    """As clean crops do, which are told that they are: their own PSNR is infinite."""
    run = loop.start_run(toy(), CPU)

    def objective(clean, *arguments):
        error = torch.full((4, 1, 1, 1), 0.1)
        error[:exact] = 0
        return sum(weight.sum() for weight in run.model.parameters()), clean + error

    shown = step.train_step(run, PhotoSet(toy_pictures()), toy(), 1e-3, objective).psnr
    assert float(shown) == pytest.approx(expected, abs=1e-3)


def test_gradients_are_clipped_to_the_norm_of_the_config():
    config = toy(max_grad_norm=1e-3)
    run = loop.start_run(config, CPU)
    take_steps(run, config, 1)
    norm = torch.cat([value.grad.flatten() for value in run.model.parameters()]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


@pytest.fixture
def batch():
    """clean, noisy, sigma of four crops of their own level."""
    generator = torch.Generator().manual_seed(0)
    clean, sigma = torch.rand((4, 3, 16, 16), generator=generator), torch.tensor([0.0, 0.05, 0.1, 0.3]).view(4, 1, 1, 1)
    return clean, add_noise(clean, sigma, toy(quantize_share=0.0), generator), sigma


def trained_model():
    """A network whose output depends on everything: a fresh one is all but the identity."""
    model = DenoisingAutoencoder(TINY)
    torch.nn.init.normal_(model.body.tail.weight, std=0.1)
    return model


def gradients(module, *arguments):
    module.zero_grad()
    training_loss(*arguments)[0].backward()
    return [parameter.grad.clone() for parameter in module.parameters()]


def everything(told):
    return torch.full((4, 1, 1, 1), told)


def test_the_told_crops_are_restored_with_the_true_level(batch):
    clean, noisy, sigma = batch
    model = trained_model()
    told = torch.tensor([True, False, True, False]).view(4, 1, 1, 1)
    _, restored = training_loss(model, clean, noisy, sigma, told, toy())
    assert torch.allclose(restored[::2], model(noisy, sigma)[::2], atol=1e-6)
    assert torch.allclose(restored[1::2], model(noisy)[1::2], atol=1e-6)
    assert torch.equal(restored[0], noisy[0])  # told that there is no noise


def test_the_estimator_learns_from_the_true_level_alone(batch):
    clean, noisy, sigma = batch
    model = trained_model()
    first, other = (
        gradients(model.estimator, model, target, noisy, sigma, everything(False), toy())
        for target in (clean, 1 - clean)
    )
    assert_same(first, other)
    assert any((gradient != 0).any() for gradient in first)


@pytest.mark.parametrize("quantile", [0.5, 0.7])
def test_the_estimator_learns_a_quantile(batch, quantile, monkeypatch):
    """Where a share of the crops has more noise than all are taken to have, neither more nor less is better."""
    clean, noisy, _ = batch
    sigma = torch.linspace(0.1, 0.2, 101).view(-1, 1, 1, 1)
    clean, noisy = clean[:1].expand(101, -1, -1, -1), noisy[:1].expand(101, -1, -1, -1)
    monkeypatch.setattr("train.fit.loss.ESTIMATOR_WEIGHT", 1e6)
    model, told = trained_model(), torch.ones_like(sigma, dtype=torch.bool)

    def loss_at(estimate):
        monkeypatch.setattr(model, "estimate_sigma", lambda pixels: torch.full_like(pixels[:, :1], estimate))
        config = toy(estimate_quantile=quantile, balance_levels=False)
        return training_loss(model, clean, noisy, sigma, told, config)[0].item()

    best = 0.1 + 0.1 * quantile
    assert loss_at(best) < min(loss_at(best - 0.01), loss_at(best + 0.01))


def test_the_estimator_can_be_trained_alone():
    config = toy(estimator_only=True)
    run = loop.start_run(config, CPU)
    before = copy.deepcopy(run.model.state_dict())
    take_steps(run, config, 2)
    changed = {name.split(".")[0] for name, value in run.model.state_dict().items() if not value.equal(before[name])}
    assert changed == {"estimator"}
    with pytest.raises(ConfigError, match="--estimator-only"):
        loop.start_run(toy(RECIPES["classic"], estimator_only=True), CPU)


def test_the_body_learns_from_the_picture_alone(batch, monkeypatch):
    clean, noisy, sigma = batch
    model = trained_model()
    first = gradients(model.body, model, clean, noisy, sigma, everything(False), toy())
    monkeypatch.setattr("train.fit.loss.ESTIMATOR_WEIGHT", 100.0)
    assert_same(gradients(model.body, model, clean, noisy, sigma, everything(False), toy()), first)


def charbonnier(restored, clean):
    return torch.hypot(restored - clean, torch.tensor(1e-3)).mean()


@pytest.mark.parametrize(("name", "reference"), [("l1", F.l1_loss), ("mse", F.mse_loss), ("charbonnier", charbonnier)])
def test_the_loss_is_the_one_of_the_config(batch, name, reference, monkeypatch):
    clean, noisy, sigma = batch
    config = toy(loss=name, balance_levels=False)
    classic = DenoisingAutoencoder(CLASSIC).eval()
    loss, restored = training_loss(classic, clean, noisy, sigma, everything(True), config)
    assert torch.equal(restored, classic(noisy)) and torch.allclose(loss, reference(restored, clean))
    monkeypatch.setattr("train.fit.loss.ESTIMATOR_WEIGHT", 0.0)
    loss, restored = training_loss(trained_model(), clean, noisy, sigma, everything(True), config)
    assert torch.allclose(loss, reference(restored, clean))


def test_the_weight_of_the_estimator_s_errors_does_not_depend_on_the_truth(batch):
    """So that the quantile is one: twice too much costs what half of it does, at the median, at any level."""
    for level in (0.02, 0.1, 0.3):
        sigma, floor = torch.full((1, 1, 1, 1), level), ESTIMATE_FLOOR
        above, below = (quantile_loss(factor * (sigma + floor) - floor, sigma, 0.5).item() for factor in (2, 0.5))
        assert above == pytest.approx(math.log(2), rel=1e-5) and below == pytest.approx(above, rel=1e-5)


def test_told_crops_are_restored_with_the_level_that_they_are_given(batch):
    clean, noisy, sigma = batch
    model, given = trained_model(), 2 * sigma + 0.1
    _, restored = training_loss(model, clean, noisy, sigma, everything(True), toy(), given)
    assert torch.allclose(restored, model(noisy, given), atol=1e-6)


def test_a_shift_of_the_colours_counts_by_its_weight(batch, monkeypatch):
    clean, noisy, sigma = batch
    config = toy(loss="mse", balance_levels=False, drift_weight=20.0)
    monkeypatch.setattr("train.fit.loss.ESTIMATOR_WEIGHT", 0.0)
    losses = []
    for shift in (0.0, 0.01):
        model = trained_model()
        monkeypatch.setattr(model, "forward", lambda *inputs, shift=shift: clean + shift)
        losses.append(training_loss(model, clean, noisy, sigma, everything(True), config)[0].item())
    assert losses[0] == 0
    assert losses[1] == pytest.approx(21 * 0.01**2, rel=1e-4)


@pytest.mark.parametrize(("name", "power", "exponent"), [("l1", 1, -0.5), ("mse", 2, -1)])
def test_balanced_levels_count_errors_relative_to_the_noise(batch, monkeypatch, name, power, exponent):
    clean, noisy, sigma = batch
    monkeypatch.setattr("train.fit.loss.ESTIMATOR_WEIGHT", 0.0)
    loss, restored = training_loss(trained_model(), clean, noisy, sigma, everything(True), toy(loss=name))
    weights = (sigma.flatten() + LEVEL_FLOOR) ** exponent
    errors = ((restored - clean).abs() ** power).mean(dim=(1, 2, 3))
    assert torch.allclose(loss, (weights * errors).sum() / weights.sum())


def pixel_loss(run, config, photos, count=32):
    """The loss in pixels, without the estimator's, on crops that are the same at every call."""
    generator, config = torch.Generator().manual_seed(7), replace(config, batch_size=count)
    clean, sigma = clean_crops(PhotoSet(photos), config, count, generator), draw_sigma(config, count, generator)
    noisy = add_noise(clean, sigma, config, generator)
    model = run.model.eval()
    with torch.inference_mode():
        restored = model(noisy, sigma) if model.steerable else model(noisy)
    run.model.train()
    return float(F.l1_loss(restored, clean))


def test_sixty_steps_bring_restored_photos_nearer_to_the_clean_ones(config):
    config = replace(config, steps=60, learning_rate=3e-3, batch_size=8, **GAUSSIAN)
    run = loop.start_run(config, CPU)
    before = pixel_loss(run, config, toy_pictures())
    take_steps(run, config, 60)
    assert pixel_loss(run, config, toy_pictures()) < 0.9 * before


@pytest.mark.slow
def test_a_single_flat_photo_is_learnt_by_heart(monkeypatch):
    wide = ModelConfig(widths=(24, 24), encoder_blocks=(1, 1), decoder_blocks=(1,))
    monkeypatch.setitem(loop.NETWORKS, "residual", wide)  # the noise of 2x2 pixels, 12 numbers, has to fit through it
    config = toy(steps=100, batch_size=8, learning_rate=4e-3)
    run, flat = loop.start_run(config, CPU), [np.full((16, 16, 3), 90, dtype=np.uint8)]
    before = pixel_loss(run, config, flat)
    take_steps(run, config, 100, flat)
    assert pixel_loss(run, config, flat) < 0.6 * before


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A photo folder with train/ and val/."""
    photos = tmp_path_factory.mktemp("runs") / "photos"
    for index, pixels in enumerate(toy_pictures(5)):
        path = photos / ("train" if index < 3 else "val") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(Photo(pixels), path)
    return photos


@pytest.fixture
def small_run(folder, monkeypatch):
    """A config that trains for seconds on that folder, and draws no curve. Every test begins without its output."""
    monkeypatch.setattr(loop, "draw_curve", lambda lines, path: path.touch())
    output = folder.parent / "run"
    shutil.rmtree(output, ignore_errors=True)
    changes = {"data": (str(folder),), "output_dir": str(output), "steps": 8}
    return toy(**changes, validation_steps=3, checkpointing_steps=5)


@pytest.fixture
def finished_run(small_run):
    """The config of that run when it has ended: it is made once and copied for each test."""
    output = loop.Path(small_run.output_dir)
    kept = output.with_name("finished")
    if not kept.exists():
        loop.fit(small_run)
        shutil.copytree(output, kept)
    else:
        shutil.copytree(kept, output)
    return small_run


def metrics_of(config):
    lines = (loop.Path(config.output_dir) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def files_of(config):
    root = loop.Path(config.output_dir)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


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


def test_the_weights_are_the_best_averaged_ones_and_load(finished_run, folder):
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
    best = [line["step"] for line in metrics_of(finished_run) if round(line["psnr"], 3) == training["validation_psnr"]]
    assert training["steps"] in best
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


def test_a_crashed_run_is_resumed_to_the_very_same_end(small_run, tmp_path, monkeypatch):
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


def crash_at_step(step, config, monkeypatch):
    real = loop.train_step

    def crashing(run, *arguments):
        if run.step == step:
            raise KeyboardInterrupt
        return real(run, *arguments)

    monkeypatch.setattr(loop, "train_step", crashing)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(config)
    monkeypatch.setattr(loop, "train_step", real)


def test_a_resumed_run_logs_each_validation_once(small_run, monkeypatch):
    crash_at_step(7, small_run, monkeypatch)  # validated at 6, saved at 5
    loop.fit(replace(small_run, resume=LATEST))
    assert [line["step"] for line in metrics_of(small_run)] == [3, 6, 8]


def test_resuming_a_finished_run_changes_neither_its_weights_nor_its_state_and_logs_nothing_twice(finished_run):
    weights = {name: content for name, content in files_of(finished_run).items() if name.startswith("weights/")}
    state = newest_state(finished_run)
    loop.fit(replace(finished_run, resume=LATEST))
    assert {name: content for name, content in files_of(finished_run).items() if name in weights} == weights
    assert_same(newest_state(finished_run), state)
    assert [line["step"] for line in metrics_of(finished_run)] == [3, 6, 8]


def test_a_finished_run_goes_on_where_it_is_given_more_steps(finished_run):
    loop.fit(replace(finished_run, resume=LATEST, steps=10))
    assert metrics_of(finished_run)[-1]["step"] == newest_state(finished_run)["counters"]["step"] == 10


def test_settings_changed_at_a_resume_are_kept_beside_the_first_ones(finished_run):
    loop.fit(replace(finished_run, resume=LATEST, steps=finished_run.steps + 2, batch_size=2, loss="mse"))
    state = newest_state(finished_run)
    assert state["settings"][0] | {"batch_size": 4, "loss": "l1", "from_step": 0} == state["settings"][0]
    assert state["settings"][1:] == [{"from_step": finished_run.steps, "batch_size": 2, "loss": "mse"}]
    assert state["counters"]["crops"] == finished_run.steps * 4 + 2 * 2


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_what_a_resume_gives_the_optimizers_applies(small_run, optimizer, monkeypatch):
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


def best_of_a_thousand(config, **counters):
    """Make a finished run's best PSNR one that nothing reaches; counters of the checkpoint that are None are lost."""
    path = checkpoint.find_checkpoints(loop.Path(config.output_dir))[-1]
    state = torch.load(path, weights_only=True)
    changed = state["counters"] | {"best_psnr": 1000.0} | counters
    torch.save(state | {"counters": {name: value for name, value in changed.items() if value is not None}}, path)


OTHER_VALIDATION = {
    "other photos": lambda run: {"val": f"{run.data[0]}/train"},
    "fewer photos": lambda run: {"validation_photos": 1},
    "cameras too": lambda run: {"camera_share": 0.5},
}


@pytest.mark.parametrize("change", OTHER_VALIDATION.values(), ids=OTHER_VALIDATION)
def test_a_best_that_was_measured_on_something_else_is_forgotten_and_that_is_said_once(small_run, change, capsys):
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


@pytest.mark.parametrize("counters", [{}, {"measured_on": None}], ids=["recorded", "of a checkpoint of old"])
def test_a_best_that_was_measured_on_the_same_photos_stays(small_run, counters, capsys):
    loop.fit(replace(small_run, camera_share=0.25))
    best_of_a_thousand(small_run, **counters)
    weights = files_of(small_run)["weights/model.safetensors"]
    changes = {"camera_share": 0.5, "batch_size": 2, "val": f"{small_run.data[0]}/val"}
    loop.fit(replace(small_run, resume=LATEST, steps=10, **changes))
    assert "forgotten" not in capsys.readouterr().out
    state = newest_state(small_run)["counters"]
    assert state["best_psnr"] == 1000 and state["measured_on"]
    assert files_of(small_run)["weights/model.safetensors"] == weights


def test_resume_without_a_run_starts_one(small_run):
    loop.fit(replace(small_run, resume=LATEST, steps=2))
    assert newest_state(small_run)["counters"]["step"] == 2


def test_the_checkpoint_of_another_network_is_refused_and_kept(finished_run):
    before = files_of(finished_run)
    with pytest.raises(ConfigError, match="checkpoint of another kind of run"):
        loop.fit(toy(RECIPES["classic"], data=finished_run.data, output_dir=finished_run.output_dir, resume=LATEST))
    assert files_of(finished_run) == before


def test_a_checkpoint_sets_the_counters_of_a_run_and_nothing_else(tmp_path):
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


def test_a_run_that_diverges_does_not_pass_for_a_success(small_run):
    try:
        weights = loop.fit(replace(small_run, learning_rate=1e30, warmup_steps=0))
    except ConfigError:
        return
    denoiser.load(weights, device="cpu")


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
    run = loop.start_run(toy(init="base"), CPU)
    assert_same(run.model.state_dict(), denoiser.load("base", device="cpu").weights.model.state_dict())


@pytest.mark.parametrize("license", ["cc-by-nc-4.0", ""])
def test_the_licence_and_the_past_of_what_a_run_started_from_are_kept(small_run, tmp_path, license, monkeypatch):
    save_weights(trained_model(), tmp_path / "given", {"steps": 7}, license=license)
    started = replace(small_run, init=str(tmp_path / "given"), validation_steps=100)
    crash_at_step(7, started, monkeypatch)
    shutil.rmtree(tmp_path / "given")
    weights = denoiser.load(loop.fit(replace(started, init=None, resume=LATEST)), device="cpu").weights
    assert weights.license == json.loads(files_of(started)["weights/config.json"])["license"] == license
    assert weights.training["started_from"] == {"steps": 7}


def test_a_run_of_its_own_is_under_the_project_s_licence(finished_run):
    assert denoiser.load(loop.Path(finished_run.output_dir) / "weights", device="cpu").weights.license == "apache-2.0"


def test_weights_of_another_network_than_model_says_are_refused_to_start_from(tmp_path):
    save_weights(trained_model(), tmp_path / "residual")
    with pytest.raises(ConfigError, match="--init"):
        loop.start_run(toy(RECIPES["classic"], init=str(tmp_path / "residual")), CPU)


def test_a_run_ends_when_its_minutes_are_over_with_the_rate_near_zero(small_run, monkeypatch):
    ticks = iter(range(0, 100_000, 4))  # four seconds a look at the clock
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    rates, real = [], loop.learning_rate
    monkeypatch.setattr(loop, "learning_rate", lambda *arguments: rates.append(real(*arguments)) or rates[-1])
    loop.fit(replace(small_run, steps=1000, max_minutes=2, validation_steps=100, checkpointing_steps=100))
    counters = torch.load(checkpoint.find_checkpoints(loop.Path(small_run.output_dir))[-1])["counters"]
    assert counters["step"] == len(rates) == 30 and counters["seconds"] >= 120
    assert max(rates) > 0.9 * small_run.learning_rate and rates[-1] < 0.01 * small_run.learning_rate


@pytest.mark.parametrize("best", [-math.inf, 1000.0])
def test_weights_are_kept_only_where_they_are_the_best_so_far(tmp_path, best):
    run = loop.start_run(toy(), CPU)
    run.best_psnr = best
    validation.validate(run, toy_pictures(1), toy(), tmp_path)
    assert (tmp_path / "weights/model.safetensors").exists() == (best < 0)
    assert run.best_psnr > 0 and (tmp_path / "metrics.jsonl").exists()


def test_validation_disturbs_neither_the_run_nor_its_random_numbers(config, tmp_path):
    config = replace(config, ema_decay=0.9)
    run = loop.start_run(config, CPU)
    take_steps(run, config, 2)
    before = copy.deepcopy(state_of(run))
    validation.validate(run, toy_pictures(1), config, tmp_path / ".")
    run.best_psnr, run.validated_step = -math.inf, -1
    assert_same(state_of(run), before)
    assert run.model.training


def test_a_run_pushes_its_best_weights_during_and_after_training(hub, small_run):
    config = replace(small_run, push="tester/mine", push_every=small_run.validation_steps)
    weights = loop.fit(config)
    commits = hub.repos["tester/mine"].commits
    assert commits[-1].files["model.safetensors"] == (weights / "model.safetensors").read_bytes()
    assert commits[-1].files["config.json"] == (weights / "config.json").read_bytes()
    assert len([commit for commit in commits if commit.title == "Add run"]) > 1
    assert denoiser.load("tester/mine").weights.training["steps"] > 0


def test_better_weights_take_away_what_was_measured_and_said_of_the_old_ones(hub, small_run):
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


def test_a_failed_push_loses_nothing(hub, small_run, capsys):
    hub.fail(".*", 403, times=100)
    weights = loop.fit(replace(small_run, push="tester/mine"))
    assert denoiser.load(weights)
    assert f"train push {weights} --repo tester/mine" in capsys.readouterr().out

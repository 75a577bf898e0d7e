"""One optimizer step: its rate, precision and gradients, and that steps bring photos nearer to the clean ones."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from toy_training import CPU, GAUSSIAN, assert_same, take_steps, toy, toy_pictures

from denoiser.model import ModelConfig
from train.config import ConfigError
from train.data.batches import add_noise, clean_crops, draw_sigma
from train.data.photo_set import PhotoSet
from train.fit import loop, step
from train.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("tiny_networks")


def test_a_step_uses_the_given_learning_rate(config):
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


def test_mixed_precision_computes_in_bfloat16_and_keeps_float32_weights(monkeypatch):
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
def test_bfloat16_is_used_on_cpus_that_are_fast_at_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert step.uses_bf16(toy(), CPU) is expected
    assert not step.uses_bf16(toy(mixed_precision="no"), CPU)
    assert step.uses_bf16(toy(mixed_precision="bf16"), CPU)


@pytest.mark.parametrize(("exact", "expected"), [(0, 20), (1, 20 + 10 * math.log10(4 / 3)), (4, 100)])
def test_the_psnr_of_the_crops_is_finite_even_if_some_are_restored_exactly(monkeypatch, exact, expected):
    """Clean crops that are told so are restored exactly, with an infinite PSNR."""
    monkeypatch.setattr(step, "soften_overstated", lambda clean, *levels: clean)
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


def test_only_the_estimator_can_be_trained():
    config = toy(estimator_only=True)
    run = loop.start_run(config, CPU)
    before = copy.deepcopy(run.model.state_dict())
    take_steps(run, config, 2)
    changed = {name.split(".")[0] for name, value in run.model.state_dict().items() if not value.equal(before[name])}
    assert changed == {"estimator"}
    with pytest.raises(ConfigError, match="--estimator-only"):
        loop.start_run(toy(RECIPES["classic"], estimator_only=True), CPU)


def pixel_loss(run, config, photos, count=32):
    """Return the pixel loss, without the estimator's, on the same crops at every call."""
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
def test_a_single_flat_photo_can_be_overfitted(monkeypatch):
    wide = ModelConfig(widths=(24, 24), encoder_blocks=(1, 1), decoder_blocks=(1,))
    monkeypatch.setitem(loop.NETWORKS, "residual", wide)  # the noise of 2x2 pixels, 12 numbers, has to fit through it
    config = toy(steps=100, batch_size=8, learning_rate=4e-3)
    run, flat = loop.start_run(config, CPU), [np.full((16, 16, 3), 90, dtype=np.uint8)]
    before = pixel_loss(run, config, flat)
    take_steps(run, config, 100, flat)
    assert pixel_loss(run, config, flat) < 0.6 * before

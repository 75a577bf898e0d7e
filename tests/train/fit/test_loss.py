"""The loss: which crops are restored with which level, and what each network learns from."""

import math

import pytest
import torch
import torch.nn.functional as F
from skimage.metrics import mean_squared_error
from toy_training import CLASSIC, assert_same, toy, trained_model

from denoiser.model import DenoisingAutoencoder
from train.data.batches import add_noise
from train.fit.loss import ESTIMATE_FLOOR, LEVEL_FLOOR, PSNR_FLOOR, quantile_loss, training_loss

pytestmark = pytest.mark.usefixtures("tiny_networks")


@pytest.fixture
def batch():
    """clean, noisy, sigma of four crops of their own level."""
    generator = torch.Generator().manual_seed(0)
    clean, sigma = torch.rand((4, 3, 16, 16), generator=generator), torch.tensor([0.0, 0.05, 0.1, 0.3]).view(4, 1, 1, 1)
    return clean, add_noise(clean, sigma, toy(quantize_share=0.0), generator), sigma


def gradients(module, *arguments):
    module.zero_grad()
    training_loss(*arguments)[0].backward()
    return [parameter.grad.clone() for parameter in module.parameters()]


def everything(told):
    return torch.full((4, 1, 1, 1), told)


def test_told_crops_are_restored_with_the_true_level(batch):
    clean, noisy, sigma = batch
    model = trained_model()
    told = torch.tensor([True, False, True, False]).view(4, 1, 1, 1)
    _, restored = training_loss(model, clean, noisy, sigma, told, toy())
    assert torch.allclose(restored[::2], model(noisy, sigma)[::2], atol=1e-6)
    assert torch.allclose(restored[1::2], model(noisy)[1::2], atol=1e-6)
    assert torch.equal(restored[0], noisy[0])  # told that there is no noise


def test_the_estimator_learns_from_the_true_level_and_from_crops_restored_with_its_estimate(batch):
    clean, noisy, sigma = batch
    model = trained_model()

    def learnt(told, target=clean, level=sigma):
        found = gradients(model.estimator, model, target, noisy, level, everything(told), toy(), sigma)
        return F.normalize(torch.cat([gradient.flatten() for gradient in found]), dim=0)

    assert not torch.allclose(learnt(told=True), learnt(told=True, level=2 * sigma), atol=1e-3)
    torch.testing.assert_close(learnt(told=True), learnt(told=True, target=1 - clean))
    assert not torch.allclose(learnt(told=False), learnt(told=False, target=1 - clean), atol=1e-3)


def test_the_estimator_counts_for_the_same_share_of_every_pixel_loss(batch, monkeypatch):
    clean, noisy, sigma = batch
    model, shares = trained_model(), []
    for name in ("l1", "mse", "psnr"):
        config, losses = toy(loss=name, balance_levels=False, drift_weight=0.0), []
        for weight in (0.0, 0.1):
            monkeypatch.setattr("train.fit.loss.ESTIMATOR_WEIGHT", weight)
            losses.append(training_loss(model, clean, noisy, sigma, everything(True), config)[0].item())
        # In dB, a difference is a share of the error.
        shares.append((losses[1] - losses[0]) * math.log(10) / 10 if name == "psnr" else losses[1] / losses[0] - 1)
    assert shares[0] > 0 and shares == pytest.approx([shares[0]] * 3, rel=1e-4)


@pytest.mark.parametrize("quantile", [0.5, 0.7])
def test_the_estimator_learns_a_quantile(batch, quantile, monkeypatch):
    """The loss is lowest at the estimate that the given share of the crops is below."""
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


def test_the_body_learns_only_from_the_pixels(batch, monkeypatch):
    clean, noisy, sigma = batch
    model = trained_model()
    first = gradients(model.body, model, clean, noisy, sigma, everything(False), toy())
    monkeypatch.setattr("train.fit.loss.ESTIMATOR_WEIGHT", 100.0)
    assert_same(gradients(model.body, model, clean, noisy, sigma, everything(False), toy()), first)


def charbonnier(restored, clean):
    return torch.hypot(restored - clean, torch.tensor(1e-3)).mean()


def negative_psnr(restored, clean):
    """The mean over the crops, in dB."""
    pairs = zip(restored.detach().numpy(), clean.numpy(), strict=True)
    return torch.tensor([10 * math.log10(mean_squared_error(*pair) + PSNR_FLOOR**2) for pair in pairs]).mean()


REFERENCES = [("l1", F.l1_loss), ("mse", F.mse_loss), ("charbonnier", charbonnier), ("psnr", negative_psnr)]


@pytest.mark.parametrize(("name", "reference"), REFERENCES)
def test_the_loss_is_the_one_of_the_config(batch, name, reference, monkeypatch):
    clean, noisy, sigma = batch
    config = toy(loss=name, balance_levels=False)
    classic = DenoisingAutoencoder(CLASSIC).eval()
    loss, restored = training_loss(classic, clean, noisy, sigma, everything(True), config)
    assert torch.equal(restored, classic(noisy)) and torch.allclose(loss, reference(restored, clean))
    monkeypatch.setattr("train.fit.loss.ESTIMATOR_WEIGHT", 0.0)
    loss, restored = training_loss(trained_model(), clean, noisy, sigma, everything(True), config)
    assert torch.allclose(loss, reference(restored, clean))


def test_estimator_errors_weigh_the_same_at_every_level(batch):
    """At the median, twice the level costs as much as half of it, whatever the level."""
    for level in (0.02, 0.1, 0.3):
        sigma, floor = torch.full((1, 1, 1, 1), level), ESTIMATE_FLOOR
        above, below = (quantile_loss(factor * (sigma + floor) - floor, sigma, 0.5).item() for factor in (2, 0.5))
        assert above == pytest.approx(math.log(2), rel=1e-5) and below == pytest.approx(above, rel=1e-5)


def test_told_crops_are_restored_with_a_given_level(batch):
    clean, noisy, sigma = batch
    model, given = trained_model(), 2 * sigma + 0.1
    _, restored = training_loss(model, clean, noisy, sigma, everything(True), toy(), given)
    assert torch.allclose(restored, model(noisy, given), atol=1e-6)


def losses_of_shifts(batch, monkeypatch, name):
    """The losses of crops that are restored exactly, and of crops that are all 0.01 too bright."""
    clean, noisy, sigma = batch
    config = toy(loss=name, balance_levels=False, drift_weight=20.0)
    monkeypatch.setattr("train.fit.loss.ESTIMATOR_WEIGHT", 0.0)
    losses = []
    for shift in (0.0, 0.01):
        model = trained_model()
        monkeypatch.setattr(model, "forward", lambda *inputs, shift=shift: clean + shift)
        losses.append(training_loss(model, clean, noisy, sigma, everything(True), config)[0].item())
    return losses


def test_a_colour_shift_counts_by_the_drift_weight(batch, monkeypatch):
    losses = losses_of_shifts(batch, monkeypatch, "mse")
    assert losses[0] == 0
    assert losses[1] == pytest.approx(21 * 0.01**2, rel=1e-4)


def test_a_colour_shift_counts_in_the_psnr_loss_too(batch, monkeypatch):
    squared = [PSNR_FLOOR**2, PSNR_FLOOR**2 + 21 * 0.01**2]
    losses = losses_of_shifts(batch, monkeypatch, "psnr")
    assert losses == pytest.approx([10 * math.log10(value) for value in squared], rel=1e-4)


@pytest.mark.parametrize(("name", "power", "exponent"), [("l1", 1, -0.5), ("mse", 2, -1)])
def test_balanced_levels_count_errors_relative_to_the_noise(batch, monkeypatch, name, power, exponent):
    clean, noisy, sigma = batch
    monkeypatch.setattr("train.fit.loss.ESTIMATOR_WEIGHT", 0.0)
    loss, restored = training_loss(trained_model(), clean, noisy, sigma, everything(True), toy(loss=name))
    weights = (sigma.flatten() + LEVEL_FLOOR) ** exponent
    errors = ((restored - clean).abs() ** power).mean(dim=(1, 2, 3))
    assert torch.allclose(loss, (weights * errors).sum() / weights.sum())

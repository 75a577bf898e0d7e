"""The levels that crops are told, and their targets: the truth, or a smoother picture for those that are told more."""

import pytest
import torch

from denoiser import metrics, noise
from train.data.batches import MAX_TOLD_LEVEL, TOLD_SHARE, WRONG_SHARE, draw_told, soften_overstated


def levels(*values):
    return noise.sigma_from_level(torch.tensor(values, dtype=torch.float32)).view(-1, 1, 1, 1)


def everything(told, count):
    return torch.full((count, 1, 1, 1), told)


def test_half_of_the_crops_are_told_a_level_and_most_of_these_the_truth():
    sigma = levels(*[20] * 20_000)
    told, given = draw_told(sigma, torch.Generator().manual_seed(0))
    assert told.float().mean() == pytest.approx(TOLD_SHARE, abs=0.02)
    assert (given != sigma)[told].float().mean() == pytest.approx(WRONG_SHARE, abs=0.02)
    assert given.min() >= 0 and given.max() <= levels(MAX_TOLD_LEVEL).item()


def test_a_crop_that_is_told_about_the_truth_or_less_or_nothing_keeps_its_target(photo_tensor):
    clean, sigma = photo_tensor.expand(3, -1, -1, -1), levels(0, 20, 20)
    assert torch.equal(soften_overstated(clean, sigma, everything(True, 3), levels(0, 25, 5)), clean)
    assert torch.equal(soften_overstated(clean, sigma, everything(False, 3), levels(9, 40, 90)), clean)


def test_the_more_a_crop_is_told_the_smoother_is_its_target_and_none_is_broken(photo_tensor):
    given = levels(32, 40, 50, 60, 80, 100)
    clean = photo_tensor.expand(len(given), -1, -1, -1)
    target = soften_overstated(clean, levels(20).expand_as(given), everything(True, len(given)), given)
    removed = (target - clean).square().mean(dim=(1, 2, 3))
    assert removed[0] > 0 and (removed.diff() > 0).all()
    assert metrics.psnr(target, clean).min() > 30


def test_only_the_part_that_is_told_too_much_gets_smoother(photo_tensor):
    sigma = torch.full_like(photo_tensor[:, :1], 20 / 255)
    given = sigma.clone()
    given[..., :16] *= 3
    changed = soften_overstated(photo_tensor, sigma, everything(True, 1), given) != photo_tensor
    assert changed[..., :16].any() and not changed[..., 16:].any()

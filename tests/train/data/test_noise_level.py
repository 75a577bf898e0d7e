"""The noise level around each pixel."""

import pytest
import torch

from train.data.noise_level import local_sigma


@pytest.mark.parametrize("channels", [1, 3])
def test_local_sigma_is_correct_everywhere(channels):
    difference = 0.1 * torch.randn(100, channels, 40, 30, generator=torch.Generator().manual_seed(0))
    sigma = local_sigma(difference)
    assert sigma.shape == (100, 1, 40, 30)
    assert sigma.mean(dim=0).sub(0.1).abs().max() < 0.01  # corners, borders and all
    assert sigma.std(dim=0).max() < 0.02


def test_local_sigma_follows_a_step():
    difference = 0.02 * torch.randn(30, 3, 40, 80, generator=torch.Generator().manual_seed(0))
    difference[..., 40:] *= 4
    sigma = local_sigma(difference).mean(dim=0)
    assert sigma[..., : 40 - 7].sub(0.02).abs().max() < 0.002
    assert sigma[..., 40 + 7 :].sub(0.08).abs().max() < 0.008
    assert (sigma[..., 40 - 8 : 40 + 8].mean(dim=(0, 1)).diff() > 0).all()


def test_a_wider_window_is_smoother_and_one_pixel_is_itself():
    difference = torch.randn(1, 3, 60, 60, generator=torch.Generator().manual_seed(0))
    narrow, wide = (local_sigma(difference, window).std() for window in (5, 25))
    assert wide < narrow / 2
    assert torch.equal(local_sigma(difference, window=1), difference.square().mean(dim=1, keepdim=True).sqrt())


def test_local_sigma_of_a_picture_smaller_than_the_window():
    difference = torch.randn(1, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(local_sigma(difference, window=15), difference.square().mean().sqrt().expand(1, 1, 4, 6))

"""The size of a network: parameters and multiply-accumulates."""

import pytest
import torch
from toy_training import CLASSIC, TINY

from denoiser.model import DenoisingAutoencoder
from train.measure.network_size import network_size


@pytest.mark.parametrize("config", [TINY, CLASSIC], ids=["residual", "classic"])
def test_the_size_of_a_network_is_counted_without_changing_it(config):
    model = DenoisingAutoencoder(config).train()
    statistics = {name: value.clone() for name, value in model.named_buffers()}
    parameters, gmac = network_size(model)
    assert parameters == sum(value.numel() for value in model.parameters())
    assert 0 < gmac < 1
    assert model.training and all((value == statistics[name]).all() for name, value in model.named_buffers())


def test_the_multiplications_of_a_convolution_are_counted_by_hand():
    conv = torch.nn.Conv2d(3, 8, kernel_size=3, padding=1)
    assert network_size(conv) == (3 * 8 * 9 + 8, pytest.approx(256 * 256 * 3 * 8 * 9 / 1e9))

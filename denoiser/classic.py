"""The reference network: the autoencoder that this project descends from, unchanged."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ClassicBody(nn.Module):
    """Denoises blindly: (N, 3, H, W) -> (N, 3, H, W) in [0, 1], for H and W in multiples of 16.

    Every layer but the last is convolution -> LeakyReLU -> dropout -> batch norm. Skip connections are concatenated.
    widths are the channels of the six layers of the encoder.
    """

    def __init__(self, widths: tuple[int, ...], batch_norm: bool, dropout: float, negative_slope: float) -> None:
        super().__init__()
        w0, w1, w2, w3, w4, w5 = widths

        def down(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
            return block(nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2))

        def up(inputs: int, outputs: int) -> nn.Sequential:
            return block(nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1))

        def block(conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
            norm = nn.BatchNorm2d(conv.out_channels) if batch_norm else nn.Identity()
            return nn.Sequential(conv, nn.LeakyReLU(negative_slope), nn.Dropout(dropout), norm)

        self.encode0 = down(3, w0, kernel=3)
        self.encode1 = down(w0, w1, kernel=3, stride=2)
        self.encode2 = down(w1, w2, kernel=5, stride=2)
        self.encode2b = down(w2, w3, kernel=3)
        self.encode3 = down(w3, w4, kernel=5, stride=2)
        self.encode4 = down(w4, w5, kernel=3, stride=2)
        self.up3 = up(w5, w5)
        self.decode3 = down(w5 + w4, w4, kernel=3)
        self.up2 = up(w4, w3)
        self.decode2 = down(w3 + w2, w2, kernel=5)
        self.up1 = up(w2, w1)
        self.decode1 = down(w1 + w1, w1, kernel=5)
        self.up0 = up(w1, w0)
        self.decode0 = nn.Conv2d(w0 + w0, 3, kernel_size=3, padding=1)

    def init_weights(self) -> None:
        """Draw orthogonal weights, without biases."""
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.orthogonal_(layer.weight)
                nn.init.zeros_(layer.get_parameter("bias"))

    def forward(self, noisy: Tensor) -> Tensor:
        level0 = self.encode0(noisy)
        level1 = self.encode1(level0)
        level2 = self.encode2(level1)
        level3 = self.encode3(self.encode2b(level2))
        level4 = self.encode4(level3)
        features = self.decode3(torch.cat([self.up3(level4), level3], dim=1))
        features = self.decode2(torch.cat([self.up2(features), level2], dim=1))
        features = self.decode1(torch.cat([self.up1(features), level1], dim=1))
        return torch.sigmoid(self.decode0(torch.cat([self.up0(features), level0], dim=1)))

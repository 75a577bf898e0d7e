"""The networks: denoising autoencoders with skip connections, strided convolutions down and transposed ones up.

Tensors are float32 RGB, shape (N, 3, H, W), values in [0, 1]; sigma, the standard deviation of the noise, is on the
same scale. Any H and W from 1 up is accepted and returned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .classic import ClassicBody
from .errors import WeightsError

MAX_WIDTH = 1024  # channels per level; configs that ask for more are refused
MAX_LEVELS = 4  # a total stride of 16, to which tiles are aligned
MAX_BLOCKS = 64  # residual blocks per level, and of the estimator
FADE_BELOW = 5 / 255  # sigma below which a steerable network fades out


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a network, stored as config.json beside its weights.

    Raises WeightsError, naming the field, for values that can't be built.
    """

    architecture: str = "residual"  # "residual" (ours, steerable) or "classic" (the reference network, blind only)
    widths: tuple[int, ...] = (64, 96, 128)  # channels per level (residual), per encoder layer (classic: six)
    encoder_blocks: tuple[int, ...] = (2, 2, 4)  # residual blocks per level, bottleneck last; classic: none
    decoder_blocks: tuple[int, ...] = (2, 2)  # residual blocks per level on the way up, top level first
    estimator_blocks: int = 0  # residual blocks of the noise level estimator; older configs don't state it
    normalization: str = "none"  # "none" or "batch"
    dropout: float = 0.0  # probability, in training
    negative_slope: float = 0.1  # of the LeakyReLU

    def __post_init__(self) -> None:
        for name in ("widths", "encoder_blocks", "decoder_blocks"):
            value = getattr(self, name)
            if not isinstance(value, (list, tuple)) or not all(type(item) is int for item in value):
                raise WeightsError(f"Config field {name!r} is {value!r}; a list of integers is expected.")
            object.__setattr__(self, name, tuple(value))
        residual = self.architecture == "residual"
        levels = len(self.widths)
        checks = {
            "architecture": self.architecture in ("residual", "classic"),
            "widths": all(1 <= width <= MAX_WIDTH for width in self.widths)
            and (2 <= levels <= MAX_LEVELS if residual else levels == 6),
            "encoder_blocks": all(0 <= count <= MAX_BLOCKS for count in self.encoder_blocks)
            and len(self.encoder_blocks) == (levels if residual else 0),
            "decoder_blocks": all(0 <= count <= MAX_BLOCKS for count in self.decoder_blocks)
            and len(self.decoder_blocks) == (levels - 1 if residual else 0),
            "estimator_blocks": type(self.estimator_blocks) is int
            and 0 <= self.estimator_blocks <= (MAX_BLOCKS if residual else 0),
            "normalization": self.normalization in ("none", "batch"),
            "dropout": type(self.dropout) in (int, float) and 0 <= self.dropout < 1,
            "negative_slope": type(self.negative_slope) in (int, float) and 0 <= self.negative_slope < 1,
        }
        for name, valid in checks.items():
            if not valid:
                raise WeightsError(f"Config field {name!r} is {getattr(self, name)!r}, which is not supported.")


NETWORKS = {  # by architecture
    "residual": ModelConfig(encoder_blocks=(2, 2, 8), estimator_blocks=4),
    "classic": ModelConfig(
        architecture="classic",
        widths=(64, 64, 128, 128, 256, 512),
        encoder_blocks=(),
        decoder_blocks=(),
        normalization="batch",
        dropout=0.2,
        negative_slope=0.3,
    ),
}


class DenoisingAutoencoder(nn.Module):
    """A denoising autoencoder for images of any size; a steerable one also takes a noise level map.

    A steerable network returns `noisy - f(noisy, sigma)`, where f predicts the noise (residual learning: DnCNN, Zhang
    et al. 2017) and fades out below a level of 5, so that sigma = 0 is the identity by construction. Without a given
    sigma, a small estimator predicts it per pixel from the noisy image, which makes the network blind. The pair of
    networks follows CBDNet (Guo et al. 2019), and the noise level map as an input FFDNet (Zhang et al. 2018).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        classic, batch_norm = config.architecture == "classic", config.normalization == "batch"
        self.estimator = None if classic else NoiseLevelEstimator(config)
        self.body: ClassicBody | ResidualBody = (
            ClassicBody(config.widths, batch_norm, config.dropout, config.negative_slope)
            if classic
            else ResidualBody(config)
        )
        self.multiple = 16 if classic else max(2 ** len(config.widths), NoiseLevelEstimator.STRIDE)
        if not next(self.parameters()).is_meta:  # where drawing them would load PyTorch's compiler: 90 MB
            if self.estimator is not None:
                self.estimator.init_weights()
            self.body.init_weights()

    @property
    def steerable(self) -> bool:
        """Whether the network takes a noise level; a classic one is only blind."""
        return self.estimator is not None

    def estimate_sigma(self, noisy: Tensor) -> Tensor:
        """Predict the noise level map: (N, 3, H, W) -> (N, 1, H, W), at least 0. Steerable networks only."""
        assert self.estimator is not None, "a classic network has no noise level estimator"
        height, width = noisy.shape[-2:]
        return self.estimator(pad_to_multiple(noisy, self.multiple))[..., :height, :width]

    def forward(self, noisy: Tensor, sigma: Tensor | None = None) -> Tensor:
        """Remove the noise: (N, 3, H, W) -> (N, 3, H, W), not clipped to [0, 1].

        sigma, broadcastable to (N, 1, H, W), is the noise level map, for steerable networks only; None estimates it.
        """
        assert sigma is None or self.steerable, "a classic network takes no noise level"
        height, width = noisy.shape[-2:]
        padded = pad_to_multiple(noisy, self.multiple)
        if self.estimator is None:
            return self.body(padded)[..., :height, :width]
        if sigma is None:
            sigma = self.estimator(padded)
        else:
            sigma = pad_to_multiple(sigma.expand(noisy.shape[0], 1, height, width), self.multiple)
        # Centred and scaled to about unit variance, with which training converges several times faster.
        predicted_noise = self.body(4 * torch.cat([padded - 0.5, sigma], dim=1))
        strength = (sigma / FADE_BELOW).clamp(max=1)
        return (padded - strength * predicted_noise)[..., :height, :width]


def pad_to_multiple(pixels: Tensor, multiple: int) -> Tensor:
    """Pad (..., H, W) right and bottom to multiples by reflection, or with the edge if the image is too small."""
    height, width = pixels.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if not (bottom or right):
        return pixels
    mode = "reflect" if bottom < height and right < width else "replicate"
    return F.pad(pixels, (0, right, 0, bottom), mode=mode)


class NoiseLevelEstimator(nn.Module):
    """Predicts sigma per pixel at an eighth of the resolution: (N, 3, H, W) -> (N, 1, H, W).

    It sees windows of 57x57 pixels, to which every residual block adds 32 in height and width.
    """

    STRIDE = 8
    MAX_SIGMA = 0.5  # level 128, where nothing is left to see

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()

        def layer(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
            conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
            return [conv, nn.LeakyReLU(config.negative_slope)]

        plain = replace(config, normalization="none", dropout=0.0)

        self.layers = nn.Sequential(
            *layer(3, 24, kernel=5, stride=2),
            *layer(24, 48, kernel=3, stride=2),
            *layer(48, 48, kernel=3, stride=1),
            *layer(48, 64, kernel=3, stride=2),
            *layer(64, 64, kernel=3, stride=1),
            *layer(64, 64, kernel=3, stride=1),
            *(ResidualBlock(64, plain) for _ in range(config.estimator_blocks)),
            nn.Conv2d(64, 1, kernel_size=1),
        )

    def init_weights(self) -> None:
        """Draw weights with which it starts at a level of 15, in the usual range."""
        draw_weights(self)
        nn.init.constant_(self.layers[-1].get_parameter("bias"), -2.0)

    def forward(self, noisy: Tensor) -> Tensor:
        sigma = self.MAX_SIGMA * torch.sigmoid(self.layers(noisy))
        return F.interpolate(sigma, scale_factor=self.STRIDE, mode="bilinear", align_corners=False)


class ResidualBody(nn.Module):
    """The default autoencoder: image and noise level map (N, 4, H, W) -> predicted noise (N, 3, H, W).

    Nothing runs at full resolution, which is slow on CPUs: the first convolution halves it and the last transposed one
    doubles it, with kernel 4 at stride 2, which causes no checkerboard pattern. Skip connections are added.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths = config.widths

        def level(width: int, blocks: int) -> nn.Sequential:
            return nn.Sequential(*(ResidualBlock(width, config) for _ in range(blocks)))

        self.head = nn.Conv2d(4, widths[0], kernel_size=4, stride=2, padding=1)
        self.encoder = nn.ModuleList(level(*shape) for shape in zip(widths, config.encoder_blocks, strict=True))
        self.decoder = nn.ModuleList(level(*shape) for shape in zip(widths, config.decoder_blocks, strict=False))
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, kernel_size=2, stride=2) for fine, coarse in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, kernel_size=2, stride=2) for fine, coarse in pairs)
        self.tail = nn.ConvTranspose2d(widths[0], 3, kernel_size=4, stride=2, padding=1)

    def init_weights(self) -> None:
        """Draw weights with which the network starts as the identity."""
        draw_weights(self)
        nn.init.normal_(self.tail.weight, std=1e-4)

    def forward(self, picture_and_map: Tensor) -> Tensor:
        features = self.head(picture_and_map)
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=False):
            for block in blocks.children():  # one by one, so that the features before it are freed
                features = block(features)
            skips.append(features)
            features = down(features)
        features = self.encoder[-1](features)
        for up, blocks in zip(reversed(self.up), reversed(self.decoder), strict=True):
            features = self.join(up(features), skips.pop())
            for block in blocks.children():
                features = block(features)
        with torch.autocast(features.device.type, enabled=False):  # bfloat16 is too coarse for the noise
            return self.tail(features.to(self.tail.weight.dtype))

    def join(self, upward: Tensor, skip: Tensor) -> Tensor:
        return upward.add_(skip)


class ResidualBlock(nn.Module):
    """features + conv(LeakyReLU(conv(features))), with normalisation and dropout if the config asks for them."""

    def __init__(self, width: int, config: ModelConfig) -> None:
        super().__init__()
        batch_norm = config.normalization == "batch"
        layers = [
            nn.Conv2d(width, width, kernel_size=3, padding=1),
            nn.BatchNorm2d(width) if batch_norm else None,
            nn.LeakyReLU(config.negative_slope, inplace=True),
            nn.Dropout2d(config.dropout) if config.dropout else None,
            nn.Conv2d(width, width, kernel_size=3, padding=1),
            nn.BatchNorm2d(width) if batch_norm else None,
        ]
        self.layers = nn.Sequential(*(layer for layer in layers if layer is not None))

    @property
    def last_conv(self) -> nn.Conv2d:
        return [layer for layer in self.layers if isinstance(layer, nn.Conv2d)][-1]

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features).add_(features)


def draw_weights(module: nn.Module) -> None:
    """Draw the weights of convolutions with a variance of one over the inputs; biases start at zero.

    The last convolution of a residual block is ten times smaller: without normalisation, sums of full branches grow.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            nn.init.zeros_(layer.get_parameter("bias"))
    for layer in module.modules():
        if isinstance(layer, ResidualBlock):
            layer.last_conv.weight.data.mul_(0.1)

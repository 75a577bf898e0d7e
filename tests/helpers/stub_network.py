"""A network that does what a test says, and pixels to give it."""

import numpy as np
import torch
from torch import nn

from denoiser import (
    Denoiser,
)
from denoiser.inference import FULL_SCALE
from denoiser.weights import Weights


class Stub(nn.Module):
    """A network that always estimates `sigma`, removes `removed`, and records its inputs."""

    def __init__(self, sigma=0.1, removed=0.0, steerable=True):
        super().__init__()
        self.sigma, self.removed, self.steerable = sigma, removed, steerable
        self.given = []

    def estimate_sigma(self, noisy):
        return torch.full_like(noisy[:, :1], self.sigma)

    def forward(self, noisy, sigma=None):
        self.given.append((noisy, sigma))
        return noisy - self.removed


def wrap(stub):
    return Denoiser(Weights(stub, "stub"))


def pixels_of(shape, dtype, seed=0):
    drawn = np.random.default_rng(seed).uniform(0.2, 0.8, shape)
    return (drawn * FULL_SCALE[np.dtype(dtype)]).astype(dtype)


def as_floats(pixels):
    return pixels / FULL_SCALE[pixels.dtype]

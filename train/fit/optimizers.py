"""Optimizers: Muon for the hidden convolutions with AdamW for everything else, or only AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt

import torch
from torch import Tensor

from denoiser.model import DenoisingAutoencoder

from ..config import TrainConfig

HIDDEN_WIDTH = 16  # convolutions with at least this many channels on both sides are hidden

# The quintic of Jordan et al. 2024: repeated, it takes every singular value in (0, 1] to about 1 (0.7 to 1.2).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def make_optimizers(model: DenoisingAutoencoder, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Create the optimizers; one step of each makes a step of the run.

    With --optimizer muon the convolutions between hidden features of the autoencoder go to Muon; its first and last
    layer, all biases and the noise level estimator stay with AdamW.
    """
    hidden = []
    if config.optimizer == "muon":
        weights = [weight for weight in model.body.parameters() if weight.ndim == 4 and weight.requires_grad]
        hidden = [weight for weight in weights if min(weight.shape[:2]) >= HIDDEN_WIDTH]
    taken = {id(weight) for weight in hidden}
    others = [value for value in model.parameters() if value.requires_grad and id(value) not in taken]
    adamw = torch.optim.AdamW(others, config.learning_rate, weight_decay=config.weight_decay, fused=True)
    return [adamw, Muon(hidden, config.learning_rate)] if hidden else [adamw]


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonal steps (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

    For the hidden layers of a network: matrices, or convolution weights flattened to one row per first index. The
    elements of a step have a root mean square of about `lr`, as with Adam, so one learning rate serves both. Unlike
    torch.optim.Muon it takes convolutions and keeps the precision of the weights: torch's iterates in bfloat16, for
    which most CPUs have no instructions.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # takes no closure
        """Update every parameter that has a gradient. A closure is not supported."""
        assert closure is None
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight.grad)
                average = state["momentum_buffer"].lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(average, group["momentum"])  # Nesterov's
                update = orthogonalize(ahead.flatten(1))
                weight.add_(update.view(weight.shape), alpha=-group["lr"] * sqrt(max(update.shape)))


def orthogonalize(matrix: Tensor) -> Tensor:
    """Return about U V^T for a matrix U S V^T: float (rows, columns), the same shape, singular values about 1.

    The iteration works on the small square M M^T instead of M: a network's matrices are several times longer than wide.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalize(matrix.T).T
    matrix = matrix / matrix.norm().clamp(min=1e-7)
    square = matrix @ matrix.T
    product = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        factor = torch.addmm(square, square, square, beta=b, alpha=c)
        factor.diagonal().add_(a)
        product = factor @ product
        square = factor @ square @ factor
    return product @ matrix

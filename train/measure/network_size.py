"""The size of a network: its parameters and its arithmetic."""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode


def network_size(model: torch.nn.Module) -> tuple[int, float]:
    """Return the number of parameters, and billions of multiply-accumulates for a picture of 256x256 pixels.

    The arithmetic is counted, not done: a fake tensor has only a shape.
    """
    was_training = model.training
    fake = FakeTensorMode(allow_non_fake_inputs=True)  # the parameters are real
    with torch.inference_mode(), fake, FlopCounterMode(display=False) as counter:
        model.eval()(torch.zeros(1, 3, 256, 256, device=next(model.parameters()).device))
    model.train(was_training)
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() / 2e9

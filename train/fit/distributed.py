"""Split one run over the processes that torchrun starts, connected by torch.distributed.

With one process every method is a no-op.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from denoiser.inference import pick_device


@dataclass(frozen=True)
class World:
    """The place of this process among all processes of the run."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among those of this machine

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def pick_device(self, name: str) -> torch.device:
        """Return the device that --device names; with several GPUs, each process gets its own."""
        device = pick_device(name)
        if device.type == "cuda" and device.index is None and self.size > 1:
            return torch.device("cuda", self.local_rank)
        return device

    def share(self, items: list) -> list:
        """Return the items of this process: every size-th, from its rank on."""
        return items[self.rank :: self.size]

    def gather(self, shared: list) -> list:
        """Collect the results for the items of all processes, in the order before share(), in every process."""
        if self.size == 1:
            return shared
        parts: list = [None] * self.size
        dist.all_gather_object(parts, shared)
        return [parts[place % self.size][place // self.size] for place in range(sum(map(len, parts)))]

    def highest(self, *values: float) -> tuple[float, ...]:
        """Return the maximum of each value over all processes."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tuple(tensor.tolist())

    @contextmanager
    def one_by_one(self) -> Iterator[None]:
        """Let the first process of each machine go first; the others then find its downloads on disk."""
        if self.local_rank:
            self.highest()  # waits for all
        yield
        if not self.local_rank:
            self.highest()


@contextmanager
def joined_world() -> Iterator[World]:
    """Join the processes of torchrun, which gives each its place in environment variables."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield World()
        return
    place = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    world = World(*place)
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(world.local_rank)
        backend = "cpu:gloo,cuda:nccl"  # gradients by NCCL, numbers by gloo
    dist.init_process_group(backend)
    try:
        yield world
        world.highest()  # waits for all: gloo may abort if a process leaves while another still works
    finally:
        dist.destroy_process_group()

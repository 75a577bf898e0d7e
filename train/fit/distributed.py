"""The processes of one run: torchrun starts them, torch.distributed connects them, and each does its share of the work.

Without torchrun there is one process, and all of this comes to nothing.
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
    """Which of how many processes this is."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among those of this machine

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def pick_device(self, name: str) -> torch.device:
        """The device of --device; of several GPUs, each process has its own."""
        device = pick_device(name)
        if device.type == "cuda" and device.index is None and self.size > 1:
            return torch.device("cuda", self.local_rank)
        return device

    def share(self, items: list) -> list:
        """This process's items: every so-and-so-many-th of them."""
        return items[self.rank :: self.size]

    def gather(self, shared: list) -> list:
        """Put what the processes made of their shares in order again, in every process."""
        if self.size == 1:
            return shared
        parts: list = [None] * self.size
        dist.all_gather_object(parts, shared)
        return [parts[place % self.size][place // self.size] for place in range(sum(map(len, parts)))]

    def highest(self, *values: float) -> tuple[float, ...]:
        """The highest of each value over all processes."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tuple(tensor.tolist())

    @contextmanager
    def one_by_one(self) -> Iterator[None]:
        """The first process of each machine goes ahead, for what the others then find on the disk."""
        if self.local_rank:
            self.highest()  # waits for all
        yield
        if not self.local_rank:
            self.highest()


@contextmanager
def joined_world() -> Iterator[World]:
    """Join the processes that torchrun has started; it tells each its place by environment variables."""
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
        world.highest()  # gloo aborts at times where one process leaves while another is at work
    finally:
        dist.destroy_process_group()

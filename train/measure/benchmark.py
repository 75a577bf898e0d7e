"""Measure the cost of denoising on this machine: our networks and plain stand-ins for published ones.

The stand-ins have the published shapes and random weights: enough for time and memory, useless for denoising.
"""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from tqdm import tqdm

from denoiser.model import NETWORKS as ARCHITECTURES
from denoiser.model import DenoisingAutoencoder

from .network_size import network_size

REFERENCE = "DnCNN-C"  # times are given as shares of its time
CLEAR_REFS = Path("/proc/self/clear_refs")  # Linux: writing 5 to it resets the peak of memory (proc(5))
MEMORY_SIDE = 1024  # pixels a side of the picture that the memory is measured on


def dncnn() -> nn.Module:
    """Build CDnCNN-B: 20 convolutions of 64 channels at full resolution, batch norm folded in (Zhang et al. 2017)."""
    return nn.Sequential(*_plain_layers(3, 64, 3, depth=20))


def ffdnet() -> nn.Module:
    """Build FFDNet for colour: 12 convolutions of 96 channels on the picture at half its size (Zhang et al. 2018)."""
    return nn.Sequential(
        nn.PixelUnshuffle(2), _NoiseLevelMap(), *_plain_layers(13, 96, 12, depth=12), nn.PixelShuffle(2)
    )


def drunet() -> nn.Module:
    """Build DRUNet: a U-Net of 64 to 512 channels with four residual blocks per level (Zhang et al. 2021)."""
    return _DRUNet((64, 128, 256, 512), blocks=4)


OURS = {"photo": "residual", "classic": "classic"}  # the bundled weights and their architectures
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{name: partial(DenoisingAutoencoder, ARCHITECTURES[shape]) for name, shape in OURS.items()},
    **{REFERENCE: dncnn, "FFDNet": ffdnet, "DRUNet": drunet},
}


@dataclass(frozen=True)
class Cost:
    """The cost of one network."""

    network: str
    parameters: int
    gmac: float  # billions of multiply-accumulates at 256x256
    seconds_per_megapixel: float  # the median over the rounds
    time_ratio: float  # to REFERENCE: the median of the ratios within a round
    memory: float  # GiB above idle for a picture of MEMORY_SIDE squared


def benchmark(side: int, rounds: int, threads: int) -> list[Cost]:
    """Time the networks in turns, so that a slow moment of the machine affects all of them equally."""
    torch.set_num_threads(threads)
    networks = {name: _ready(name) for name in NETWORKS}
    picture = torch.rand(1, 3, side, side).contiguous(memory_format=torch.channels_last)
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for turn in tqdm(range(rounds + 1), desc=f"{side}x{side}, {threads} threads", unit="round", leave=False):
        for name, network in networks.items():
            started = time.perf_counter()
            with torch.inference_mode():
                network(picture)
            if turn:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
    costs = []
    for name, network in networks.items():
        ratios = [own / reference for own, reference in zip(seconds[name], seconds[REFERENCE], strict=True)]
        speed = median(seconds[name]) / side**2 * 1e6
        memory = memory_above_idle(name, MEMORY_SIDE, threads)
        costs.append(Cost(name, *network_size(network), speed, median(ratios), memory))
    return costs


def memory_above_idle(name: str, side: int, threads: int) -> float:
    """Return the GiB that a fresh process needs for a picture of side x side, above its memory before."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_growth, (name, side, threads)) / 2**30


def costs_table(costs: Iterable[Cost]) -> str:
    """Format the costs as a Markdown table."""
    lines = [
        f"| network | parameters | GMAC at 256² | s per megapixel | time ÷ {REFERENCE} "
        f"| GiB above idle at {MEMORY_SIDE}² |",
        "|---|---|---|---|---|---|",
    ]
    for cost in costs:
        lines.append(
            f"| {cost.network} | {cost.parameters / 1e6:.2f} M | {cost.gmac:.1f} | {cost.seconds_per_megapixel:.2f} "
            f"| {cost.time_ratio:.2f} | {cost.memory:.2f} |"
        )
    return "\n".join(lines)


def _ready(name: str) -> nn.Module:
    # torch's stubs lack this overload
    return NETWORKS[name]().eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _peak_growth(name: str, side: int, threads: int) -> float:
    """Return the bytes by which one picture raises the peak memory of this process; NaN except on Linux."""
    if not CLEAR_REFS.exists():
        return math.nan
    torch.set_num_threads(threads)
    network = _ready(name)
    with torch.inference_mode():
        network(torch.rand(1, 3, 32, 32))  # the first call loads libraries, which are not the picture's cost
        CLEAR_REFS.write_text("5")  # reset the peak; getrusage's would include the parent's
        before = _peak_bytes()
        network(torch.rand(1, 3, side, side).contiguous(memory_format=torch.channels_last))
    return _peak_bytes() - before


def _peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def _plain_layers(inputs: int, width: int, outputs: int, depth: int) -> Iterable[nn.Module]:
    """Yield convolutions with a ReLU between each two."""
    channels = [inputs, *[width] * (depth - 1), outputs]
    for number, (before, after) in enumerate(zip(channels, channels[1:], strict=False)):
        if number:
            yield nn.ReLU(inplace=True)
        yield nn.Conv2d(before, after, kernel_size=3, padding=1)


class _NoiseLevelMap(nn.Module):
    """Appends the noise level as a channel, as FFDNet does: (N, C, H, W) -> (N, C + 1, H, W)."""

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.cat([pixels, torch.full_like(pixels[:, :1], 0.1)], dim=1)


class _DRUNet(nn.Module):
    def __init__(self, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()

        def level(width: int) -> nn.Sequential:
            return nn.Sequential(*(_PlainResidualBlock(width) for _ in range(blocks)))

        pairs = list(zip(widths, widths[1:], strict=False))
        self.map = _NoiseLevelMap()
        self.head = nn.Conv2d(4, widths[0], kernel_size=3, padding=1, bias=False)
        self.encoder = nn.ModuleList(level(width) for width in widths)
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2, bias=False) for fine, coarse in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2, bias=False) for fine, coarse in pairs)
        self.decoder = nn.ModuleList(level(width) for width in widths[:-1])
        self.tail = nn.Conv2d(widths[0], 3, kernel_size=3, padding=1, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        features = head = self.head(self.map(pixels))
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=False):
            features = down(blocks(features))
            skips.append(features)
        features = self.encoder[-1](features)
        for up, blocks in zip(reversed(self.up), reversed(self.decoder), strict=True):
            features = blocks(up(features + skips.pop()))
        return self.tail(features + head)


class _PlainResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False) for _ in range(2)]
        self.layers = nn.Sequential(convolutions[0], nn.ReLU(inplace=True), convolutions[1])

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)

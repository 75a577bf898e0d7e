"""Photos held decoded in memory, and random crops of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ..config import ConfigError


class PhotoSet:
    """Photos laid end to end in one array of pixels, so that a batch of crops is one indexing operation."""

    waited = 0.0  # seconds spent waiting for photos: these are all in memory

    def __init__(
        self, photos: Iterable[np.ndarray], device: torch.device | str = "cpu", expected_bytes: int = 0
    ) -> None:
        """Hold `photos`, uint8 arrays of shape (H, W, 3). Raises ConfigError if there are none.

        They are taken one at a time, so that only one needs memory besides the set. expected_bytes is their total size,
        if known; a larger set grows, which may waste an eighth of it.
        """
        sizes, end, pixels = [], 0, np.empty((expected_bytes // 3, 3), np.uint8)
        for photo in photos:
            start, end = end, end + photo.shape[0] * photo.shape[1]
            if end > len(pixels):
                pixels.resize((max(end, len(pixels) * 9 // 8), 3), refcheck=False)
            pixels[start:end] = photo.reshape(-1, 3)
            sizes.append(photo.shape[:2])
        if not sizes:
            raise ConfigError("there are no photos to train on; give --data a folder with JPEG or PNG photos")
        pixels.resize((end, 3), refcheck=False)
        self._measure(torch.tensor(sizes, device=device))
        self.starts = self.ends - self.heights * self.widths
        self.pixels = torch.from_numpy(pixels).to(device)

    def _measure(self, sizes: Tensor) -> None:
        """Store the heights and widths of the photos, (N, 2), and the cumulative numbers of pixels."""
        self.heights, self.widths = sizes[:, 0], sizes[:, 1]
        self.ends = (self.heights * self.widths).cumsum(0)
        self.total = int(self.ends[-1])
        self.smallest_side = int(sizes[sizes > 0].min())  # of the photos; a stream has empty places

    def seek(self, crops: int) -> None:
        """Prepare for drawing after `crops` crops: nothing to do, since the photos stay the same."""

    def crops(self, count: int, size: int, generator: torch.Generator, turns: bool = True) -> Tensor:
        """Draw crops of size x size, each pixel of the set as likely as any other, as float (count, 3, size, size).

        With `turns`, each crop is flipped and turned at random in one of the eight ways. No photo is resized.
        """
        device = self.pixels.device
        pick = torch.randint(self.total, (count,), generator=generator, device=device)
        photo = torch.searchsorted(self.ends, pick, right=True)
        width = self.widths[photo]
        corner = torch.rand((2, count), generator=generator, device=device)
        top = (corner[0] * (self.heights[photo] - size + 1)).long()
        left = (corner[1] * (width - size + 1)).long()
        along = torch.arange(size, device=device)
        flips = torch.randint(2, (3, count, 1), generator=generator, device=device).bool() & turns
        rows = top[:, None] + torch.where(flips[0], size - 1 - along, along)
        columns = left[:, None] + torch.where(flips[1], size - 1 - along, along)
        index = self.starts[photo, None, None] + rows[:, :, None] * width[:, None, None] + columns[:, None, :]
        index = torch.where(flips[2][:, :, None], index.transpose(1, 2), index)
        return self.pixels[index].permute(0, 3, 1, 2).float() / 255

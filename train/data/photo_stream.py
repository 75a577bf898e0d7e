"""Stream photos that don't fit in memory: a pool of regions of them, replaced a few at a time."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from denoiser.errors import ImageError

from ..config import ConfigError
from .photo_set import PhotoSet
from .read_ahead import in_threads

REGION_SIDE = 512  # pixels; of a smaller photo, all of it
POOL_BYTES = 768 << 20  # 1024 such regions
CROPS_PER_REGION = 64  # drawn per replaced region: a photo is decoded once for this many crops
REGIONS_AHEAD = 64  # decoded before they are needed: enough for 4096 crops
MAX_NAMED = 20  # skipped photos; further ones are only counted


class PhotoFile(Protocol):
    """A photo that has not been read yet; str() gives its name."""

    def read(self) -> np.ndarray:
        """Return the photo as uint8 (H, W, 3). Raises ImageError."""


# Called with a number, yields the photos from that one on, in the source's own order, endlessly.
PhotoSource = Callable[[int], Iterator[PhotoFile]]


def shuffled(photos: Sequence[PhotoFile], seed: int, rank: int = 0, world_size: int = 1) -> PhotoSource:
    """Return a source of every photo once per epoch, reshuffled each epoch and split among the processes."""

    def starting_at(number: int) -> Iterator[PhotoFile]:
        known, order = -1, np.empty(0, int)
        for place in count(rank + number * world_size, world_size):
            epoch, index = divmod(place, len(photos))
            if epoch != known:
                known, order = epoch, np.random.default_rng((seed, epoch)).permutation(len(photos))
            yield photos[order[index]]

    return starting_at


def in_turns(sources: Sequence[PhotoSource]) -> PhotoSource:
    """Return a source that takes one photo from each of `sources` in turn."""

    def starting_at(number: int) -> Iterator[PhotoFile]:
        streams = [source(-((turn - number) // len(sources))) for turn, source in enumerate(sources)]
        return (next(streams[place % len(sources)]) for place in count(number))

    return starting_at


@dataclass(frozen=True)
class RegionCutter:
    """Cuts a random square out of each photo; its place depends on the seed and the photo's number in the order."""

    side: int  # pixels; smaller photos are used whole
    smallest: int  # the side below which a photo is refused
    seed: tuple[int, ...]

    def __call__(self, number: int, file: PhotoFile) -> np.ndarray:
        """Return the region as uint8 (H, W, 3), copied so that the photo can be freed. Raises ImageError."""
        photo = file.read()
        if min(photo.shape[:2]) < self.smallest:
            size = f"{photo.shape[1]}×{photo.shape[0]} pixels"
            raise ImageError(f"{str(file)!r} is {size}; a side below {self.smallest} holds no crop")
        random = np.random.default_rng((*self.seed, number))
        height, width = (min(side, self.side) for side in photo.shape[:2])
        top, left = random.integers(photo.shape[0] - height + 1), random.integers(photo.shape[1] - width + 1)
        return photo[top : top + height, left : left + width].copy()

    def regions(self, source: PhotoSource, first: int) -> Iterator[tuple[str, Future[np.ndarray]]]:
        """Yield the names and regions of the photos from number `first` on, computed ahead in threads."""
        names: deque[str] = deque()

        def calls() -> Iterator[Callable[[], np.ndarray]]:
            for number, file in enumerate(source(first), first):
                names.append(str(file))
                yield partial(self, number, file)

        for region in in_threads(calls(), ahead=REGIONS_AHEAD):
            yield names.popleft(), region


class PhotoStream(PhotoSet):
    """A pool of regions, one per photo, laid end to end; crops are drawn from it as from a PhotoSet.

    Regions enter and leave in the order of the source. The content of the pool, and so every crop, depends on the seed
    and on the number of crops drawn before, never on how fast photos were read. Photos count equally, whatever their
    size. The slot of an unusable photo stays empty until it is replaced.
    """

    def __init__(
        self,
        source: PhotoSource,
        seed: Sequence[int],
        smallest: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """Set up an empty pool. Photos with a side below `smallest` pixels are skipped; `seed` places the regions."""
        self.source, self.side = source, max(REGION_SIDE, smallest)
        self.cutter = RegionCutter(self.side, smallest, tuple(seed))
        self.slots = max(1, POOL_BYTES // (3 * self.side**2))
        self.pixels = torch.empty((self.slots * self.side**2, 3), dtype=torch.uint8, device=device)
        self.starts = torch.arange(self.slots, device=device) * self.side**2
        self.sizes = torch.zeros((self.slots, 2), dtype=torch.int64)  # of the regions; zero: an empty place
        self.placed = 0  # regions so far; region n is in slot n % slots
        self.coming: Iterator[tuple[str, Future[np.ndarray]]] = iter(())
        self.waited = 0.0  # seconds spent waiting for regions
        self.skipped: set[str] = set()  # the names of photos that couldn't be used so far

    def seek(self, crops: int) -> None:
        """Bring the pool to its state after `crops` crops.

        During training this replaces a region now and then, waiting for it if it is late; a jump, as at the start and
        on resume, refills the pool. Raises ConfigError if no photo in it can be used, or the source fails.
        """
        first = crops // CROPS_PER_REGION
        last = first + self.slots
        started = time.perf_counter()
        goes_on = first <= self.placed <= last and self.placed
        if not goes_on:
            self.placed, self.coming = first, self.cutter.regions(self.source, first)
        if self.placed == last:
            return
        bar = tqdm(total=last - first, desc="Reading photos", unit="photo", leave=False, disable=bool(goes_on))
        with bar:
            while self.placed < last:
                self._place(*next(self.coming))
                bar.update()
        if not self.sizes.any():
            raise ConfigError(f"none of {self.slots} photos could be used; see above why they were skipped")
        self._measure(self.sizes.to(self.pixels.device))
        if goes_on:
            self.waited += time.perf_counter() - started

    def crops(self, count: int, size: int, generator: torch.Generator, turns: bool = True) -> Tensor:
        if not self.placed:
            self.seek(0)
        return super().crops(count, size, generator, turns)

    def _place(self, name: str, future: Future[np.ndarray]) -> None:
        slot = self.placed % self.slots
        self.placed += 1
        self.sizes[slot] = 0
        error = future.exception()  # raised here, it would lead to this frame and keep the stream and its threads
        if isinstance(error, ImageError):
            self._skip(name, error)
            return
        region = future.result()
        self.sizes[slot] = torch.tensor(region.shape[:2])
        start = slot * self.side**2
        pixels = torch.from_numpy(region.reshape(-1, 3))
        self.pixels[start : start + len(pixels)] = pixels.to(self.pixels.device)

    def _skip(self, name: str, error: ImageError) -> None:
        if name in self.skipped:
            return
        self.skipped.add(name)
        if len(self.skipped) <= MAX_NAMED:
            tqdm.write(f"skipped: {error}", file=sys.stderr)
        if len(self.skipped) == MAX_NAMED:
            tqdm.write("skipped: further photos are not named", file=sys.stderr)

"""Run a function over a picture of any size in bounded memory, tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

import torch
from torch import Tensor

TILE = 1024  # side of the part of the result that one tile gives
OVERLAP = 96  # context on each side of it; beyond that the networks see changes of less than 1/255
ALIGNMENT = 16  # tiles start at multiples of this, so that strided convolutions fall as they do on the whole picture

Progress = Callable[[int, int], None]  # called with (tiles done, tiles in all)
Result = TypeVar("Result")
Steps = Generator[tuple[int, int], None, Result]  # yields the same after each tile; returns a result


def tiled(
    fn: Callable[[Tensor], Tensor],
    pixels: Tensor,
    tile: int = TILE,
    overlap: int = OVERLAP,
    on_progress: Progress | None = None,
) -> Tensor:
    """Apply fn, which keeps height and width, to (N, C, H, W) pixels of any type; equals fn(pixels) but for rounding.

    fn sees each tile with `overlap` more pixels on every side that has them; only the tile itself is kept. Both sizes
    are multiples of ALIGNMENT. on_progress is called after each tile and may raise to stop. Returns (N, C', H, W) of
    whatever type and channel count fn returns.
    """
    return drain(tile_by_tile(fn, pixels, tile, overlap), on_progress)


def drain(steps: Steps[Result], on_progress: Progress | None = None) -> Result:
    """Run to the end and return the result, calling on_progress, which may raise to stop, at every step."""
    while True:
        try:
            done = next(steps)
        except StopIteration as end:
            return end.value
        if on_progress is not None:
            on_progress(*done)


def tile_by_tile(
    fn: Callable[[Tensor], Tensor], pixels: Tensor, tile: int = TILE, overlap: int = OVERLAP
) -> Steps[Tensor]:
    """What `tiled` does, as a generator that can be closed between two tiles, and resumed in any thread."""
    assert tile > 0 and tile % ALIGNMENT == 0 and overlap >= 0 and overlap % ALIGNMENT == 0
    height, width = pixels.shape[-2:]
    windows = [(rows, columns) for rows in _spans(height, tile) for columns in _spans(width, tile)]
    result = None
    for done, ((top, bottom), (left, right)) in enumerate(windows, start=1):
        first_row, first_column = max(0, top - overlap), max(0, left - overlap)
        part = fn(pixels[..., first_row : bottom + overlap, first_column : right + overlap])
        if result is None:
            shape = (*part.shape[:2], height, width)
            layout = torch.channels_last if part.shape[1] > 1 else torch.contiguous_format
            result = torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=layout)
        rows = slice(top - first_row, bottom - first_row)
        columns = slice(left - first_column, right - first_column)
        result[..., top:bottom, left:right] = part[..., rows, columns]
        yield done, len(windows)
    return result


def _spans(length: int, tile: int) -> list[tuple[int, int]]:
    """Split a side into even, aligned spans no longer than a tile, so that no last tile is a sliver."""
    count = -(-length // tile)
    step = -(-length // (count * ALIGNMENT)) * ALIGNMENT
    return [(start, min(start + step, length)) for start in range(0, length, step)]

"""Apply a function to an image of any size tile by tile, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

import torch
from torch import Tensor

TILE = 1024  # side of the part of the result that one tile covers, in pixels
OVERLAP = 96  # context on each side in pixels; anything further away changes the networks' output by less than 1/255
ALIGNMENT = 16  # tiles start at multiples of this, where strided convolutions sample as on the whole image

Progress = Callable[[int, int], None]  # called with (tiles done, tiles in all)
Result = TypeVar("Result")
Steps = Generator[tuple[int, int], None, Result]  # yields (tiles done, tiles in all) after each tile; returns a result


def tiled(
    fn: Callable[[Tensor], Tensor],
    pixels: Tensor,
    tile: int = TILE,
    overlap: int = OVERLAP,
    on_progress: Progress | None = None,
) -> Tensor:
    """Apply fn, which keeps height and width, to (N, C, H, W) pixels of any dtype; equals fn(pixels) up to rounding.

    fn gets each tile with `overlap` pixels of context on every side where the image has them; only the tile itself is
    kept. tile and overlap are multiples of ALIGNMENT. on_progress is called with (tiles done, tiles in all) after each
    tile, and may raise to stop. Returns (N, C', H, W) with the dtype and channels that fn returns.
    """
    return drain(tile_by_tile(fn, pixels, tile, overlap), on_progress)


def drain(steps: Steps[Result], on_progress: Progress | None = None) -> Result:
    """Run a generator to its end and return its result, calling on_progress (which may raise to stop) at each step."""
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
    """Do the same as `tiled`, as a generator that can be closed between two tiles and resumed in any thread."""
    assert tile > 0 and tile % ALIGNMENT == 0 and overlap >= 0 and overlap % ALIGNMENT == 0
    height, width = pixels.shape[-2:]
    windows = [(rows, columns) for rows in _spans(height, tile) for columns in _spans(width, tile)]
    result: Tensor | None = None
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
    assert result is not None, "the image has no pixels"
    return result


def _spans(length: int, tile: int) -> list[tuple[int, int]]:
    """Split a side into even, aligned spans no longer than a tile, so that the last one is not a sliver."""
    count = -(-length // tile)
    step = -(-length // (count * ALIGNMENT)) * ALIGNMENT
    return [(start, min(start + step, length)) for start in range(0, length, step)]

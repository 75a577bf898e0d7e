"""Apply a function to an image of any size tile by tile, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Generator
from itertools import pairwise, product
from typing import TypeVar

import torch
from torch import Tensor

TILE = 2304  # longest side of the part of the result that one tile covers, in pixels
MOST_PIXELS = 3_000_000  # of a tile with its context; the default network takes 1.1 GB for them in float32
OVERLAP = 128  # context on each side in pixels; anything further away changes the networks' output by 1/255 at most
ALIGNMENT = 16  # tiles start at multiples of this, where strided convolutions sample as on the whole image

Progress = Callable[[int, int], None]  # called with (tiles done, tiles in all)
Result = TypeVar("Result")
Steps = Generator[tuple[int, int], None, Result]  # yields (tiles done, tiles in all) after each tile; returns a result

Spans = list[tuple[int, int]]  # (start, end), without gaps


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
    windows = list(product(*_grid(height, width, tile, overlap)))
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


def _grid(height: int, width: int, tile: int, overlap: int) -> tuple[Spans, Spans]:
    """Return the spans of rows and of columns with the least context in all."""
    fewest = [-(-side // tile) for side in (height, width)]
    best: tuple[int, ...] = ()
    for rows, columns in product(*(range(count, 2 * count + 1) for count in fewest)):
        computed = (height + 2 * overlap * (rows - 1)) * (width + 2 * overlap * (columns - 1))
        fits = _window(height, rows, overlap) * _window(width, columns, overlap) <= MOST_PIXELS
        if fits and (not best or computed < best[0]):
            best = (computed, rows, columns)
    return _spans(height, best[1], overlap), _spans(width, best[2], overlap)


def _window(length: int, count: int, overlap: int) -> int:
    """Return the length of a tile with its context that splits a side into at most `count` aligned tiles."""
    if count == 1:
        return length
    even = -(-(length + 2 * overlap * (count - 1)) // count)
    return max(-(-even // ALIGNMENT), 2 * overlap // ALIGNMENT + 1) * ALIGNMENT


def _spans(length: int, count: int, overlap: int) -> Spans:
    """Split a side into tiles that are of one size with their context: the memory of one then fits the next."""
    window = _window(length, count, overlap)
    starts = [0, *range(window - overlap, length - overlap, window - 2 * overlap)] if count > 1 else [0]
    return list(pairwise([*starts, length]))

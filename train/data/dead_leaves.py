"""Draw synthetic pictures for training without photos: the dead leaves model.

Discs fall on each other until the plane is covered; their radii follow the power law that makes the picture
scale-invariant, as natural images are (Lee, Mumford, Huang 2001, "Occlusion models for natural images"). Networks
trained only on such pictures denoise photos well (Achddou, Gousseau, Ladjal 2021).
"""

from __future__ import annotations

import numpy as np

OVERSAMPLING = 2  # drawn larger and averaged down, so that edges are as soft as a lens makes them
DISCS = 500  # drawn between two checks of how much is still empty
SMALLEST, LARGEST = 3.0, 0.5  # radius range: in drawn pixels, and as a share of the side


def dead_leaves(side: int, seed: int) -> np.ndarray:
    """Draw one picture of side x side pixels: uint8 (side, side, 3). The same seed gives the same picture."""
    rng = np.random.default_rng(seed)
    drawn = side * OVERSAMPLING
    picture = np.zeros((drawn, drawn, 3), dtype=np.float32)
    empty = np.ones((drawn, drawn), dtype=bool)
    # Drawn from the top down: a disc fills only what earlier ones left empty, until almost nothing is.
    while empty.mean() > 0.005:
        for radius, (x, y) in zip(_radii(rng, drawn), rng.uniform(0, drawn, (DISCS, 2)), strict=True):
            top, bottom = max(0, int(y - radius)), min(drawn, int(y + radius) + 2)
            left, right = max(0, int(x - radius)), min(drawn, int(x + radius) + 2)
            window = np.s_[top:bottom, left:right]
            across = (np.arange(left, right) - x)[None, :] / radius
            down = (np.arange(top, bottom) - y)[:, None] / radius
            visible = (across**2 + down**2 <= 1) & empty[window]
            if visible.any():
                picture[window][visible] = _shading(rng, across, down)[visible]
                empty[window] &= ~visible
    picture[empty] = rng.uniform(0, 255, 3)
    mean = picture.reshape(side, OVERSAMPLING, side, OVERSAMPLING, 3).mean(axis=(1, 3))
    return np.clip(np.round(mean), 0, 255).astype(np.uint8)


def _radii(rng: np.random.Generator, side: int) -> np.ndarray:
    """Draw DISCS radii from the density proportional to radius**-3 between the smallest and the largest."""
    small, large = SMALLEST**-2, (LARGEST * side) ** -2
    return (small + rng.uniform(size=DISCS) * (large - small)) ** -0.5


def _shading(rng: np.random.Generator, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Draw the pixels of one leaf: a colour, a brightness gradient across it, and grain."""
    grey = rng.uniform(0, 255)
    color = grey + rng.normal(0, 35, 3)
    slope_x, slope_y = rng.normal(0, 12, 2)
    grain = rng.normal(0, rng.exponential(5), (down.shape[0], across.shape[1]))
    return color + (slope_x * across + slope_y * down + grain)[:, :, None]

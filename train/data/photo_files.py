"""Find the photos of a --data source and decode them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from denoiser.errors import ImageError
from denoiser.image_io import is_photo_name, open_image
from denoiser.photo import to_8bit

from ..config import ConfigError
from . import bsds500
from .dead_leaves import dead_leaves
from .read_ahead import in_threads

HELD_OUT = 20  # every 20th photo of a plain folder is held out for validation
MAX_SET_BYTES = 8 << 30  # decoded photos are held in memory: 8 GiB is about 2.8 gigapixels
SYNTHETIC_COUNT, SYNTHETIC_VALIDATION, SYNTHETIC_SIDE = 64, 8, 256


@cache  # drawing takes seconds
def synthetic_photos(smallest: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Draw dead leaves pictures for training and for validation, with sides of at least `smallest` pixels."""
    side = max(SYNTHETIC_SIDE, smallest)
    images = [dead_leaves(side, seed) for seed in range(SYNTHETIC_COUNT + SYNTHETIC_VALIDATION)]
    return images[SYNTHETIC_VALIDATION:], images[:SYNTHETIC_VALIDATION]


def source_paths(source: str) -> tuple[list[Path], list[Path]]:
    """Return the paths of the training and the validation photos of one --data source."""
    if source in ("bsds500", "bsds400"):
        splits = bsds500.photo_paths()
        return splits["train"] + (splits["test"] if source == "bsds400" else []), bsds500.validation_paths()
    folder = Path(source)
    if not folder.is_dir():
        raise ConfigError(f"--data {source}: no such folder; give bsds500, bsds400, synthetic, or a folder of photos")
    if (folder / "train").is_dir() and (folder / "val").is_dir():
        return photos_below(folder / "train"), photos_below(folder / "val")
    return hold_out(photos_below(folder))


def hold_out(photos: list) -> tuple[list, list]:
    """Split photos into those to train on and every HELD_OUT-th to validate on; a single photo serves for both."""
    held_out = range(HELD_OUT - 1, len(photos), HELD_OUT) or range(max(len(photos) - 1, 0), len(photos))
    rest = [photo for place, photo in enumerate(photos) if place not in held_out]
    return rest or photos, [photos[place] for place in held_out]


def photos_below(folder: Path) -> list[Path]:
    """Return the paths of all photos in the folder and its subfolders, sorted. Raises ConfigError if it is missing."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder")
    return sorted(path for path in folder.rglob("*") if path.is_file() and is_photo_name(path))


class TooManyPhotos(ConfigError):
    """More photos than fit in memory."""


def read_photos(paths: Iterable[Path], smallest: int = 1) -> list[np.ndarray]:
    """Decode photos to uint8 (H, W, 3), leaving out those that can't be read or have a side below `smallest`.

    Raises TooManyPhotos above MAX_SET_BYTES.
    """
    return list(each_photo([partial(read_photo, path) for path in paths], smallest))


def each_photo(calls: Sequence[Callable[[], np.ndarray]], smallest: int) -> Iterator[np.ndarray]:
    """Yield the photos that `calls` decode, one by one, skipping and raising as read_photos does.

    Each call returns one photo, uint8 (H, W, 3), or raises ImageError.
    """
    unreadable, small, total = [], 0, 0
    for result in tqdm(in_threads(calls), desc="Reading photos", total=len(calls), unit="photo", leave=False):
        try:
            pixels = result.result()
        except ImageError as error:
            unreadable.append(str(error))
            continue
        if min(pixels.shape[:2]) < smallest:
            small += 1
            continue
        total += pixels.nbytes
        if total > MAX_SET_BYTES:
            raise TooManyPhotos(f"the photos take more than {MAX_SET_BYTES >> 30} GiB decoded; use fewer of them")
        yield pixels
    report_skipped(unreadable, small, smallest)


def report_skipped(unreadable: list[str], small: int, smallest: int) -> None:
    """Report on stderr which photos couldn't be read, and how many were too small."""
    for message in unreadable:
        print(f"skipped: {message}", file=sys.stderr)
    if len(unreadable) > 1:
        print(f"skipped: {len(unreadable)} photos that can't be read", file=sys.stderr)
    if small:
        print(f"skipped: {small} photos with a side below {smallest} pixels", file=sys.stderr)


def read_photo(path: Path) -> np.ndarray:
    """Read a photo of any format as uint8 (H, W, 3). Raises ImageError."""
    return rgb8(open_image(path).pixels)


def rgb8(pixels: np.ndarray) -> np.ndarray:
    """Convert the pixels of any photo to uint8 (H, W, 3)."""
    if pixels.dtype == np.uint16:
        pixels = to_8bit(pixels)
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels

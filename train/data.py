"""Photos held decoded in memory, random crops of them, and the noise that is put on the crops.

Everything random comes from one generator and happens on its device, so that a GPU is never kept waiting and a run can
be resumed exactly.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from denoiser import noise
from denoiser.errors import ImageError
from denoiser.image_io import is_photo_name, open_image
from denoiser.photo import to_8bit

from . import bsds500
from .config import ConfigError, TrainConfig
from .dead_leaves import dead_leaves
from .threads import in_threads

HELD_OUT = 20  # of a plain folder, every 20th photo is kept for validation
MAX_SET_BYTES = 8 << 30  # decoded photos are held in memory: 8 GiB is about 2.8 gigapixels
SYNTHETIC_COUNT, SYNTHETIC_VALIDATION, SYNTHETIC_SIDE = 64, 8, 256


class PhotoSet:
    """Photos laid end to end as one array of pixels, so that a batch of crops is a single indexing operation."""

    waited = 0.0  # seconds: they are all there

    def __init__(self, photos: Sequence[np.ndarray], device: torch.device | str = "cpu") -> None:
        """photos: uint8 arrays of shape (H, W, 3). Raises ConfigError if there are none."""
        if not photos:
            raise ConfigError("there are no photos to train on; give --data a folder with JPEG or PNG photos")
        self._measure(torch.tensor([photo.shape[:2] for photo in photos], device=device))
        self.starts = self.ends - self.heights * self.widths
        self.pixels = torch.from_numpy(np.concatenate([photo.reshape(-1, 3) for photo in photos])).to(device)

    def _measure(self, sizes: Tensor) -> None:
        """Note the photos' heights and widths, (N, 2), and their numbers of pixels, added up."""
        self.heights, self.widths = sizes[:, 0], sizes[:, 1]
        self.ends = (self.heights * self.widths).cumsum(0)
        self.total = int(self.ends[-1])

    def seek(self, crops: int) -> None:
        """Be ready for what is drawn after so many crops: here, the same photos as ever."""

    def crops(self, count: int, size: int, generator: torch.Generator, turns: bool = True) -> Tensor:
        """Draw crops of size x size, each pixel of the set as likely as any other, as float (count, 3, size, size).

        With `turns`, each crop comes in one of its eight flips and quarter turns. No photo is resized.
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


@dataclass(frozen=True)
class Batch:
    """Crops to learn from, float (N, 3, crop, crop)."""

    clean: Tensor
    noisy: Tensor
    sigma: Tensor  # the noise level map on [0, 1]: (N, 1, 1, 1), or (N, 1, crop, crop) if there are cameras' crops


def draw_batch(
    photos: PhotoSet, config: TrainConfig, generator: torch.Generator, camera_photos: PhotoSet | None = None
) -> Batch:
    """One batch: crops with Gaussian noise, then those of a camera, then clean ones, in the config's shares."""
    clean = clean_batch(photos, config, generator)
    sigma = draw_sigma(config, generator)
    untouched = round(config.clean_share * config.batch_size)
    if untouched:
        sigma = torch.cat([sigma[:-untouched], torch.zeros_like(sigma[-untouched:])])
    noisy = add_noise(clean, sigma, config, generator)
    count = round(config.camera_share * config.batch_size)
    if not count:
        return Batch(clean, noisy, sigma)
    crops = (camera_photos or photos).crops(count, config.crop, generator)
    camera_noisy, camera_clean = noise.camera(crops, generator)
    first = config.batch_size - untouched - count
    place = slice(first, first + count)
    clean[place], noisy[place] = camera_clean, camera_noisy
    sigma = sigma.expand(-1, -1, config.crop, config.crop).clone()
    sigma[place] = noise.local_sigma(camera_noisy - camera_clean)
    return Batch(clean, noisy, sigma)


def clean_batch(photos: PhotoSet, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """One batch of clean crops, augmented as the config says: (N, 3, crop, crop) in [0, 1]."""
    if config.augmentation == "classic":
        return classic_augmentation(photos.crops(config.batch_size, config.crop, generator, turns=False), generator)
    return photos.crops(config.batch_size, config.crop, generator)


def classic_augmentation(crops: Tensor, generator: torch.Generator) -> Tensor:
    """The reference's: rotation by up to 20 degrees, shifts by up to 20 %, horizontal flips, brightness 0.5-1.2.

    What comes into view is filled by reflection. Shape and range stay: (N, 3, S, S) in [0, 1].
    """

    def uniform(low: float, high: float) -> Tensor:
        draw = torch.rand(crops.shape[0], generator=generator, device=crops.device)
        return low + (high - low) * draw

    angle = torch.deg2rad(uniform(-20, 20))
    flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    shift_x, shift_y = uniform(-0.4, 0.4), uniform(-0.4, 0.4)  # affine_grid's unit is half a side
    cos, sin = angle.cos(), angle.sin()
    rows = [torch.stack([flip * cos, -sin, shift_x], dim=1), torch.stack([flip * sin, cos, shift_y], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(crops.shape), align_corners=False)
    moved = F.grid_sample(crops, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return (moved * uniform(0.5, 1.2)[:, None, None, None]).clamp(0, 1)


def draw_sigma(config: TrainConfig, generator: torch.Generator) -> Tensor:
    """Draw the noise level of each crop by the config's law, as standard deviations on [0, 1]: (N, 1, 1, 1)."""
    count = 1 if config.level_per_batch else config.batch_size
    draw = torch.rand((count, 1, 1, 1), generator=generator, device=generator.device)
    if config.sigma_law == "exponential":
        sigma = -noise.sigma_from_level(config.mean_level) * torch.log1p(-draw)
    else:
        sigma = noise.sigma_from_level(config.max_level) * draw
    return sigma.expand(config.batch_size, 1, 1, 1)


def add_noise(clean: Tensor, sigma: Tensor, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """Put Gaussian noise on the crops; shares of them are clipped, or clipped and rounded, as a file would be."""
    noisy = noise.gaussian(clean, sigma, generator)
    draw = torch.rand((clean.shape[0], 1, 1, 1), generator=generator, device=clean.device)
    noisy = torch.where(draw < config.quantize_share, noise.quantize(noisy), noisy)
    return torch.where(draw >= 1 - config.clip_share, noisy.clamp(0, 1), noisy)


def synthetic_photos(smallest: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Dead leaves pictures for training and for validation, with sides of at least so many pixels."""
    side = max(SYNTHETIC_SIDE, smallest)
    images = [dead_leaves(side, seed) for seed in range(SYNTHETIC_COUNT + SYNTHETIC_VALIDATION)]
    return images[SYNTHETIC_VALIDATION:], images[:SYNTHETIC_VALIDATION]


def source_paths(source: str) -> tuple[list[Path], list[Path]]:
    """The photos for training and for validation of one --data source."""
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
    """Those to train on, and every so-many-th to validate on; a single one is for both."""
    held_out = range(HELD_OUT - 1, len(photos), HELD_OUT) or range(max(len(photos) - 1, 0), len(photos))
    rest = [photo for place, photo in enumerate(photos) if place not in held_out]
    return rest or photos, [photos[place] for place in held_out]


def photos_below(folder: Path) -> list[Path]:
    """Every photo in the folder and the folders below it, by name."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder")
    return sorted(path for path in folder.rglob("*") if path.is_file() and is_photo_name(path))


class TooManyPhotos(ConfigError):
    """More photos than memory should hold."""


def read_photos(paths: Iterable[Path], smallest: int = 1) -> list[np.ndarray]:
    """Decode photos to uint8 (H, W, 3), leaving out those that can't be read or have a side below `smallest`.

    Raises TooManyPhotos above MAX_SET_BYTES.
    """
    return read_all([partial(read_photo, path) for path in paths], smallest)


def read_all(calls: Sequence[Callable[[], np.ndarray]], smallest: int) -> list[np.ndarray]:
    """What the calls return, each of which decodes one photo or raises ImageError, as read_photos does."""
    photos, unreadable, small, total = [], [], 0, 0
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
            raise TooManyPhotos(f"the photos take more than {MAX_SET_BYTES >> 30} GiB decoded; train on fewer of them")
        photos.append(pixels)
    report_skipped(unreadable, small, smallest)
    return photos


def report_skipped(unreadable: list[str], small: int, smallest: int) -> None:
    """Say on stderr which photos couldn't be read, and how many were too small."""
    for message in unreadable:
        print(f"skipped: {message}", file=sys.stderr)
    if len(unreadable) > 1:
        print(f"skipped: {len(unreadable)} photos that can't be read", file=sys.stderr)
    if small:
        print(f"skipped: {small} photos with a side below {smallest} pixels", file=sys.stderr)


def read_photo(path: Path) -> np.ndarray:
    """A photo of any kind as uint8 (H, W, 3). Raises ImageError."""
    return rgb8(open_image(path).pixels)


def rgb8(pixels: np.ndarray) -> np.ndarray:
    """Any photo's pixels as uint8 (H, W, 3)."""
    if pixels.dtype == np.uint16:
        pixels = to_8bit(pixels)
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels

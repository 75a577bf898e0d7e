"""Open the sources of --data for training: in memory if they fit, else streamed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from denoiser.errors import ImageError
from denoiser.image_io import image_size

from ..config import HUB, ConfigError, TrainConfig
from .hub_dataset import open_splits, repository_bytes, share
from .photo_files import (
    HELD_OUT,
    MAX_SET_BYTES,
    TooManyPhotos,
    each_photo,
    hold_out,
    photos_below,
    read_photo,
    report_skipped,
    source_paths,
    synthetic_photos,
)
from .photo_set import PhotoSet
from .photo_stream import PhotoFile, PhotoSource, PhotoStream, in_turns, shuffled
from .read_ahead import in_threads

HUB_RATIO = 16  # decoded bytes per byte of a photo's file, about the highest ratio: the Hub only gives file sizes


@dataclass(frozen=True)
class TrainingData:
    """All photos of a run."""

    photos: PhotoSet
    camera_photos: PhotoSet | None  # for the crops with the noise of uploads; None: `photos`
    validation: list[np.ndarray]
    about: str  # a description for people

    def seek(self, crops: int) -> None:
        """Prepare for drawing after `crops` crops of this process. Raises ConfigError."""
        for photos in filter(None, (self.photos, self.camera_photos)):
            photos.seek(crops)

    @property
    def waited(self) -> float:
        """Seconds that seek has spent waiting for photos."""
        return sum(photos.waited for photos in filter(None, (self.photos, self.camera_photos)))


@dataclass(frozen=True, slots=True)  # there may be millions
class LocalFile:
    """A photo in a folder."""

    path: str

    def __str__(self) -> str:
        return self.path

    def read(self) -> np.ndarray:
        return read_photo(Path(self.path))


@dataclass(frozen=True)
class Picture:
    """A photo that is already in memory."""

    pixels: np.ndarray

    def read(self) -> np.ndarray:
        return self.pixels


@dataclass(frozen=True)
class Source:
    """The photos of one source of --data."""

    training: Sequence[PhotoFile] = ()
    validation: Sequence[PhotoFile] = ()
    decoded_bytes: int = 0  # of the training photos, estimated
    endless: PhotoSource | None = None  # instead of `training`: photos that only come in a fixed order


def open_training_data(
    config: TrainConfig, device: torch.device | str = "cpu", rank: int = 0, world_size: int = 1
) -> TrainingData:
    """Open the sources of the config for process `rank`, with the training pixels on `device`.

    Photos that can't be read or are smaller than a crop are skipped, and named or counted on stderr. Raises ConfigError
    if a source can't be used or no photos are left.
    """
    sources = [open_source(name, config.crop, rank, world_size) for name in config.data]
    training = training_set("--data", config.data, sources, config, device, rank, world_size)
    camera_sources = [open_source(name, config.crop, rank, world_size) for name in config.camera_data]
    camera = None
    if camera_sources:
        camera = training_set("--camera-data", config.camera_data, camera_sources, config, device, rank, world_size)
    validation = validation_photos(config, sources)
    return TrainingData(
        training, camera, validation, f"{describe(sources, training)}, {len(validation)} to validate on"
    )


def load_photos(config: TrainConfig) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Read all training and validation photos of the config as uint8 (H, W, 3) arrays.

    Skips and raises as open_training_data does, and TooManyPhotos.
    """
    sources = [open_source(name, config.crop) for name in config.data]
    files = [photo for source in sources for photo in source.training]
    return list(read_training("--data", config.data, files, config.crop)), validation_photos(config, sources)


def read_training(flag: str, names: Sequence[str], files: Sequence[PhotoFile], smallest: int) -> Iterator[np.ndarray]:
    """Yield the decoded photos. Raises ConfigError if there are none, TooManyPhotos if they don't fit in memory."""
    found = False
    for pixels in each_photo([file.read for file in files], smallest):
        found = True
        yield pixels
    if not found:
        raise ConfigError(f"{flag} {' '.join(names)} holds no photos of at least {smallest} pixels a side")


def validation_photos(config: TrainConfig, sources: Sequence[Source]) -> list[np.ndarray]:
    """Read up to --validation-photos photos, spread evenly over --val or the sources. Raises ConfigError if none."""
    if config.val is not None:
        candidates: Sequence[PhotoFile] = local_files(photos_below(Path(config.val)), config.crop)[0]
    else:
        candidates = [photo for source in sources for photo in source.validation]
    count = min(config.validation_photos, len(candidates))
    chosen = [candidates[place * len(candidates) // count] for place in range(count)]
    photos = list(each_photo([photo.read for photo in chosen], config.crop))
    if not photos:
        raise ConfigError("there are no photos to validate on; give --val a folder with photos")
    return photos


def describe(sources: Sequence[Source], training: PhotoSet) -> str:
    if not isinstance(training, PhotoStream):
        return f"{len(training.heights)} photos to train on"
    listed = sum(len(source.training) for source in sources)
    kinds = ([f"{listed}"] if listed else []) + (["streamed"] if any(source.endless for source in sources) else [])
    return f"{' and '.join(kinds)} photos to train on, read as they are needed"


def training_set(
    flag: str,
    names: Sequence[str],
    sources: Sequence[Source],
    config: TrainConfig,
    device: torch.device | str,
    rank: int,
    world_size: int,
) -> PhotoSet:
    """Open the training photos of the sources: in memory if all fit, else streamed. Raises ConfigError if none."""
    files = [photo for source in sources for photo in source.training]
    streams = [source.endless for source in sources if source.endless]
    decoded_bytes = sum(source.decoded_bytes for source in sources)
    if not streams and decoded_bytes <= MAX_SET_BYTES:
        with suppress(TooManyPhotos):  # the size was estimated
            return PhotoSet(read_training(flag, names, files, config.crop), device, decoded_bytes)
    if files:
        streams = [shuffled(files, config.seed, rank, world_size), *streams]
    return PhotoStream(in_turns(streams), (config.seed, rank), config.crop, device)


def open_source(name: str, smallest: int, rank: int = 0, world_size: int = 1) -> Source:
    """Open one source of --data for process `rank`, with photos of at least `smallest` pixels a side."""
    if name.startswith(HUB):
        return open_hub(name.removeprefix(HUB), rank, world_size)
    if name == "synthetic":
        pictures, held_out = ([Picture(pixels) for pixels in part] for part in synthetic_photos(smallest))
        return Source(pictures, held_out, sum(picture.pixels.nbytes for picture in pictures))
    training_paths, validation_paths = source_paths(name)
    training, decoded_bytes = local_files(training_paths, smallest)
    # A folder with a single photo uses it for both; read it, and report it, only once.
    validation = training if validation_paths == training_paths else local_files(validation_paths, smallest)[0]
    return Source(training, validation, decoded_bytes)


def open_hub(repo: str, rank: int = 0, world_size: int = 1) -> Source:
    """Open a dataset on the Hub: as a list if it is small or holds addresses, else streamed in its own order."""
    photos, validation_split = open_splits(repo)
    first = next(iter(photos), None)
    size = repository_bytes(repo)
    validation = list(islice(validation_split, HELD_OUT)) if validation_split else []
    if first is not None and first.content is not None and HUB_RATIO * size > MAX_SET_BYTES:
        held_out = 0 if validation else HELD_OUT
        validation = validation or list(islice(photos, HELD_OUT))
        return Source(validation=validation, endless=share(photos, rank, world_size, held_out).starting_at)
    training = list(tqdm(photos, desc=f"Fetching {repo}", unit="photo", leave=False))
    if not validation:
        training, validation = hold_out(training)
    return Source(training, validation, HUB_RATIO * size)


def local_files(paths: Iterable[Path], smallest: int) -> tuple[list[LocalFile], int]:
    """Return the photos whose headers are readable and large enough, and their decoded bytes; report the others."""
    paths = list(paths)
    found, total, unreadable, small = [], 0, [], 0
    sizes = in_threads(partial(image_size, path) for path in paths)
    bar = tqdm(zip(paths, sizes, strict=True), "Looking at photos", len(paths), leave=False, unit="photo")
    for path, size in bar:
        try:
            width, height = size.result()
        except ImageError as error:
            unreadable.append(str(error))
            continue
        if min(width, height) < smallest:
            small += 1
            continue
        found.append(LocalFile(str(path)))
        total += 3 * width * height
    report_skipped(unreadable, small, smallest)
    return found, total

"""Read photo datasets from the Hugging Face Hub through the library `datasets`, without storing them on disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fsspec
import numpy as np
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

from denoiser.errors import ImageError
from denoiser.input_formats import MAX_FILE_BYTES

from ..config import ConfigError
from .photo_files import read_photo
from .read_ahead import in_threads

ROWS_AHEAD = 64  # of a table, fetched before they are needed
VALIDATION_SPLITS = ("validation", "val", "test")


@dataclass(frozen=True)
class HubFile:
    """A photo of a dataset: its address in the repository, or the file itself with a name for messages."""

    repo: str
    name: str
    content: bytes | None = None

    def __str__(self) -> str:
        return self.name

    def read(self) -> np.ndarray:
        """Return the photo as uint8 (H, W, 3), fetched if needed. Raises ImageError, or ConfigError if that fails."""
        content = self._fetch() if self.content is None else self.content
        name = re.sub(r"[^\w.-]", "_", self.name.split("::")[0].split("/")[-1])[-80:].lstrip(".")
        with TemporaryDirectory() as folder:
            path = Path(folder, name or "photo")
            path.write_bytes(content)
            return read_photo(path)

    def _fetch(self) -> bytes:
        *archives, address = self.name.split("::")
        inside = address.startswith(f"hf://datasets/{self.repo}@") and all(a.startswith("zip://") for a in archives)
        if not inside:  # a dataset's author could name any file or server
            raise ImageError(f"{self.name!r} is outside the dataset; only photos of the repository itself are read.")
        with plain_refusals(self.repo), fsspec.open(self.name, "rb") as file:
            if (getattr(file, "size", None) or 0) > MAX_FILE_BYTES:
                raise ImageError(f"{self.name!r} is larger than {MAX_FILE_BYTES >> 20} MiB. Make it smaller first.")
            return file.read()


@dataclass(frozen=True)
class HubRows:
    """One split of a dataset, or one process's share of it, without its first `skipped` photos."""

    repo: str
    rows: Any  # datasets.IterableDataset
    column: str
    skipped: int = 0

    def __iter__(self) -> Iterator[HubFile]:
        """Yield the photos once, in the order of the dataset. Raises ConfigError if the Hub fails."""
        with plain_refusals(self.repo):
            for number, row in enumerate(islice(self.rows, self.skipped, None), self.skipped):
                entry = row[self.column] or {"path": None, "bytes": None}
                address, content = entry["path"], entry["bytes"]
                if content is not None or address is None:
                    address, content = f"row {number}" + (f", {address}" if address else ""), content or b""
                yield HubFile(self.repo, address, content)

    def starting_at(self, number: int) -> Iterator[HubFile]:
        """Yield the photos from `number` on, endlessly, in the same order each time: a PhotoSource.

        The photos before `number` are read and dropped.
        """
        for row in in_threads(repeat(partial(next, self._endless(number))), ahead=ROWS_AHEAD, threads=1):
            yield row.result()

    def _endless(self, number: int) -> Iterator[HubFile]:
        while True:
            size = 0
            for size, photo in enumerate(self, 1):
                if size > number:
                    yield photo
            if not size:
                raise ConfigError(f"--data hub:{self.repo} holds too few photos to train on")
            number = max(number, size) % size


def open_splits(repo: str) -> tuple[HubRows, HubRows | None]:
    """Return the training split of a dataset and its validation split, if it has one. Raises ConfigError."""
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(f"--data hub:{repo} needs a library that isn't installed: pip install datasets") from error
    with plain_refusals(repo):
        splits = datasets.load_dataset(repo, streaming=True)
    names = [name for name in splits if name not in VALIDATION_SPLITS] or list(splits)
    training = "train" if "train" in splits else names[0]
    others = [name for name in VALIDATION_SPLITS if name in splits and name != training]
    columns = splits[training].features or {}
    column = next((name for name, feature in columns.items() if isinstance(feature, datasets.Image)), None)
    if column is None:
        found = f"; its columns are: {', '.join(columns)}" if columns else ""
        raise ConfigError(f"--data hub:{repo} has no column of images{found}")
    # .cast_column(column, Image(decode=False)) would leave the threads in place that decode what load_dataset returns.
    photos = [HubRows(repo, splits[name].decode(False), column) for name in (training, *others[:1])]
    return photos[0], photos[1] if others else None


def share(photos: HubRows, rank: int, world_size: int, skipped: int) -> HubRows:
    """Return the part of process `rank`: whole files if their number allows it, else every world_size-th photo.

    Each process leaves out the first `skipped` photos of its part, so the first of the whole dataset are left out too.
    """
    from datasets.distributed import split_dataset_by_node

    rows = split_dataset_by_node(photos.rows, rank, world_size) if world_size > 1 else photos.rows
    return HubRows(photos.repo, rows, photos.column, skipped)


def repository_bytes(repo: str) -> int:
    """Return the total size of the files in the repository. Raises ConfigError."""
    with plain_refusals(repo):
        return sum(file.size or 0 for file in HfApi().dataset_info(repo, files_metadata=True).siblings or [])


@contextmanager
def plain_refusals(repo: str) -> Iterator[None]:
    """Turn every error of the Hub, the network or the dataset's format into a ConfigError of one sentence."""
    name = f"--data hub:{repo}"
    try:
        yield
    except (ConfigError, ImageError):
        raise
    except Exception as error:  # the client lets its HTTP library's errors through; `datasets` wraps those it knows
        causes = {type(cause) for cause in _causes(error)}
        if HFValidationError in causes or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repo):
            message = "is not a valid dataset name; the form is hub:user/dataset"
        elif GatedRepoError in causes or "gated" in str(error):
            message = "is gated: ask for access on its page and set HF_TOKEN"
        elif RepositoryNotFoundError in causes or type(error).__name__ == "DatasetNotFoundError":
            message = "is not on the Hub; if it is private, set HF_TOKEN to a token that can read it"
        elif type(error).__name__ == "DataFilesNotFoundError":
            message = "holds no files that the library datasets can read"
        elif isinstance(error, ValueError):
            message = f"can't be used: {' '.join(str(error).split())[:300]}"
        else:
            message = f"could not be read ({type(error).__name__}): is the network up?"
        raise ConfigError(f"{name} {message}") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

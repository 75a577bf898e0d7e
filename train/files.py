"""Write the files of a run or a model completely or not at all."""

from __future__ import annotations

from pathlib import Path

from denoiser.atomic_write import atomic_write

from .config import ConfigError


def write_file(path: Path, data: bytes | str) -> None:
    """Write a file, whole or not at all. Raises ConfigError if that isn't possible."""
    try:
        with atomic_write(path) as file:
            file.write(data.encode() if isinstance(data, str) else data)
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror or error}") from error

"""The files of visitors: which of them a visitor may name, how long they are kept, how much room they get.

All of them, uploads and results alike, are in Gradio's upload folder, of which each run of the page has its own. It
knows nothing of Gradio: the folder is where GRADIO_TEMP_DIR says.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import math
import os
import secrets
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from denoiser import DenoiserError, ImageError

PREFIX = "photo-denoiser-"
EXAMPLES = "examples"  # a folder that is not swept
FILE_COST = 256 * 2**10  # bytes that a file counts for at least: a million empty ones take room too
ALIVE_SECONDS = 1800  # a page sweeps more often than that, whatever it keeps
SWEEP_SECONDS = 300
NO_PHOTO = "Choose a photo first."
_SWEEPING = threading.Lock()


@functools.cache  # one for all pages of a process
def claim_folder() -> None:
    """Give this run of the page an upload folder that only its user can read, and that goes when it ends.

    It is in GRADIO_TEMP_DIR, else where temporary files are; from now on GRADIO_TEMP_DIR names it.
    """
    base = os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()
    os.makedirs(base, exist_ok=True)
    folder = os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix=PREFIX, dir=base)
    owner = os.getpid()

    def leave() -> None:
        if os.getpid() == owner:  # and not a process that was forked
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(leave)


def upload_folder() -> Path:
    return Path(os.environ["GRADIO_TEMP_DIR"]).resolve()


def keep_seconds() -> float:
    """How long a file is kept: DENOISER_KEEP_MINUTES, an hour if it isn't set."""
    return 60 * _setting("DENOISER_KEEP_MINUTES", 60)


def sweep_seconds() -> float:
    """How often to sweep."""
    return max(1.0, min(keep_seconds() / 12, SWEEP_SECONDS))


def room() -> float:
    """The bytes that all files together may take: DENOISER_DISK_GB, 4 GB if it isn't set."""
    return 1e9 * _setting("DENOISER_DISK_GB", 4)


def _setting(name: str, default: float) -> float:
    value = os.environ.get(name) or str(default)
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number < math.inf:
        raise DenoiserError(f"{name} is {value!r}. Set it to a number above 0, or not at all.")
    return number


def photo_file(name: Any) -> Path:
    """The file that a visitor names, with links resolved.

    Raises ImageError for whatever isn't a file in the upload folder, be it a path, an address or no name at all: what
    else lies on this machine is nobody's business.
    """
    with contextlib.suppress(TypeError, ValueError, OSError, RuntimeError):  # no name; a null byte; missing; a loop
        path = Path(name).resolve(strict=True)
        if path.is_file() and path.is_relative_to(upload_folder()):
            return path
    raise ImageError(NO_PHOTO)


def own_folder() -> Path:
    """A new folder for results: nobody else knows its name."""
    folder = upload_folder() / secrets.token_hex(16)
    folder.mkdir(parents=True)
    return folder


def examples_folder() -> Path:
    """Where the page keeps what it shows to everybody."""
    folder = upload_folder() / EXAMPLES
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def sweep() -> None:
    """Delete the files that are older than keep_seconds(), then the oldest until all fit into room().

    What earlier runs of the page left, killed before they could tidy up, goes with its folder: one that has shown no
    sign of life for so long, or ALIVE_SECONDS.
    """
    with _SWEEPING:
        folder, now = upload_folder(), time.time()
        for path in (folder, *folder.glob(f"{EXAMPLES}/*")):  # systems clear out what is old, too
            with contextlib.suppress(OSError):
                os.utime(path)
        files = sorted(_files(folder))
        excess = sum(size for _, size, _ in files) - room()
        for changed, size, path in files:
            if changed > now - keep_seconds() and excess <= 0:
                break
            _delete(path, folder)
            excess -= size
        for other in folder.parent.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                if other.stat().st_mtime < now - max(keep_seconds(), ALIVE_SECONDS):
                    shutil.rmtree(other, ignore_errors=True)


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """When each was last changed, the room it takes, and its path; empty folders too."""
    for where, folders, names in os.walk(folder):
        if Path(where) == folder and EXAMPLES in folders:
            folders.remove(EXAMPLES)
        if not folders and not names and Path(where) != folder:
            yield _changed(Path(where)), FILE_COST, Path(where)
        for name in names:
            path = Path(where, name)
            with contextlib.suppress(OSError):  # gone meanwhile
                yield _changed(path), max(path.lstat().st_size, FILE_COST), path


def _changed(path: Path) -> float:
    """The time of the last change, renaming included; infinity for what is no longer there."""
    try:
        status = path.lstat()
    except OSError:
        return float("inf")
    return max(status.st_mtime, status.st_ctime)


def _delete(path: Path, folder: Path) -> None:
    """Delete a file, or an empty folder, and the folders above it that are empty then, up to `folder`."""
    with contextlib.suppress(OSError):  # somebody else was faster, or there is more in it
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
            path = path.parent
        while path != folder:
            path.rmdir()
            path = path.parent

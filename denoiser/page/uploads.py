"""The files of visitors: which of them a request may name, how long they are kept, and how much disk they use.

Uploads and results are all in Gradio's upload folder; each run of the page has its own. This module does not import
Gradio: it takes the folder from GRADIO_TEMP_DIR.
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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from denoiser import DenoiserError, ImageError

PREFIX = "photo-denoiser-uploads-"
EXAMPLES = "examples"  # subfolder that is never swept
MARKER = f"{EXAMPLES}/.made-by-the-page"  # only folders with this file are deleted
FILE_COST = 256 * 2**10  # minimum bytes counted per file: a million empty files take space too
ALIVE_SECONDS = 1800  # every running page sweeps more often than this
SWEEP_SECONDS = 300
NO_PHOTO = "Choose a photo first."
GONE = (
    "The server doesn't have these photos. "
    "Uploads are deleted after {}, or earlier if it restarts or its disk is full. Choose them again."
)
_SWEEPING = threading.Lock()


@functools.cache  # one folder for all pages of a process
def claim_folder() -> None:
    """Create the upload folder of this run, readable by its user only and deleted when the process ends.

    It is created in GRADIO_TEMP_DIR, or else in the system's temporary folder, and GRADIO_TEMP_DIR is set to it.
    """
    base = os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()
    os.makedirs(base, exist_ok=True)
    folder = os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix=PREFIX, dir=base)
    examples_folder()
    Path(folder, MARKER).touch()
    owner = os.getpid()

    def leave() -> None:
        if os.getpid() == owner:  # not a forked process
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(leave)


def upload_folder() -> Path:
    return Path(os.environ["GRADIO_TEMP_DIR"]).resolve()


def keep_seconds() -> float:
    """Return how long files are kept: DENOISER_KEEP_MINUTES, or an hour if it is not set."""
    return 60 * _setting("DENOISER_KEEP_MINUTES", 60)


def keep_words() -> str:
    """Return keep_seconds() as the page says it: "an hour", "2 hours", "1 minute"."""
    minutes = keep_seconds() / 60
    if minutes == 60:
        return "an hour"
    number, unit = (minutes / 60, "hour") if minutes % 60 == 0 else (minutes, "minute")
    return f"{number:g} {unit}{'s' * (number != 1)}"


def sweep_seconds() -> float:
    """Return the interval between two sweeps."""
    return max(1.0, min(keep_seconds() / 12, SWEEP_SECONDS))


def room() -> float:
    """Return the bytes that all files together may take: DENOISER_DISK_GB, or 4 GB if it is not set."""
    return 1e9 * _setting("DENOISER_DISK_GB", 4)


def _setting(name: str, default: float) -> float:
    value = os.environ.get(name) or str(default)
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number < math.inf:
        raise DenoiserError(f"{name} is {value!r}. Set it to a number above 0, or leave it unset.")
    return number


def photo_file(name: Any) -> Path:
    """Return the path of a file that a visitor names, with links resolved.

    Raises ImageError for anything but a file in the upload folder (another path, a URL, not even a string), so that
    no request can read other files of this machine, or learn which there are.
    """
    with contextlib.suppress(TypeError, ValueError, OSError, RuntimeError):  # no string, null byte, missing, link loop
        path = Path(name).resolve(strict=True)
        if path.is_file() and path.is_relative_to(upload_folder()):
            return path
    raise ImageError(gone() if name else NO_PHOTO)


def gone() -> str:
    """Return what the page says where files have been deleted."""
    return GONE.format(keep_words())


def touch(paths: Iterable[Path]) -> None:
    """Keep files for another keep_seconds(); those that are gone are left out."""
    for path in paths:
        with contextlib.suppress(OSError):
            os.utime(path)


def own_folder() -> Path:
    """Create a folder for results, with a name that can't be guessed."""
    folder = upload_folder() / secrets.token_hex(16)
    folder.mkdir(parents=True)
    return folder


def examples_folder() -> Path:
    """Create the folder of the example photos, which every visitor sees."""
    folder = upload_folder() / EXAMPLES
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def sweep() -> None:
    """Delete files older than keep_seconds(), then the oldest ones until the rest fits into room().

    Also deletes the folders of earlier runs that were killed before they could clean up: those not touched for
    keep_seconds(), and at least ALIVE_SECONDS.
    """
    with _SWEEPING:
        folder, now = upload_folder(), time.time()
        touch((folder, *folder.glob(f"{EXAMPLES}/*")))  # against the system's own cleanup of old files
        files = sorted(_files(folder))
        excess = sum(size for _, size, _ in files) - room()
        for changed, size, path in files:
            if changed > now - keep_seconds() and excess <= 0:
                break
            _delete(path, folder)
            excess -= size
        for other in folder.parent.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                old = other.stat().st_mtime < now - max(keep_seconds(), ALIVE_SECONDS)
                if old and (other / MARKER).is_file():
                    shutil.rmtree(other, ignore_errors=True)


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Yield (time of the last change, bytes counted, path) for each file and each empty folder, except examples."""
    for where, folders, names in os.walk(folder):
        if Path(where) == folder and EXAMPLES in folders:
            folders.remove(EXAMPLES)
        if not folders and not names and Path(where) != folder:
            yield _changed(Path(where)), FILE_COST, Path(where)
        for name in names:
            path = Path(where, name)
            with contextlib.suppress(OSError):  # deleted in the meantime
                yield _changed(path), max(path.lstat().st_size, FILE_COST), path


def _changed(path: Path) -> float:
    """Return the time of the last change, renaming included; infinity if the file is gone."""
    try:
        status = path.lstat()
    except OSError:
        return float("inf")
    return max(status.st_mtime, status.st_ctime)


def _delete(path: Path, folder: Path) -> None:
    """Delete a file or empty folder, then its parents below `folder` that are empty."""
    with contextlib.suppress(OSError):  # already deleted, or the folder is not empty
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
            path = path.parent
        while path != folder:
            path.rmdir()
            path = path.parent

"""What is held of visitors' results, so that Amount and Download need no second run of the network."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from denoiser import DenoiserError, Photo

HOLD_SECONDS = 600
HOLD_BYTES = 800_000_000  # of pixels, all visitors together: five photos of 24 megapixels, before and after


@dataclass(frozen=True)
class Held:
    """One visitor's photo and its denoised version."""

    photo: Photo
    clean: Photo
    upload: Path
    folder: Path  # of its own, in the upload folder: nobody else knows its name

    @property
    def bytes(self) -> int:
        planes = (self.photo.pixels, self.photo.alpha, self.clean.pixels)
        return sum(plane.nbytes for plane in planes if plane is not None)


class Shelf:
    """Results under keys that can't be guessed; too old or over HOLD_BYTES, the oldest goes first."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, tuple[float, Held]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, held: Held, instead_of: str | None = None) -> str:
        """Hold a result, in place of the visitor's last one, and return its key. The newest is held at any size."""
        key = secrets.token_hex(16)
        with self._lock:
            self._held.pop(instead_of, None)
            self._held[key] = time.monotonic(), held
        self.clear_out()
        return key

    def get(self, key: str) -> Held:
        """The result, which counts as new again. Raises DenoiserError where it is no longer held."""
        self.clear_out()
        with self._lock:
            if key not in self._held:
                raise DenoiserError("The photo is no longer held here. Press Denoise again.")
            self._held[key] = time.monotonic(), self._held.pop(key)[1]
            return self._held[key][1]

    def drop(self, key: str | None) -> None:
        with self._lock:
            self._held.pop(key, None)

    def clear_out(self) -> None:
        """Let go of what is too old or too much; called now and then, too, for visitors who are gone."""
        with self._lock:
            total = sum(held.bytes for _, held in self._held.values())
            for key, (since, held) in list(self._held.items()):
                last = len(self._held) == 1
                if time.monotonic() - since < HOLD_SECONDS and (total <= HOLD_BYTES or last):
                    break
                total -= held.bytes
                del self._held[key]

"""A cache of visitors' results, so that Amount and Download don't run the network again."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from denoiser import DenoiserError, Photo

HOLD_SECONDS = 600
HOLD_BYTES = 800_000_000  # of pixels, for all visitors together: five photos of 24 megapixels, before and after


@dataclass(frozen=True)
class CachedResult:
    """A visitor's photo and its denoised version."""

    photo: Photo
    clean: Photo
    upload: Path
    folder: Path  # inside the upload folder, for this result only; its name can't be guessed
    auto: bool = True  # whether the noise level was estimated
    level: float = 0  # the noise level that was used, as the slider shows it
    text: str = ""  # what the page says about it

    @property
    def bytes(self) -> int:
        planes = (self.photo.pixels, self.photo.alpha, self.clean.pixels)
        return sum(plane.nbytes for plane in planes if plane is not None)


class ResultCache:
    """Results under keys that can't be guessed. Old ones expire, and above HOLD_BYTES the oldest are dropped."""

    def __init__(self) -> None:
        self.lasting: dict[str, CachedResult] = {}  # results of no visitor, which are never dropped
        self._results: OrderedDict[str, tuple[float, CachedResult]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, result: CachedResult, instead_of: str | None = None) -> str:
        """Store a result and return its key.

        It replaces the result under the key `instead_of`, the visitor's last one. The newest result is kept whatever
        its size.
        """
        key = secrets.token_hex(16)
        with self._lock:
            if instead_of is not None:
                self._results.pop(instead_of, None)
            self._results[key] = time.monotonic(), result
        self.evict()
        return key

    def get(self, key: str) -> CachedResult:
        """Return the result under a key and restart its expiry. Raises DenoiserError if it has been dropped."""
        if key in self.lasting:
            return self.lasting[key]
        self.evict()
        with self._lock:
            if key not in self._results:
                raise DenoiserError("This result has expired. Press Denoise again.")
            self._results[key] = time.monotonic(), self._results.pop(key)[1]
            return self._results[key][1]

    def find(self, key: str | None) -> CachedResult | None:
        """Return the result under a key, or None if there is none (anymore)."""
        with contextlib.suppress(DenoiserError):
            return None if key is None else self.get(key)
        return None

    def evict(self) -> None:
        """Drop results that are too old or too many. Also called at intervals, for visitors who have left."""
        with self._lock:
            total = sum(result.bytes for _, result in self._results.values())
            for key, (since, result) in list(self._results.items()):
                last = len(self._results) == 1
                if time.monotonic() - since < HOLD_SECONDS and (total <= HOLD_BYTES or last):
                    break
                total -= result.bytes
                del self._results[key]

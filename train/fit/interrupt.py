"""Turn Ctrl-C and a scheduler's SIGTERM into a flag that the training loop checks between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Interrupt:
    """Whether a stop was requested."""

    requested: bool = False


@contextmanager
def catch_interrupts() -> Iterator[Interrupt]:
    """Record the first SIGINT or SIGTERM; the second raises KeyboardInterrupt at once.

    Only the main thread can handle signals; in any other thread they keep their default effect.
    """
    interrupt = Interrupt()

    def note(*_: object) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True

    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, note) for number in signals}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

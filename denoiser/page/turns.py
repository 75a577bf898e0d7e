"""Whose turn it is: one thread that works for all visitors, and the order in which it does.

A photo is worked on in slices of about a second, and the photos that are open take turns, so a small one is not kept
waiting by a big one. A visitor has one photo open at a time, however many are waiting, and all that are open together
stay below MAX_OPEN_PIXELS, which bounds the memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import ipaddress
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from gradio.context import LocalContext

from denoiser import DenoiserError

SLICE_SECONDS = 1.0  # work on one photo before the next one's turn; a step that takes longer is not interrupted
MAX_OPEN_PIXELS = 130_000_000  # beside the biggest photo there is room for one of 24 megapixels
END = object()


@dataclass(eq=False)
class Turn:
    """One visitor's photo, waiting or open."""

    visitor: str
    pixels: int
    open: asyncio.Event = field(default_factory=asyncio.Event)


class Turns:
    """A thread, and the turns that are waiting for it or open. `places` is how many there can be."""

    def __init__(self, places: int) -> None:
        self.places = places
        self._turns: list[Turn] = []  # in the order in which they open
        self._worker = ThreadPoolExecutor(1)

    @contextlib.asynccontextmanager
    async def turn(self, pixels: int = 0, on_wait: Callable[[int], None] | None = None) -> AsyncIterator[None]:
        """Wait for this visitor's turn with a photo of so many pixels; left, in whatever way, it is the next one's.

        Where that takes a while, on_wait is told how many others there are.
        Raises DenoiserError where the visitor has three quarters of the places already: the rest is for others.
        """
        turn = Turn(visitor(), pixels)
        mine = sum(other.visitor == turn.visitor for other in self._turns)
        if 4 * (mine + 1) > 3 * self.places:
            raise DenoiserError(f"{mine} of your photos are waiting here already. Try again when they are done.")
        self._turns.append(turn)
        self._open_next()
        try:
            if on_wait is not None and not turn.open.is_set():
                on_wait(len(self._turns) - 1)
            await turn.open.wait()
            yield
        finally:
            self._turns.remove(turn)
            self._turns.sort(key=lambda other: other.visitor == turn.visitor)  # now the others come first
            self._open_next()

    def _open_next(self) -> None:
        for turn in self._turns:
            open_ones = [other for other in self._turns if other.open.is_set()]
            fits = sum(other.pixels for other in open_ones) + turn.pixels <= MAX_OPEN_PIXELS
            if fits and all(other.visitor != turn.visitor for other in open_ones):
                turn.open.set()

    async def do(self, function: Callable, *arguments: Any) -> Any:
        """Call a function in the thread. If the caller is cancelled while it waits there, it isn't called at all."""
        call = functools.partial(contextvars.copy_context().run, function, *arguments)
        return await asyncio.get_running_loop().run_in_executor(self._worker, call)

    async def steps(self, work: Iterator) -> AsyncIterator[Any]:
        """None, and then what the work yields, the last thing of each slice.

        At each Gradio stops a run that was cancelled or whose visitor has left, the first time before any work.
        """
        try:
            yield None
            while (update := await self.do(_slice, work)) is not END:
                yield update
        finally:
            self._worker.submit(work.close)  # there, as it may still be running


def _slice(work: Iterator) -> Any:
    update, until = END, time.monotonic() + SLICE_SECONDS
    for newest in work:
        update = newest
        if time.monotonic() > until:
            break
    return update


def visitor() -> str:
    """Whose request this is: the address it came from; of IPv6 the half that a provider gives to one customer."""
    client = getattr(LocalContext.request.get(None), "client", None)
    host = client.host if client else ""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).version == 6:
            return str(ipaddress.ip_network((host, 64), strict=False))
    return host

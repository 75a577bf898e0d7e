"""Gradio callbacks that run the network, or use its cached results, in turn with other visitors."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

import denoiser
from denoiser import Denoiser, DenoiserError, ImageError, Photo
from denoiser.image_io import image_size
from denoiser.memory import release_memory

from .result_cache import ResultCache
from .scheduler import NewestRuns, Scheduler, until
from .uploads import photo_file

try:
    from spaces import GPU as on_gpu  # installed on ZeroGPU Spaces, which lend a GPU to the functions marked with it
except ImportError:

    def on_gpu(function: Callable) -> Callable:
        return function


Callback = Callable[..., AsyncGenerator[Any, None]]  # of Gradio
SKIP = gr.skip()
MAX_PHOTO_BYTES = 400_000_000  # in memory: 100 megapixels with transparency, at 8 bits per channel
MOST_MEMORY = 1_400_000_000  # bytes that the page may hold between two tiles
BIG_BYTES = 200_000_000  # a cached result above this size is processed in the network's thread
NETWORK_PLACES, QUICK_PLACES = 32, 8
# Gradio may run all of these at once, up to its own limit of 40; the schedulers decide who goes first.
NETWORK = {"concurrency_id": "network", "concurrency_limit": NETWORK_PLACES}
QUICK = {"concurrency_id": "quick", "concurrency_limit": QUICK_PLACES}


@dataclass
class Service:
    """State shared by all visitors of a page. Quick work, such as moving Amount, never waits for the network."""

    network: Scheduler = field(default_factory=lambda: Scheduler(NETWORK_PLACES))
    quick: Scheduler = field(default_factory=lambda: Scheduler(QUICK_PLACES))
    results: ResultCache = field(default_factory=ResultCache)


@dataclass(frozen=True)
class NetworkResult:
    """The estimated noise level and the denoised photo; None for what was not requested."""

    level: float | None
    clean: Photo | None


@contextlib.contextmanager
def errors_for_visitors() -> Iterator[None]:
    """Show the message of a DenoiserError to the visitor, without a traceback in the log."""
    try:
        yield
    except DenoiserError as error:
        raise gr.Error(str(error), print_exception=False) from error


def photo_callback(
    scheduler: Scheduler, work: Callable[..., Generator[Any, None, Any]], nothing_new: Any = SKIP
) -> Callback:
    """Turn `work`, a generator function, into a Gradio callback that runs it when the visitor's turn comes.

    work is called with the path of the photo and the remaining arguments. It stops at its next step when the visitor
    cancels or leaves. For a step without an update (None), the callback yields `nothing_new`.
    """

    @functools.wraps(work)
    async def callback(photo: Any, *arguments: Any) -> AsyncGenerator[Any, None]:
        def on_wait(others: int) -> None:
            these = "1 other photo is" if others == 1 else f"{others} other photos are"
            for progress in arguments:
                if isinstance(progress, gr.Progress):
                    progress(0, desc=f"Waiting for your turn: {these} waiting or being denoised.")

        with errors_for_visitors():
            file, pixels = await asyncio.to_thread(find_upload, photo)
            updates = scheduler.run(work(file, *arguments), pixels, on_wait)
            async with contextlib.aclosing(updates):
                async for update in updates:
                    yield nothing_new if update is None else update

    return callback


def newest_run_callback(
    scheduler: Scheduler,
    newest: NewestRuns,
    work: Callable[..., Generator[Any, None, Any]],
    cleared: Callable[[str], Any] | None = None,
    photos: Sequence[str] | None = None,
    idle: bool = False,
) -> Callback:
    """Turn `work` into a Gradio callback as photo_callback does; each run ends the one before it in the same tab.

    cleared(text) returns the updates that empty the page and show a text. They come first, and again if the run fails,
    so that nothing of an earlier photo stays; None leaves what is shown. With `photos`, the callback takes an index
    into these instead of a photo. With `idle`, it does nothing where there is no photo, rather than complain.
    """
    run = photo_callback(scheduler, work)

    @functools.wraps(work)
    async def callback(photo: Any, *arguments: Any) -> AsyncGenerator[Any, None]:
        if not photo and idle:
            yield SKIP
            return
        async with newest.run() as stopped:
            if cleared is not None:
                yield cleared("")
            try:
                photo = photo if photos is None else photos[photo]
                async with contextlib.aclosing(until(stopped, run(photo, *arguments))) as updates:
                    async for update in updates:
                        yield update
            except gr.Error as error:
                if cleared is not None:
                    yield cleared(error.message)
                raise
            if stopped.is_set():
                yield SKIP  # Gradio sends the last item twice, the second time when the next run may have begun

    return callback


def result_callback(service: Service, function: Callable) -> Callable:
    """Turn a quick function of a cached result into a Gradio callback that takes the key of the result.

    The function gets None if there is no key. It runs in the thread for quick work, except for a big photo, which goes
    to the network's thread between two of its steps: the memory for both is then never needed at once.
    """

    @functools.wraps(function)
    async def callback(key: str | None, *arguments: Any) -> Any:
        with errors_for_visitors():
            cached = service.results.get(key) if key else None
            big = cached is not None and cached.bytes > BIG_BYTES
            async with service.quick.turn():
                return await (service.network if big else service.quick).do(function, cached, *arguments)

    return callback


def find_upload(photo: Any) -> tuple[Path, int]:
    """Return the path of an uploaded photo and its number of pixels, read from its header.

    photo is what the visitor sent: a path, or Gradio's FileData. Raises ImageError if it is not an uploaded photo.
    """
    file = photo_file(photo.get("path") if isinstance(photo, dict) else photo)
    width, height = image_size(file)
    return file, width * height


def open_photo(file: Path) -> Photo:
    """Open an uploaded photo. Raises ImageError if it can't be read or needs more than MAX_PHOTO_BYTES of memory."""
    photo = denoiser.open_image(photo_file(file))
    size = photo.pixels.nbytes + (0 if photo.alpha is None else photo.alpha.nbytes)
    if size > MAX_PHOTO_BYTES:
        size, most = size // 10**6, MAX_PHOTO_BYTES // 10**6
        raise ImageError(
            f"{file.name!r} needs {size} MB of memory; the limit here is {most}. Save it with 8 bits per channel."
        )
    return photo


def network_runner(model: Denoiser) -> Callable[..., Iterator[Any]]:
    """Return a generator function that runs the network on a photo.

    It takes (photo, level=None, estimate=True, denoise=True), yields None or (tiles done, tiles in all) as it goes, and
    ends with a NetworkResult. The result is yielded, not returned, because a GPU lent by a Space is in another process:
    arguments and yielded items are copied between the two, and a return value would be lost.
    """

    @on_gpu
    def run(photo: Photo, level: float | None = None, estimate: bool = True, denoise: bool = True) -> Iterator[Any]:
        found = clean = None
        try:
            with errors_for_visitors():
                if estimate:
                    found = yield from map_steps(model.estimate_by_tile(photo.pixels), lambda step: None)
                if denoise:
                    clean = yield from map_steps(model.by_tile(photo, level), bound_memory)
        finally:
            release_memory()
        yield NetworkResult(found, clean)

    return run


def map_steps(steps: Generator[Any, None, Any], change: Callable[[Any], Any]) -> Generator[Any, None, Any]:
    """Run a generator, yield change(step) at each of its steps, and return its result."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        yield change(step)


def bound_memory(step: Any) -> Any:
    """Return the step, after returning free memory that the process doesn't reuse well to the system."""
    release_memory(above=MOST_MEMORY)
    return step


def report_progress(steps: Iterator[Any], say: Callable[[str], Any] = lambda text: None) -> Generator[Any, None, Any]:
    """Run the steps of a network_runner and return the NetworkResult.

    say(text) returns the update that tells the visitor how much of the photo is done; it is yielded after each tile but
    the last.
    """
    started, step = time.monotonic(), None
    for step in steps:
        done, total = step if isinstance(step, tuple) else (0, 0)
        left = (time.monotonic() - started) * (total - done) / max(done, 1)
        yield say(f"{100 * done // total} % denoised, about {left:.0f} s left.") if done < total else None
    return step

"""What the tabs of the page share: photos in, previews and files out, refusals in plain words."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import html
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

import denoiser
from denoiser import Denoiser, DenoiserError, ImageError, Photo
from denoiser.image_io import WRITE_FORMATS, image_size

from .shelf import Held, Shelf
from .theme import ACTUAL_SIZE_CLASS
from .turns import Turns
from .uploads import own_folder, photo_file, sweep

try:
    from spaces import GPU as on_gpu  # of a ZeroGPU Space, which lends its GPU to the functions so marked; else nothing
except ImportError:

    def on_gpu(function: Callable) -> Callable:
        return function


SKIP = gr.skip()
COMPARISON, ACTUAL_SIZE, RESIDUAL = VIEWS = ("Before / after", "Actual size", "What was removed")
# What a noise level looks like, by the first limit that it is below.
NOISE_WORDS = {3: "hardly any", 10: "a little", 22: "a good deal", 45: "much", 1000: "very much"}
MAX_PHOTO_BYTES = 400_000_000  # the most megapixels that are read, with transparency, at 8 bits a channel
BIG_BYTES = 200_000_000  # held of a photo
# For Gradio all of them run at once, up to the 40 that it runs at most; whose turn it really is, Turns says.
NETWORK = {"concurrency_id": "network", "concurrency_limit": 32}
QUICK = {"concurrency_id": "quick", "concurrency_limit": 8}


@dataclass
class Service:
    """What all visitors of a page share. What takes a moment, as moving Amount, never waits behind the network."""

    network: Turns = field(default_factory=lambda: Turns(NETWORK["concurrency_limit"]))
    quick: Turns = field(default_factory=lambda: Turns(QUICK["concurrency_limit"]))
    shelf: Shelf = field(default_factory=Shelf)


@dataclass(frozen=True)
class Result:
    """What the network made of a photo: the level of its noise and the photo without it, as far as asked for."""

    level: float | None
    clean: Photo | None


def photo_input(label: str, elem_id: str) -> gr.Image:
    """An upload that hands over the file as it came: Gradio's own decoding would lose depth, alpha and profile."""
    sources = ["upload", "clipboard", "webcam"]
    image = gr.Image(type="filepath", image_mode=None, sources=sources, label=label, height=300, elem_id=elem_id)
    image.preprocess = lambda payload: None if payload is None else payload.path
    return image


def before_after(label: str, elem_id: str) -> gr.ImageSlider:
    return gr.ImageSlider(type="filepath", interactive=False, label=label, elem_id=elem_id, buttons=["fullscreen"])


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """What the library refuses is shown to the visitor in its own words, without a traceback in the log."""
    try:
        yield
    except DenoiserError as error:
        raise gr.Error(str(error), print_exception=False) from error


def by_turns(turns: Turns, work: Callable[..., Iterator], nothing_new: Any = SKIP) -> Callable[..., AsyncIterator]:
    """Make a callback of work on a photo: a generator function, given the photo's file and the other arguments.

    It starts when it is the visitor's turn, and stops at the step at which the visitor cancels or leaves. Where there
    is nothing new, Gradio gets `nothing_new`.
    """

    @functools.wraps(work)
    async def callback(photo: Any, *arguments: Any) -> AsyncIterator[Any]:
        def on_wait(others: int) -> None:
            for progress in arguments:
                if isinstance(progress, gr.Progress):
                    progress(0, desc=f"Waiting for your turn; other photos here: {others}")

        with plain_errors():
            file, pixels = await asyncio.to_thread(measured, photo)
            steps = contextlib.aclosing(turns.steps(work(file, *arguments)))
            async with turns.turn(pixels, on_wait), steps as updates:
                async for update in updates:
                    yield nothing_new if update is None else update

    return callback


def with_held(service: Service, function: Callable) -> Callable:
    """Make a callback of a function, quickly done, of what is held for a visitor, or None where nothing is.

    It has a thread of its own, but for a big photo that of the network, between two of its steps: the room that both
    take for a moment is not taken at once.
    """

    @functools.wraps(function)
    async def callback(key: str | None, *arguments: Any) -> Any:
        with plain_errors():
            held = None if key is None else service.shelf.get(key)
            big = held is not None and held.bytes > BIG_BYTES
            async with service.quick.turn():
                return await (service.network if big else service.quick).do(function, held, *arguments)

    return callback


def opened(file: Path) -> Photo:
    """Open a photo. Raises ImageError where that is not possible, or it would take too much memory."""
    photo = denoiser.open_image(file)
    size = photo.pixels.nbytes + (0 if photo.alpha is None else photo.alpha.nbytes)
    if size > MAX_PHOTO_BYTES:
        size, most = size // 10**6, MAX_PHOTO_BYTES // 10**6
        raise ImageError(f"{file.name!r} takes {size} MB in memory; up to {most} are taken here. Save it with 8 bits.")
    return photo


def measured(photo: Any) -> tuple[Path, int]:
    """The file of a photo as a visitor names it, by a path or as Gradio's FileData, and how many pixels it has.

    Raises ImageError where it is none.
    """
    file = photo_file(photo.get("path") if isinstance(photo, dict) else photo)
    width, height = image_size(file)
    return file, width * height


def network_of(model: Denoiser) -> Callable[..., Iterator]:
    """What a model does with a photo, as a generator: (tiles done, in all) or None at times, at the end a Result.

    A GPU that a Space lends is in another process: what goes there and comes back is copied, and no more than what a
    generator yields comes back.
    """

    @on_gpu
    def work(photo: Photo, level: float | None = None, estimate: bool = True, denoise: bool = True) -> Iterator:
        found = clean = None
        with plain_errors():
            if estimate:
                found = yield from without_progress(model.estimate_by_tile(photo.pixels))
            if denoise:
                clean = yield from model.by_tile(photo, level)
        yield Result(found, clean)

    return work


def without_progress(steps: Iterator) -> Iterator[None]:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
        yield None


def followed(steps: Iterator, progress: gr.Progress | None = None) -> Iterator[None]:
    """Run the steps of a network, telling the visitor how far they are, and return its Result."""
    started, step = time.monotonic(), None
    for step in steps:
        if isinstance(step, tuple) and progress is not None:
            done, total = step
            left = (time.monotonic() - started) * (total - done) / done
            progress(step, desc=f"Denoising, about {left:.0f} s left", unit="tiles")
        yield None
    return step


def show(held: Held, amount: float, view: str) -> tuple[gr.ImageSlider, gr.Image]:
    """What the page shows of a result: the comparison, whole or pixel by pixel, or what was removed."""
    percent = round(amount)  # each has previews of its own
    mixed = denoiser.blend(held.photo, held.clean, percent / 100)
    if view == RESIDUAL:
        path = preview(denoiser.residual(held.photo, mixed), held.folder, f"residual-{percent}")
        return gr.ImageSlider(visible=False), gr.Image(str(path), visible=True)
    before = preview(held.photo, held.folder, "before")
    after = preview(mixed, held.folder, f"after-{percent}")
    look = ACTUAL_SIZE_CLASS if view == ACTUAL_SIZE else ""
    return gr.ImageSlider((str(before), str(after)), visible=True, elem_classes=look), gr.Image(visible=False)


def preview(photo: Photo, folder: Path, name: str) -> Path:
    """Write a photo for the page: JPEG is quick and, at 4:4:4, true enough; PNG keeps transparency."""
    return written(photo, folder / (name + (".jpg" if photo.alpha is None else ".png")), warn=False)


def written(photo: Photo, path: Path, quality: int | None = None, warn: bool = True) -> Path:
    """Write a photo to a file in the upload folder, unless it is there already; for its room the oldest files go.

    With `warn`, the page says what the file's format has no room for.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        lost = denoiser.save_image(photo, path, quality=quality)
        for note in lost if warn else ():
            gr.Warning(html.escape(note))
        sweep()
    return path


def result_path(upload: Path, suffix: str, kind: str | None = None) -> Path:
    """Where the result of an upload goes: a folder of its own, in the upload's format or `kind`.

    What can't be written becomes PNG, but HEIC, which phones take photos in, becomes JPEG.
    """
    return own_folder() / result_name(upload, suffix, kind)


def result_name(upload: Path, suffix: str, kind: str | None = None) -> str:
    own = upload.suffix.lower()
    kind = kind or (own if own in WRITE_FORMATS else ".jpg" if own in (".heic", ".heif", ".hif") else ".png")
    return f"{upload.stem}-{suffix}{kind}"


def plain_text(text: str) -> str:
    """Text from elsewhere for a place that shows Markdown: nothing in it is markup, a link or a picture."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


def in_words(level: float) -> str:
    return next(words for limit, words in NOISE_WORDS.items() if level < limit)


def score_table(before: dict[str, float], after: dict[str, float]) -> str:
    lines = ["| | with noise | denoised |", "|---|---|---|"]
    if "psnr" in before:
        lines.append(f"| PSNR | {before['psnr']:.2f} dB | {after['psnr']:.2f} dB |")
    if "ssim" in before:
        lines.append(f"| SSIM | {before['ssim']:.3f} | {after['ssim']:.3f} |")
    return "\n".join(lines)

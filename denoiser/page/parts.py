"""What the tabs of the page share: photos in, previews and files out, refusals in plain words."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

import denoiser
from denoiser import DenoiserError, Photo
from denoiser.image_io import WRITE_FORMATS

from .look import ACTUAL_SIZE_CLASS

try:
    from spaces import GPU as on_gpu  # of a ZeroGPU Space, which lends its GPU to the functions so marked; else nothing
except ImportError:

    def on_gpu(function: Callable) -> Callable:
        return function


COMPARISON, ACTUAL_SIZE, RESIDUAL = VIEWS = ("Before / after", "Actual size", "What was removed")
# What a noise level looks like, by the first limit that it is below.
NOISE_WORDS = {3: "hardly any", 10: "a little", 22: "a good deal", 45: "much", 1000: "very much"}


@dataclass(frozen=True)
class Held:
    """One visitor's photo and its denoised version, so that a mixture of the two needs no second run."""

    photo: Photo
    clean: Photo
    upload: Path
    folder: Path  # of its own, in Gradio's cache: nobody else knows its name


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


def open_photo(path: str | Path | None) -> Photo:
    if not path:
        raise gr.Error("Choose a photo first.", print_exception=False)
    with plain_errors():
        return denoiser.open_image(path)


def stoppable(steps: Iterator, progress: gr.Progress | None = None, outputs: int = 1) -> Iterator:
    """Run the steps, yielding after each: there Gradio stops a run that was cancelled or whose visitor has left."""
    started = time.monotonic()
    while True:
        try:
            done, total = next(steps)
        except StopIteration as end:
            return end.value
        if progress is not None:
            left = (time.monotonic() - started) * (total - done) / done
            progress((done, total), desc=f"Denoising, about {left:.0f} s left", unit="tiles")
        yield (gr.skip(),) * outputs


def show(state: Held, amount: float, view: str) -> tuple[gr.ImageSlider, gr.Image]:
    """What the page shows of a result: the comparison, whole or pixel by pixel, or what was removed."""
    mixed = denoiser.blend(state.photo, state.clean, amount / 100)
    if view == RESIDUAL:
        path = preview(denoiser.residual(state.photo, mixed), state.folder, f"residual-{amount:g}")
        return gr.ImageSlider(visible=False), gr.Image(str(path), visible=True)
    before = preview(state.photo, state.folder, "before")
    after = preview(mixed, state.folder, f"after-{amount:g}")
    look = ACTUAL_SIZE_CLASS if view == ACTUAL_SIZE else ""
    return gr.ImageSlider((str(before), str(after)), visible=True, elem_classes=look), gr.Image(visible=False)


def preview(photo: Photo, folder: Path, name: str) -> Path:
    """Write a photo for the page, once: JPEG is quick and, at 4:4:4, true enough; PNG keeps transparency."""
    path = folder / (name + (".jpg" if photo.alpha is None else ".png"))
    if not path.exists():
        denoiser.save_image(photo, path)
    return path


def own_folder() -> Path:
    folder = Path(gr.utils.get_upload_folder(), secrets.token_hex(16))
    folder.mkdir(parents=True)
    return folder


def result_path(upload: Path, suffix: str, kind: str | None = None) -> Path:
    """Where the result of an upload goes: a folder of its own in Gradio's cache, in the upload's format or `kind`.

    What can't be written becomes PNG, but HEIC, which phones take photos in, becomes JPEG.
    """
    own = upload.suffix.lower()
    kind = kind or (own if own in WRITE_FORMATS else ".jpg" if own in (".heic", ".heif", ".hif") else ".png")
    return own_folder() / f"{upload.stem}-{suffix}{kind}"


def in_words(level: float) -> str:
    return next(words for limit, words in NOISE_WORDS.items() if level < limit)


def score_table(before: dict[str, float], after: dict[str, float]) -> str:
    lines = ["| | with noise | denoised |", "|---|---|---|"]
    if "psnr" in before:
        lines.append(f"| PSNR | {before['psnr']:.2f} dB | {after['psnr']:.2f} dB |")
    if "ssim" in before:
        lines.append(f"| SSIM | {before['ssim']:.3f} | {after['ssim']:.3f} |")
    return "\n".join(lines)

"""Components, previews, result files and texts that several tabs show."""

from __future__ import annotations

import html
import re
from pathlib import Path

import gradio as gr

import denoiser
from denoiser import Photo
from denoiser.image_io import WRITE_FORMATS

from .result_cache import CachedResult
from .theme import ACTUAL_SIZE_CLASS
from .uploads import own_folder, sweep

COMPARISON, ACTUAL_SIZE, RESIDUAL = VIEWS = ("Before / after", "Actual size", "What was removed")
# Descriptions of noise levels, each for levels below its key.
NOISE_WORDS = {3: "hardly any", 10: "a little", 22: "moderate", 45: "strong", 1000: "very strong"}


def photo_input(label: str, elem_id: str) -> gr.Image:
    """Create an upload that passes on the file as it is: Gradio's decoding would lose depth, alpha and profile."""
    sources = ["upload", "clipboard", "webcam"]
    image = gr.Image(type="filepath", image_mode=None, sources=sources, label=label, height=300, elem_id=elem_id)
    image.preprocess = lambda payload: None if payload is None else payload.path
    return image


def before_after_slider(label: str, elem_id: str) -> gr.ImageSlider:
    return gr.ImageSlider(type="filepath", interactive=False, label=label, elem_id=elem_id, buttons=["fullscreen"])


def show_result(result: CachedResult, amount: float, view: str) -> tuple[gr.ImageSlider, gr.Image]:
    """Return updates of the comparison slider and the residual picture for one of VIEWS; amount is in percent."""
    percent = round(amount)  # each whole percentage has its own preview files
    mixed = denoiser.blend(result.photo, result.clean, percent / 100)
    if view == RESIDUAL:
        path = write_preview(denoiser.residual(result.photo, mixed), result.folder, f"residual-{percent}")
        return gr.ImageSlider(visible=False), gr.Image(str(path), visible=True)
    before = write_preview(result.photo, result.folder, "before")
    after = write_preview(mixed, result.folder, f"after-{percent}")
    css_class = ACTUAL_SIZE_CLASS if view == ACTUAL_SIZE else ""
    return gr.ImageSlider((str(before), str(after)), visible=True, elem_classes=css_class), gr.Image(visible=False)


def write_preview(photo: Photo, folder: Path, name: str) -> Path:
    """Write a photo for display: as JPEG, which is fast and accurate enough at 4:4:4, or as PNG if it has alpha."""
    return write_photo(photo, folder / (name + (".jpg" if photo.alpha is None else ".png")), warn=False)


def write_photo(photo: Photo, path: Path, quality: int | None = None, warn: bool = True) -> Path:
    """Write a photo into the upload folder, unless the file exists, and return its path.

    The oldest files are deleted if room is short. If `warn` is set, the page shows what the format could not store.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        lost = denoiser.save_image(photo, path, quality=quality)
        for note in lost if warn else ():
            gr.Warning(html.escape(note))
        sweep()
    return path


def result_path(upload: Path, suffix: str) -> Path:
    """Return a path for the result of an upload, in a new folder; see result_name."""
    return own_folder() / result_name(upload, suffix)


def result_name(upload: Path, suffix: str, extension: str | None = None) -> str:
    """Return the file name of a result, in the format of the upload unless an extension is given.

    Formats that can't be written become PNG, except HEIC, the format of phone cameras, which becomes JPEG.
    """
    own = upload.suffix.lower()
    extension = extension or (own if own in WRITE_FORMATS else ".jpg" if own in (".heic", ".heif", ".hif") else ".png")
    return f"{upload.stem}-{suffix}{extension}"


def escape_markdown(text: str) -> str:
    """Escape outside text for a Markdown component, so that nothing in it is markup, a link or a picture."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


def describe_level(level: float) -> str:
    return next(words for limit, words in NOISE_WORDS.items() if level < limit)


def score_table(before: dict[str, float], after: dict[str, float]) -> str:
    """Return a Markdown table of the scores before and after denoising, each as from denoiser.compare."""
    lines = ["| | with noise | denoised |", "|---|---|---|"]
    if "psnr" in before:
        lines.append(f"| PSNR | {before['psnr']:.2f} dB | {after['psnr']:.2f} dB |")
    if "ssim" in before:
        lines.append(f"| SSIM | {before['ssim']:.3f} | {after['ssim']:.3f} |")
    return "\n".join(lines)
